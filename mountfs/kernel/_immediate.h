/* Requests that are answered in the moment they are read, past libfuse and pyfuse3. */
#ifndef MOUNTFS_IMMEDIATE_H
#define MOUNTFS_IMMEDIATE_H

#include "_requests.h"

/* Give the request that was read, `length` bytes in `buffer`, to the handler for its kind. Returns whether it
   was answered; otherwise libfuse is to have it. Takes the GIL. */
INTERNAL int answer_immediately(int device, const struct fuse_buf *buffer, int length);

/* The handler of the request that was read last has begun with it, and libfuse is to have it all the same. */
INTERNAL int request_has_begun(void);

/* For Python. */
INTERNAL PyObject *install_immediate(PyObject *module, PyObject *arguments);

/* No handler is called any more. */
INTERNAL void uninstall_immediate(void);

#endif
