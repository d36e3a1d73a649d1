#ifndef MOUNTFS_SET_ID_H
#define MOUNTFS_SET_ID_H

#include "_requests.h"

/* Add what was installed, if anything, to the operations of the next session. */
INTERNAL void extend_set_id(struct fuse_lowlevel_ops *operations);

/* For Python; see _extras.pyi. */
INTERNAL PyObject *install_set_id(PyObject *module, PyObject *arguments);

#endif
