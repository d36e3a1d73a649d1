#ifndef MOUNTFS_RANGES_H
#define MOUNTFS_RANGES_H

#include "_requests.h"

/* Add what was installed, if anything, to the operations of the next session. */
INTERNAL void extend_ranges(struct fuse_lowlevel_ops *operations);

/* For Python; see _extras.pyi. */
INTERNAL PyObject *install_ranges(PyObject *module, PyObject *arguments);
INTERNAL PyObject *reply_position(PyObject *module, PyObject *arguments);
INTERNAL PyObject *reply_count(PyObject *module, PyObject *arguments);

#endif
