/* Answers whose body is a part of a file: its pages go through a pipe to the device, and are copied once, into those of
 * the program that reads.
 *
 * What the operating system has not in memory is read from the disk meanwhile: it is for the caller to see to that.
 */
#define _GNU_SOURCE
#include "_file_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "_device.h"

/* The kernel asks for 1 MiB at most, and each page takes a place in the pipe, as does the header. An ordinary user gets
   half of that, which is as much as the kernel ordinarily asks for. */
enum { PIPE_BYTES = 2 << 20, SMALLER_PIPE_BYTES = 1 << 20 };

static int ends[2] = {-1, -1};
static size_t room;

static void close_pipe(void)
{
    for (int index = 0; index < 2; index++) {
        if (ends[index] >= 0)
            close(ends[index]);
        ends[index] = -1;
    }
}

static int open_pipe(void)
{
    int bytes;
    if (ends[0] >= 0)
        return 1;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return 0;
    bytes = fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
    if (bytes < 0)
        bytes = fcntl(ends[1], F_SETPIPE_SZ, SMALLER_PIPE_BYTES);
    /* Of the pages of the file the first and the last may be there in part. */
    room = bytes < 0 ? 0 : bytes - 2 * sysconf(_SC_PAGESIZE);
    return 1;
}

static int fill_pipe(const struct wire_reply *header, struct file_part part)
{
    if (write(ends[1], header, sizeof *header) != sizeof *header)
        return 0;
    while (part.size) {
        ssize_t count = splice(part.descriptor, &part.offset, ends[1], NULL, part.size, SPLICE_F_NONBLOCK);
        if (count <= 0)
            return 0;
        part.size -= count;
    }
    return 1;
}

/* Returns 0 where nothing was sent. */
static int send_by_pipe(int device, const struct wire_reply *header, const struct file_part *part)
{
    int is_unwanted;
    if (!open_pipe() || part->size > room)
        return 0;
    if (!fill_pipe(header, *part)) {
        close_pipe();
        return 0;
    }
    if (splice(ends[0], NULL, device, NULL, header->length, 0) == header->length)
        return 1;
    is_unwanted = errno == ENOENT;
    close_pipe(); /* whatever is left in it belongs to no other answer */
    return is_unwanted;
}

static void send_by_memory(int device, struct wire_reply *header, const struct file_part *part)
{
    char *memory = malloc(part->size);
    ssize_t count = memory ? pread(part->descriptor, memory, part->size, part->offset) : -1;
    struct iovec parts[2] = {{header, sizeof *header}, {memory, count > 0 ? count : 0}};
    header->length = sizeof *header + parts[1].iov_len;
    header->error = count < 0 ? -EIO : 0;
    (void)!writev(device, parts, 2);
    free(memory);
}

void send_file_part(int device, uint64_t unique, const struct file_part *part)
{
    struct wire_reply header = {.length = sizeof header + part->size, .unique = unique};
    if (!send_by_pipe(device, &header, part))
        send_by_memory(device, &header, part);
}
