/* Files made many at a time. */
#ifndef MOUNTFS_FILES_H
#define MOUNTFS_FILES_H

#include "_requests.h"

/* For Python, on any thread. */
INTERNAL PyObject *make_unnamed_files(PyObject *module, PyObject *arguments);

#endif
