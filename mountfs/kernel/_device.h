/* The FUSE device, read and written by us instead of by libfuse, which knows no passthrough before 3.17. */
#ifndef MOUNTFS_DEVICE_H
#define MOUNTFS_DEVICE_H

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 35
#endif

#include <fuse_lowlevel.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "_file_parts.h"

/* What each request and each answer begins with (linux/fuse.h). */
struct wire_request {
    uint32_t length, opcode;
    uint64_t unique, node;
    uint32_t uid, gid, pid, padding;
};

struct wire_reply {
    uint32_t length;
    int32_t error;
    uint64_t unique;
};

/* What is to be added to the answer that opens `handle`; a backing id above 0 means passthrough. */
struct open_reply {
    uint64_t handle;
    uint32_t flags;
    int32_t backing_id;
    LIST_ENTRY(open_reply) link;
};

enum passthrough { UNSETTLED, NOT_WANTED, NOT_OFFERED, AGREED };

/* Before the session's first request is read. Returns 0, or an errno below 0.
   clears_set_id: the file system clears set-id bits at writes by itself, so the kernel need not look for them. */
int take_session_device(struct fuse_session *session, int want_passthrough, int clears_set_id);

/* The request by which the kernel opened the connection, as it came, and what it was answered, without the header. A
   length is 0 where there is none, or where it is longer than what is known of the protocol.
   may_resend: the kernel can be asked to send requests again that were read and not answered. */
struct negotiation {
    unsigned char request[256], reply[128];
    size_t request_length, reply_length;
    int may_resend;
};

const struct negotiation *negotiation(void);

/* Bring a session of a connection that is open already to where that stands: it handles the request that opened the
   connection, and its answer goes nowhere but into `negotiation`. Returns 0, or an errno below 0. */
int negotiate_again(struct fuse_session *session, void *request, size_t length);

/* From here on no request is answered: whatever is done about it, the kernel waits on. */
void drop_replies(void);

/* UNSETTLED until INIT is answered. */
enum passthrough passthrough_state(void);

/* Every request that was read is shown to this, with the length of what `buffer` holds. A request for a file without
   a name (O_TMPFILE), which libfuse does not know, is made one for a file of the name "/", which no other has; a copy
   of any length is made one that libfuse knows, and must be answered with a count below 4 GiB. */
void observe_request(struct fuse_buf *buffer, int length);

/* The kernel says in the request that was read last that set-id bits are to be cleared. */
int request_clears_set_id(void);

/* The request that was read last, and the thread it came from: while its handler begins, the one it serves. */
uint64_t request_being_served(uint32_t *pid);

/* Have `tell` called for each request that the kernel says is interrupted, as that is read. */
void when_interrupted(void (*tell)(uint64_t unique));

/* The answers that this thread sends from here on open a file: amend them so; NULL ends it. */
void amend_next_reply(const struct open_reply *reply);

/* The answer to this request that libfuse sends without a body is to have this part of a file for one. */
void answer_by_file_part(uint64_t unique, const struct file_part *part);

/* Both return below 0 with errno set where the kernel refuses. */
int backing_open(int device, int descriptor);
int backing_close(int device, uint32_t id);

#endif
