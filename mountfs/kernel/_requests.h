/* Requests that are answered later. All of it is called on the event-loop thread. */
#ifndef MOUNTFS_REQUESTS_H
#define MOUNTFS_REQUESTS_H

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 35
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <fuse_lowlevel.h>
#include <stdint.h>
#include <sys/queue.h>

/* Seen by the files of this extension only: it is loaded with global symbols. */
#define INTERNAL __attribute__((visibility("hidden")))

/* A request that waits for its answer. Python knows it by number: a number may be stale, a pointer must not be. */
struct pending {
    uint64_t number;
    fuse_req_t request;
    int interrupted;
    LIST_ENTRY(pending) link;
};

/* NULL without memory. */
INTERNAL struct pending *remember_request(fuse_req_t request);

/* NULL where it is unknown or has been answered. */
INTERNAL struct pending *find_request(uint64_t number);

/* The request is about to be answered: return it, to be answered by the caller at once. */
INTERNAL fuse_req_t forget_request(struct pending *entry);

/* Remember the request and call `callback` with its number and the values, given as for Py_BuildValue as a tuple;
   answers EIO where that fails. Takes the GIL. */
INTERNAL void tell_request(fuse_req_t request, PyObject *callback, const char *format, ...);

/* Set ValueError and return NULL. */
INTERNAL PyObject *unknown_request(unsigned long long number);

#endif
