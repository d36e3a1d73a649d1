#define _GNU_SOURCE
#include "_device.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

/* The kernel's wire format (linux/fuse.h), as far as it is read or changed here; the system's own header may
   be older than the kernel. */
enum {
    OPCODE_SETATTR = 4,
    OPCODE_OPEN = 14,
    OPCODE_WRITE = 16,
    OPCODE_INIT = 26,
    OPCODE_CREATE = 35,
    OPCODE_INTERRUPT = 36,
    OPCODE_COPY_FILE_RANGE = 47,
    OPCODE_TMPFILE = 51,
    OPCODE_COPY_FILE_RANGE_64 = 53
};
#define SETATTR_CLEARS_SET_ID (1u << 11)
#define WRITE_CLEARS_SET_ID (1u << 2)
#define OPEN_CLEARS_SET_ID (1u << 0)
#define INIT_EXTENDED (1u << 30)
#define INIT_HANDLE_KILLPRIV_V2 (1u << 28)
#define INIT2_PASSTHROUGH (1u << 5)
#define INIT2_HAS_RESEND (1u << 7)
#define OPEN_KEEP_CACHE (1u << 1)
#define OPEN_PASSTHROUGH (1u << 7)

/* Enough requests on their way to keep a copy with read-ahead busy, and fewer than pyfuse3 serves at once. */
enum { MAX_BACKGROUND = 64, CONGESTION_THRESHOLD = 48 };

/* More than the kernel offers: what it reads ahead is decided by the mount's own setting, see mounts.py. */
enum { MAX_READAHEAD = 1 << 20 };

/* A cache may lie on an ordinary file system, not on a stacked one such as overlayfs. */
enum { MAX_STACK_DEPTH = 1 };

/* The beginnings of what follows the header. */
struct wire_setattr_request {
    uint32_t fields;
};

struct wire_open_request {
    uint32_t flags, open_flags;
};

struct wire_write_request {
    uint64_t handle, offset;
    uint32_t size, write_flags;
};

struct wire_init_request {
    uint32_t major, minor, max_readahead, flags, flags2;
};

struct wire_init_reply {
    uint32_t major, minor, max_readahead, flags;
    uint16_t max_background, congestion_threshold;
    uint32_t max_write, time_gran;
    uint16_t max_pages, map_alignment;
    uint32_t flags2, max_stack_depth, unused[6];
};

/* The end of the answers to OPEN, OPENDIR and CREATE. */
struct wire_open_reply {
    uint64_t handle;
    uint32_t flags;
    int32_t backing_id;
};

struct wire_backing {
    int32_t descriptor;
    uint32_t flags;
    uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct wire_backing)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

static enum passthrough passthrough;
static struct negotiation negotiated;
static int keeps_init_reply;
static int drops_replies;
static uint64_t init_unique;
static uint32_t init_flags_offered;
static int set_id_is_cleared;
static int last_clears_set_id;

static struct wire_request last_request;
static void (*tell_interrupt)(uint64_t unique);

static __thread const struct open_reply *reply_being_sent;
static uint64_t part_awaited_by;
static struct file_part part_to_send;

/* Copy the beginning of what follows the header; 0 where the request is shorter. */
static int request_body(const struct fuse_buf *buffer, int length, void *body, size_t size)
{
    if ((size_t)length < sizeof(struct wire_request) + size)
        return 0;
    memcpy(body, (const char *)buffer->mem + sizeof(struct wire_request), size);
    return 1;
}

static int clears_set_id(uint32_t opcode, const struct fuse_buf *buffer, int length)
{
    struct wire_setattr_request setattr;
    struct wire_open_request open;
    struct wire_write_request write;
    switch (opcode) {
    case OPCODE_SETATTR:
        return request_body(buffer, length, &setattr, sizeof setattr) && setattr.fields & SETATTR_CLEARS_SET_ID;
    case OPCODE_OPEN:
        return request_body(buffer, length, &open, sizeof open) && open.open_flags & OPEN_CLEARS_SET_ID;
    case OPCODE_WRITE:
        return request_body(buffer, length, &write, sizeof write) && write.write_flags & WRITE_CLEARS_SET_ID;
    default:
        return 0;
    }
}

/* What follows a request that libfuse does not know is laid out as for the one that this returns. */
static uint32_t opcode_known_to_libfuse(uint32_t opcode)
{
    switch (opcode) {
    case OPCODE_TMPFILE:
        return OPCODE_CREATE;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    case OPCODE_COPY_FILE_RANGE_64:
        /* Answered with a count of 64 bits, of which the other has the lower half and zeros. Where two of these are
           refused at once, a kernel takes the second refusal for one of all copies (seen with Linux 6.18). */
        return OPCODE_COPY_FILE_RANGE;
#endif
    default:
        return opcode;
    }
}

int request_clears_set_id(void)
{
    return last_clears_set_id;
}

void observe_request(struct fuse_buf *buffer, int length)
{
    struct wire_request header;
    struct wire_init_request init;
    uint64_t interrupted;
    last_clears_set_id = 0;
    if (length < (int)sizeof header || buffer->flags & FUSE_BUF_IS_FD)
        return;
    memcpy(&header, buffer->mem, sizeof header);
    if (header.opcode == OPCODE_INTERRUPT) {
        if (tell_interrupt && request_body(buffer, length, &interrupted, sizeof interrupted))
            tell_interrupt(interrupted);
        return;
    }
    last_request = header;
    last_clears_set_id = clears_set_id(header.opcode, buffer, length);
    header.opcode = opcode_known_to_libfuse(header.opcode);
    memcpy(buffer->mem, &header, sizeof header);
    if (header.opcode != OPCODE_INIT || !request_body(buffer, length, &init, sizeof init))
        return;
    init_unique = header.unique;
    init_flags_offered = init.flags;
    negotiated.request_length = (size_t)length <= sizeof negotiated.request ? (size_t)length : 0;
    memcpy(negotiated.request, buffer->mem, negotiated.request_length);
    negotiated.may_resend = init.flags & INIT_EXTENDED && init.flags2 & INIT2_HAS_RESEND;
    if (passthrough == UNSETTLED && !(init.flags & INIT_EXTENDED && init.flags2 & INIT2_PASSTHROUGH))
        passthrough = NOT_OFFERED;
}

