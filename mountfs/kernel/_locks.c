/* Lock requests, and the lock owners of FLUSH and RELEASE, which pyfuse3 drops. */
#include "_locks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "_immediate.h"

static PyObject *flock_callback, *test_callback, *set_callback, *flush_callback, *release_callback;
static void (*original_flush)(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
static void (*original_release)(fuse_req_t, fuse_ino_t, struct fuse_file_info *);

static void handle_flock(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file, int operation)
{
    tell_request(request, flock_callback, "(KKKi)", (unsigned long long)ino, (unsigned long long)file->fh,
                 (unsigned long long)file->lock_owner, operation);
}

/* libfuse gives a lock by start and length, whatever the program said; length 0 is "to the end". */
static void handle_getlk(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file, struct flock *lock)
{
    tell_request(request, test_callback, "(KKiLLi)", (unsigned long long)ino,
                 (unsigned long long)file->lock_owner, (int)lock->l_type, (long long)lock->l_start,
                 (long long)lock->l_len, (int)lock->l_pid);
}

static void handle_setlk(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file, struct flock *lock,
                         int sleep)
{
    tell_request(request, set_callback, "(KKKiLLii)", (unsigned long long)ino, (unsigned long long)file->fh,
                 (unsigned long long)file->lock_owner, (int)lock->l_type, (long long)lock->l_start,
                 (long long)lock->l_len, (int)lock->l_pid, sleep);
}

static void tell(PyObject *callback, const char *format, fuse_ino_t ino, uint64_t second, uint64_t third)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *result = PyObject_CallFunction(callback, format, (unsigned long long)ino,
                                             (unsigned long long)second, (unsigned long long)third);
    if (!result)
        PyErr_WriteUnraisable(callback);
    Py_XDECREF(result);
    PyGILState_Release(gil);
}

/* The kernel sends no unlock for a close: this is it, for all record locks of the process on the file. */
static void handle_flush(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    if (!request_has_begun())
        tell(flush_callback, "KKK", ino, file->fh, file->lock_owner);
    original_flush(request, ino, file);
}

static void handle_release(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    uint64_t flock_owner = file->flock_release ? file->lock_owner : 0;
    if (!request_has_begun())
        tell(release_callback, "KKK", ino, file->fh, flock_owner);
    original_release(request, ino, file);
}

void extend_locks(struct fuse_lowlevel_ops *operations)
{
    if (!flock_callback || !operations->flush || !operations->release)
        return;
    original_flush = operations->flush;
    operations->flush = handle_flush;
    original_release = operations->release;
    operations->release = handle_release;
    /* libfuse asks the kernel for these requests because they are set. */
    operations->flock = handle_flock;
    operations->getlk = handle_getlk;
    operations->setlk = handle_setlk;
}

/* --- for Python ------------------------------------------------------------------------------------- */

PyObject *install_locks(PyObject *module, PyObject *arguments)
{
    PyObject *on_flock, *on_test, *on_set, *on_flush, *on_release;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOOO", &on_flock, &on_test, &on_set, &on_flush, &on_release))
        return NULL;
    Py_XSETREF(flock_callback, Py_NewRef(on_flock));
    Py_XSETREF(test_callback, Py_NewRef(on_test));
    Py_XSETREF(set_callback, Py_NewRef(on_set));
    Py_XSETREF(flush_callback, Py_NewRef(on_flush));
    Py_XSETREF(release_callback, Py_NewRef(on_release));
    Py_RETURN_NONE;
}

PyObject *reply_lock(PyObject *module, PyObject *arguments)
{
    unsigned long long number;
    int type, pid;
    long long start, length;
    struct flock lock;
    struct pending *entry;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "KiLLi", &number, &type, &start, &length, &pid))
        return NULL;
    entry = find_request(number);
    if (!entry)
        return unknown_request(number);
    memset(&lock, 0, sizeof lock);
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = start;
    lock.l_len = length;
    lock.l_pid = pid;
    return PyBool_FromLong(fuse_reply_lock(forget_request(entry), &lock) == 0);
}
