/* Set-id bits: the kernel says in some requests that they are to be cleared, which libfuse does not pass on. */
#include "_set_id.h"

#include "_device.h"

static PyObject *clear_callback;
static void (*original_write_buf)(fuse_req_t, fuse_ino_t, struct fuse_bufvec *, off_t, struct fuse_file_info *);
static void (*original_setattr)(fuse_req_t, fuse_ino_t, struct stat *, int, struct fuse_file_info *);
static void (*original_open)(fuse_req_t, fuse_ino_t, struct fuse_file_info *);

/* A request is handled right after it was read, so the one that was read last is the one at hand. */
static void clear_where_told(fuse_req_t request, fuse_ino_t ino)
{
    const struct fuse_ctx *caller;
    PyGILState_STATE gil;
    PyObject *result;
    if (!request_clears_set_id())
        return;
    caller = fuse_req_ctx(request);
    gil = PyGILState_Ensure();
    result = PyObject_CallFunction(clear_callback, "KIII", (unsigned long long)ino, (unsigned int)caller->uid,
                                   (unsigned int)caller->gid, (unsigned int)caller->pid);
    if (!result)
        PyErr_WriteUnraisable(clear_callback);
    Py_XDECREF(result);
    PyGILState_Release(gil);
}

static void handle_write_buf(fuse_req_t request, fuse_ino_t ino, struct fuse_bufvec *buffer, off_t offset,
                             struct fuse_file_info *file)
{
    clear_where_told(request, ino);
    original_write_buf(request, ino, buffer, offset, file);
}

static void handle_setattr(fuse_req_t request, fuse_ino_t ino, struct stat *attributes, int fields,
                           struct fuse_file_info *file)
{
    clear_where_told(request, ino);
    original_setattr(request, ino, attributes, fields, file);
}

static void handle_open(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    clear_where_told(request, ino);
    original_open(request, ino, file);
}

void extend_set_id(struct fuse_lowlevel_ops *operations)
{
    if (!clear_callback || !operations->write_buf || !operations->setattr || !operations->open)
        return;
    original_write_buf = operations->write_buf;
    operations->write_buf = handle_write_buf;
    original_setattr = operations->setattr;
    operations->setattr = handle_setattr;
    original_open = operations->open;
    operations->open = handle_open;
}

PyObject *install_set_id(PyObject *module, PyObject *arguments)
{
    PyObject *on_clear;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O", &on_clear))
        return NULL;
    Py_XSETREF(clear_callback, Py_NewRef(on_clear));
    Py_RETURN_NONE;
}
