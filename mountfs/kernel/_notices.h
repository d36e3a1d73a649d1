/* Notices to the kernel, written where nothing of the daemon but a second descriptor of its connection is open. */
#ifndef MOUNTFS_NOTICES_H
#define MOUNTFS_NOTICES_H

#include "_requests.h"

/* For Python; see _extras.pyi. */
INTERNAL PyObject *open_notices(PyObject *module, PyObject *arguments);
INTERNAL PyObject *send_notice(PyObject *module, PyObject *arguments);
INTERNAL PyObject *close_notices(PyObject *module, PyObject *unused);

#endif
