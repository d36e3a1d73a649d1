/* Files made many at a time: a thread that comes back to Python for each one waits each time for the event loop to
 * leave it the GIL, which takes longer than the file.
 */
#define _GNU_SOURCE
#include "_files.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { OWNER_ONLY = 0600, MOST_AT_ONCE = 256 };

/* Returns how many were made; fewer than `count` with errno set. */
static int open_unnamed(const char *folder, int *descriptors, int count)
{
    for (int made = 0; made < count; made++) {
        descriptors[made] = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, OWNER_ONLY);
        if (descriptors[made] < 0)
            return made;
    }
    return count;
}

static PyObject *list_of(const int *numbers, int count)
{
    PyObject *list = PyList_New(count);
    for (int index = 0; list && index < count; index++) {
        PyObject *number = PyLong_FromLong(numbers[index]);
        if (!number)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, index, number);
    }
    return list;
}

PyObject *make_unnamed_files(PyObject *module, PyObject *arguments)
{
    const char *folder;
    int descriptors[MOST_AT_ONCE];
    int count, made;
    PyObject *list;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "si", &folder, &count))
        return NULL;
    if (count < 1 || count > MOST_AT_ONCE)
        return PyErr_Format(PyExc_ValueError, "%d files at a time", count);
    Py_BEGIN_ALLOW_THREADS
    made = open_unnamed(folder, descriptors, count);
    Py_END_ALLOW_THREADS
    if (!made)
        return PyErr_SetFromErrno(PyExc_OSError);
    list = list_of(descriptors, made);
    for (int index = 0; !list && index < made; index++)
        close(descriptors[index]);
    return list;
}
