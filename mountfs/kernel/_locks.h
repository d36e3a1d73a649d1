/* The locks that pyfuse3 does not know: flock and the record locks of fcntl. */
#ifndef MOUNTFS_LOCKS_H
#define MOUNTFS_LOCKS_H

#include "_requests.h"

/* Put them into the operation table, where Python wants to hear of them. */
INTERNAL void extend_locks(struct fuse_lowlevel_ops *operations);

/* For Python; described in _extras.pyi. */
INTERNAL PyObject *install_locks(PyObject *module, PyObject *arguments);
INTERNAL PyObject *reply_lock(PyObject *module, PyObject *arguments);

#endif