uint64_t request_being_served(uint32_t *pid)
{
    *pid = last_request.pid;
    return last_request.unique;
}

void when_interrupted(void (*tell)(uint64_t unique))
{
    tell_interrupt = tell;
}

static void amend_init(struct wire_init_reply *reply)
{
    if (reply->max_background < MAX_BACKGROUND) {
        reply->max_background = MAX_BACKGROUND;
        reply->congestion_threshold = CONGESTION_THRESHOLD;
    }
    reply->max_readahead = MAX_READAHEAD;
    reply->time_gran = 1;
    if (set_id_is_cleared)
        reply->flags |= init_flags_offered & INIT_HANDLE_KILLPRIV_V2;
    if (passthrough == UNSETTLED) {
        reply->flags |= INIT_EXTENDED;
        reply->flags2 |= INIT2_PASSTHROUGH;
        reply->max_stack_depth = MAX_STACK_DEPTH;
        passthrough = AGREED;
    }
}

static void amend_open(struct wire_open_reply *reply, const struct open_reply *wanted)
{
    reply->flags |= wanted->flags;
    if (wanted->backing_id > 0) {
        reply->flags = (reply->flags & ~OPEN_KEEP_CACHE) | OPEN_PASSTHROUGH; /* both together: EIO */
        reply->backing_id = wanted->backing_id;
    }
}

void answer_by_file_part(uint64_t unique, const struct file_part *part)
{
    part_awaited_by = unique;
    part_to_send = *part;
}

static ssize_t length_of(const struct iovec *parts, int count)
{
    ssize_t length = 0;
    for (int index = 0; index < count; index++)
        length += parts[index].iov_len;
    return length;
}

static void keep_init_reply(const struct iovec *body)
{
    negotiated.reply_length = body->iov_len <= sizeof negotiated.reply ? body->iov_len : 0;
    memcpy(negotiated.reply, body->iov_base, negotiated.reply_length);
}

static ssize_t write_device(int device, struct iovec *parts, int count, void *data)
{
    const struct wire_reply *header = parts[0].iov_base;
    struct iovec *last = &parts[count - 1];
    (void)data;
    if (count > 1 && header->error == 0) {
        /* Answers are built in memory of libfuse's own, so they may be changed in place. */
        if (init_unique && header->unique == init_unique && last->iov_len >= sizeof(struct wire_init_reply)) {
            amend_init(last->iov_base);
            keep_init_reply(last);
            init_unique = 0;
        } else if (reply_being_sent && last->iov_len >= sizeof(struct wire_open_reply)) {
            amend_open((void *)((char *)last->iov_base + last->iov_len - sizeof(struct wire_open_reply)),
                       reply_being_sent);
        }
    }
    /* To a notice, which has no number, nobody waits for an answer. */
    if (keeps_init_reply || (drops_replies && header->unique))
        return length_of(parts, count);
    if (part_awaited_by && header->unique == part_awaited_by && header->error == 0) {
        part_awaited_by = 0;
        send_file_part(device, header->unique, &part_to_send);
        return length_of(parts, count);
    }
    return writev(device, parts, count);
}

static ssize_t read_device(int device, void *memory, size_t size, void *data)
{
    (void)data;
    return read(device, memory, size);
}

static const struct fuse_custom_io device_io = {.read = read_device, .writev = write_device};

int take_session_device(struct fuse_session *session, int want_passthrough, int clears_set_id)
{
    int result;
    init_unique = 0;
    drops_replies = 0;
    part_awaited_by = 0;
    memset(&negotiated, 0, sizeof negotiated);
    set_id_is_cleared = clears_set_id;
    passthrough = want_passthrough ? UNSETTLED : NOT_WANTED;
    result = fuse_session_custom_io(session, &device_io, fuse_session_fd(session));
    if (result < 0)
        passthrough = NOT_WANTED;
    return result;
}

enum passthrough passthrough_state(void)
{
    return passthrough;
}

const struct negotiation *negotiation(void)
{
    return &negotiated;
}

int negotiate_again(struct fuse_session *session, void *request, size_t length)
{
    struct fuse_buf buffer = {.size = length, .mem = request};
    if (length < sizeof(struct wire_request))
        return -EINVAL;
    negotiated.reply_length = 0;
    observe_request(&buffer, (int)length);
    keeps_init_reply = 1;
    fuse_session_process_buf(session, &buffer);
    keeps_init_reply = 0;
    return negotiated.reply_length ? 0 : -EPROTO;
}

void drop_replies(void)
{
    drops_replies = 1;
}

void amend_next_reply(const struct open_reply *reply)
{
    reply_being_sent = reply;
}

int backing_open(int device, int descriptor)
{
    struct wire_backing wanted = {.descriptor = descriptor};
    return ioctl(device, BACKING_OPEN, &wanted);
}

int backing_close(int device, uint32_t id)
{
    return ioctl(device, BACKING_CLOSE, &id);
}
