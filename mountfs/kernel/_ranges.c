/* Requests about ranges of bytes that pyfuse3 lacks: fallocate, lseek for holes and data, and copy_file_range. */
#include "_ranges.h"

static PyObject *allocate_callback, *seek_callback, *copy_callback;

static void handle_fallocate(fuse_req_t request, fuse_ino_t ino, int mode, off_t offset, off_t length,
                             struct fuse_file_info *file)
{
    const struct fuse_ctx *caller = fuse_req_ctx(request);
    tell_request(request, allocate_callback, "(KKiLL(III))", (unsigned long long)ino,
                 (unsigned long long)file->fh, mode, (long long)offset, (long long)length,
                 (unsigned int)caller->uid, (unsigned int)caller->gid, (unsigned int)caller->pid);
}

static void handle_lseek(fuse_req_t request, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *file)
{
    (void)ino;
    tell_request(request, seek_callback, "(KLi)", (unsigned long long)file->fh, (long long)offset, whence);
}

static void handle_copy_file_range(fuse_req_t request, fuse_ino_t from, off_t from_offset,
                                   struct fuse_file_info *from_file, fuse_ino_t to, off_t to_offset,
                                   struct fuse_file_info *to_file, size_t length, int flags)
{
    const struct fuse_ctx *caller = fuse_req_ctx(request);
    (void)from, (void)flags; /* the kernel knows no flags */
    tell_request(request, copy_callback, "(KLKKLK(III))", (unsigned long long)from_file->fh,
                 (long long)from_offset, (unsigned long long)to, (unsigned long long)to_file->fh,
                 (long long)to_offset, (unsigned long long)length, (unsigned int)caller->uid,
                 (unsigned int)caller->gid, (unsigned int)caller->pid);
}

void extend_ranges(struct fuse_lowlevel_ops *operations)
{
    if (!allocate_callback)
        return;
    operations->fallocate = handle_fallocate;
    operations->lseek = handle_lseek;
    operations->copy_file_range = handle_copy_file_range;
}

/* --- for Python ------------------------------------------------------------------------------------- */

PyObject *install_ranges(PyObject *module, PyObject *arguments)
{
    PyObject *on_allocate, *on_seek, *on_copy;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOO", &on_allocate, &on_seek, &on_copy))
        return NULL;
    Py_XSETREF(allocate_callback, Py_NewRef(on_allocate));
    Py_XSETREF(seek_callback, Py_NewRef(on_seek));
    Py_XSETREF(copy_callback, Py_NewRef(on_copy));
    Py_RETURN_NONE;
}

PyObject *reply_position(PyObject *module, PyObject *arguments)
{
    unsigned long long number;
    long long position;
    struct pending *entry;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "KL", &number, &position))
        return NULL;
    entry = find_request(number);
    if (!entry)
        return unknown_request(number);
    return PyBool_FromLong(fuse_reply_lseek(forget_request(entry), (off_t)position) == 0);
}

PyObject *reply_count(PyObject *module, PyObject *arguments)
{
    unsigned long long number, count;
    struct pending *entry;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "KK", &number, &count))
        return NULL;
    entry = find_request(number);
    if (!entry)
        return unknown_request(number);
    return PyBool_FromLong(fuse_reply_write(forget_request(entry), (size_t)count) == 0);
}
