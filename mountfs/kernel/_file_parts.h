/* Answers whose body is a part of a file. */
#ifndef MOUNTFS_FILE_PARTS_H
#define MOUNTFS_FILE_PARTS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct file_part {
    int descriptor;
    off_t offset;
    size_t size;
};

/* Answer the request with the bytes of the file: fewer where it ends before, EIO where it cannot be read. Needs no GIL,
   and is for one thread. The kernel may have ceased to want the answer, which is nothing to tell anybody. */
void send_file_part(int device, uint64_t unique, const struct file_part *part);

#endif
