/* What pyfuse3 lacks, added from outside it: the locks of _locks.c, the ranges of _ranges.c, the immediate answers of
 * _immediate.c, reads that never block, and passthrough: reads and writes that the kernel takes to a file of ours without asking.
 *
 * Loaded RTLD_GLOBAL before pyfuse3, so that the libfuse functions defined at the end of this file
 * stand before libfuse's own and call them in turn.
 *
 * Threads: pyfuse3 calls libfuse on its event-loop thread with the GIL held, and so does everything here.
 * That one thread owns the list of pending requests; there is no lock in this file to be taken in a wrong order.
 * Only notices are sent by another thread, to which _notices.c gives a third one that writes them.
 */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 35
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "_device.h"
#include "_files.h"
#include "_immediate.h"
#include "_locks.h"
#include "_notices.h"
#include "_ranges.h"
#include "_set_id.h"
#include "_requests.h"

static LIST_HEAD(, pending) pending_requests = LIST_HEAD_INITIALIZER(pending_requests);
static uint64_t last_number;
static int interrupt_event = -1;
static struct fuse_session *session;
static LIST_HEAD(, open_reply) open_replies = LIST_HEAD_INITIALIZER(open_replies);
static struct fuse_lowlevel_ops operations;

/* How long to look for a request before "none is there" is told: by how it went before, up to `most_look_ns`.
   `burst`: how many to answer before the daemon's tasks get their turn. */
enum { LEAST_LOOK_NS = 10 * 1000 };
static int64_t look_ns, most_look_ns;
static unsigned int burst = 1;
static unsigned int requests_read;
static int found_none;

/* libfuse calls this with the request's lock held: calling libfuse from here would deadlock, and Python
   code could call anything. So it only leaves a mark, and wakes whoever watches the event. */
static void mark_interrupted(fuse_req_t request, void *data)
{
    static const uint64_t one = 1;
    struct pending *entry = data;
    (void)request;
    entry->interrupted = 1;
    if (write(interrupt_event, &one, sizeof one) < 0)
        return; /* the counter is full, so the watcher is awake already */
}

struct pending *remember_request(fuse_req_t request)
{
    struct pending *entry = calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    entry->number = ++last_number;
    entry->request = request;
    LIST_INSERT_HEAD(&pending_requests, entry, link);
    fuse_req_interrupt_func(request, mark_interrupted, entry);
    return entry;
}

struct pending *find_request(uint64_t number)
{
    struct pending *entry;
    LIST_FOREACH(entry, &pending_requests, link)
        if (entry->number == number)
            return entry;
    return NULL;
}

fuse_req_t forget_request(struct pending *entry)
{
    fuse_req_t request = entry->request;
    fuse_req_interrupt_func(request, NULL, NULL); /* first: its data is freed here */
    LIST_REMOVE(entry, link);
    free(entry);
    return request;
}

void tell_request(fuse_req_t request, PyObject *callback, const char *format, ...)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    struct pending *entry = remember_request(request);
    if (!entry) {
        fuse_reply_err(request, ENOMEM);
    } else {
        uint64_t number = entry->number;
        PyObject *arguments, *result = NULL;
        va_list values;
        va_start(values, format);
        arguments = Py_VaBuildValue(format, values);
        va_end(values);
        if (arguments) {
            PyObject *first = Py_BuildValue("(K)", (unsigned long long)number);
            PyObject *all = first ? PySequence_Concat(first, arguments) : NULL;
            result = all ? PyObject_CallObject(callback, all) : NULL;
            Py_XDECREF(first);
            Py_XDECREF(all);
            Py_DECREF(arguments);
        }
        if (!result) {
            PyErr_WriteUnraisable(callback);
            entry = find_request(number); /* the callback may have answered before it failed */
            if (entry)
                fuse_reply_err(forget_request(entry), EIO);
        }
        Py_XDECREF(result);
    }
    PyGILState_Release(gil);
}

/* The kernel tells once of each request; of those whose handlers are pyfuse3's nothing else is known here. */
enum { INTERRUPTS_KEPT = 4096 };
static uint64_t interrupted_uniques[INTERRUPTS_KEPT];
static int interrupted_count;

static void keep_interrupt(uint64_t unique)
{
    static const uint64_t one = 1;
    if (interrupted_count < INTERRUPTS_KEPT)
        interrupted_uniques[interrupted_count++] = unique;
    if (write(interrupt_event, &one, sizeof one) < 0)
        return; /* as above */
}

/* --- for Python ------------------------------------------------------------------------------------- */

static PyObject *get_interrupt_event(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (interrupt_event < 0) {
        interrupt_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (interrupt_event < 0)
            return PyErr_SetFromErrno(PyExc_OSError);
        when_interrupted(keep_interrupt);
    }
    return PyLong_FromLong(interrupt_event);
}

static PyObject *reply(PyObject *module, PyObject *arguments)
{
    unsigned long long number;
    int error;
    struct pending *entry;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "Ki", &number, &error))
        return NULL;
    entry = find_request(number);
    if (!entry)
        return unknown_request(number);
    return PyBool_FromLong(fuse_reply_err(forget_request(entry), error) == 0);
}

PyObject *unknown_request(unsigned long long number)
{
    return PyErr_Format(PyExc_ValueError, "request %llu is unknown or has been answered", number);
}

static PyObject *interrupted(PyObject *module, PyObject *unused)
{
    PyObject *numbers = PyList_New(0);
    struct pending *entry;
    (void)module, (void)unused;
    LIST_FOREACH(entry, &pending_requests, link) {
        if (numbers && entry->interrupted) {
            PyObject *number = PyLong_FromUnsignedLongLong(entry->number);
            if (!number || PyList_Append(numbers, number) < 0)
                Py_CLEAR(numbers);
            Py_XDECREF(number);
            entry->interrupted = 0;
        }
    }
    return numbers;
}

static PyObject *served_request(PyObject *module, PyObject *unused)
{
    uint32_t pid;
    uint64_t unique = request_being_served(&pid);
    (void)module, (void)unused;
    return Py_BuildValue("(KI)", (unsigned long long)unique, (unsigned int)pid);
}

static PyObject *interrupted_served(PyObject *module, PyObject *unused)
{
    PyObject *uniques = PyList_New(interrupted_count);
    (void)module, (void)unused;
    for (int index = 0; uniques && index < interrupted_count; index++) {
        PyObject *unique = PyLong_FromUnsignedLongLong(interrupted_uniques[index]);
        if (!unique)
            Py_CLEAR(uniques);
        else
            PyList_SET_ITEM(uniques, index, unique);
    }
    if (uniques)
        interrupted_count = 0;
    return uniques;
}

static PyObject *set_pace(PyObject *module, PyObject *arguments)
{
    long long look;
    unsigned int most;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "LI", &look, &most))
        return NULL;
    look_ns = most_look_ns = look;
    burst = most;
    Py_RETURN_NONE;
}

static PyObject *take_count(PyObject *module, PyObject *unused)
{
    unsigned int count = requests_read;
    (void)module, (void)unused;
    requests_read = 0;
    return Py_BuildValue("(IO)", count, found_none ? Py_True : Py_False);
}

static PyObject *take_device(PyObject *module, PyObject *arguments)
{
    int wanted, clears_set_id, result;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "pp", &wanted, &clears_set_id))
        return NULL;
    if (!session)
        return PyErr_Format(PyExc_ValueError, "there is no session");
    result = take_session_device(session, wanted, clears_set_id);
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static PyObject *get_negotiation(PyObject *module, PyObject *unused)
{
    const struct negotiation *found = negotiation();
    (void)module, (void)unused;
    return Py_BuildValue("(y#y#)", (const char *)found->request, (Py_ssize_t)found->request_length,
                         (const char *)found->reply, (Py_ssize_t)found->reply_length);
}

static PyObject *may_resend(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(negotiation()->may_resend);
}

static PyObject *renegotiate(PyObject *module, PyObject *arguments)
{
    const char *request;
    Py_ssize_t length;
    _Alignas(uint64_t) char copy[sizeof(((struct negotiation *)0)->request)] = {0}; /* libfuse reads it as it is */
    int result;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#", &request, &length))
        return NULL;
    if (!session)
        return PyErr_Format(PyExc_ValueError, "there is no session");
    if ((size_t)length > sizeof copy)
        return PyErr_Format(PyExc_ValueError, "no request is as long as this");
    memcpy(copy, request, length);
    result = negotiate_again(session, copy, length);
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyBytes_FromStringAndSize((const char *)negotiation()->reply, negotiation()->reply_length);
}

static PyObject *leave_unanswered(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    drop_replies();
    Py_RETURN_NONE;
}

static PyObject *passthrough_agreed(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (passthrough_state() == UNSETTLED)
        Py_RETURN_NONE;
    return PyBool_FromLong(passthrough_state() == AGREED);
}

static PyObject *open_backing(PyObject *module, PyObject *arguments)
{
    int descriptor, id;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "i", &descriptor))
        return NULL;
    if (!session)
        return PyErr_Format(PyExc_ValueError, "there is no session");
    id = backing_open(fuse_session_fd(session), descriptor);
    return id < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(id);
}

static PyObject *close_backing(PyObject *module, PyObject *arguments)
{
    uint32_t id;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "I", &id))
        return NULL;
    if (!session)
        return PyErr_Format(PyExc_ValueError, "there is no session");
    if (backing_close(fuse_session_fd(session), id) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyObject *set_open_reply(PyObject *module, PyObject *arguments)
{
    unsigned long long handle;
    unsigned int flags;
    int backing_id;
    struct open_reply *entry;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "KIi", &handle, &flags, &backing_id))
        return NULL;
    entry = calloc(1, sizeof *entry);
    if (!entry)
        return PyErr_NoMemory();
    entry->handle = handle;
    entry->flags = flags;
    entry->backing_id = backing_id;
    LIST_INSERT_HEAD(&open_replies, entry, link);
    Py_RETURN_NONE;
}

static PyObject *set_read_reply(PyObject *module, PyObject *arguments)
{
    unsigned long long unique;
    long long offset;
    Py_ssize_t size;
    struct file_part part;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "K(inL)", &unique, &part.descriptor, &size, &offset))
        return NULL;
    part.offset = offset;
    part.size = size;
    answer_by_file_part(unique, &part);
    Py_RETURN_NONE;
}

static PyObject *session_fd(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (!session)
        return PyErr_Format(PyExc_ValueError, "there is no session");
    return PyLong_FromLong(fuse_session_fd(session));
}

/* Requests die with their session; answering one afterwards would touch freed memory. */
static PyObject *session_ended(PyObject *module, PyObject *unused)
{
    struct pending *entry;
    struct open_reply *unsent;
    (void)module, (void)unused;
    while ((entry = LIST_FIRST(&pending_requests))) {
        LIST_REMOVE(entry, link);
        free(entry);
    }
    while ((unsent = LIST_FIRST(&open_replies))) {
        LIST_REMOVE(unsent, link);
        free(unsent);
    }
    uninstall_immediate();
    session = NULL;
    Py_RETURN_NONE;
}

static PyObject *libfuse_version(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyUnicode_FromString(fuse_pkgversion());
}

static PyMethodDef functions[] = {
    {"install_locks", install_locks, METH_VARARGS, NULL},
    {"install_ranges", install_ranges, METH_VARARGS, NULL},
    {"install_set_id", install_set_id, METH_VARARGS, NULL},
    {"install_immediate", install_immediate, METH_VARARGS, NULL},
    {"set_pace", set_pace, METH_VARARGS, NULL},
    {"take_count", take_count, METH_NOARGS, NULL},
    {"interrupt_event", get_interrupt_event, METH_NOARGS, NULL},
    {"reply", reply, METH_VARARGS, NULL},
    {"reply_lock", reply_lock, METH_VARARGS, NULL},
    {"reply_position", reply_position, METH_VARARGS, NULL},
    {"reply_count", reply_count, METH_VARARGS, NULL},
    {"interrupted", interrupted, METH_NOARGS, NULL},
    {"served_request", served_request, METH_NOARGS, NULL},
    {"interrupted_served", interrupted_served, METH_NOARGS, NULL},
    {"take_device", take_device, METH_VARARGS, NULL},
    {"negotiation", get_negotiation, METH_NOARGS, NULL},
    {"may_resend", may_resend, METH_NOARGS, NULL},
    {"renegotiate", renegotiate, METH_VARARGS, NULL},
    {"leave_unanswered", leave_unanswered, METH_NOARGS, NULL},
    {"passthrough_agreed", passthrough_agreed, METH_NOARGS, NULL},
    {"open_backing", open_backing, METH_VARARGS, NULL},
    {"close_backing", close_backing, METH_VARARGS, NULL},
    {"set_open_reply", set_open_reply, METH_VARARGS, NULL},
    {"set_read_reply", set_read_reply, METH_VARARGS, NULL},
    {"session_fd", session_fd, METH_NOARGS, NULL},
    {"open_notices", open_notices, METH_VARARGS, NULL},
    {"send_notice", send_notice, METH_VARARGS, NULL},
    {"close_notices", close_notices, METH_NOARGS, NULL},
    {"session_ended", session_ended, METH_NOARGS, NULL},
    {"make_unnamed_files", make_unnamed_files, METH_VARARGS, NULL},
    {"libfuse_version", libfuse_version, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_extras", NULL, -1, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__extras(void)
{
    return PyModule_Create(&definition);
}

/* --- in place of libfuse's functions ---------------------------------------------------------------- */

/* Named by label: libfuse's headers declare these names differently from version to version (a function, a
   macro, const or not). */
#define STANDS_BEFORE(name) __asm__(name) __attribute__((visibility("default")))

struct fuse_session *extended_session_new(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
                                          void *) STANDS_BEFORE("fuse_session_new");
struct fuse_session *extended_session_new_versioned(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
                                                    void *, void *) STANDS_BEFORE("fuse_session_new_versioned");
int unblocking_receive_buf(struct fuse_session *, struct fuse_buf *) STANDS_BEFORE("fuse_session_receive_buf");
int extended_reply_open(fuse_req_t, const struct fuse_file_info *) STANDS_BEFORE("fuse_reply_open");
int extended_reply_create(fuse_req_t, const struct fuse_entry_param *,
                          const struct fuse_file_info *) STANDS_BEFORE("fuse_reply_create");

static void *libfuse_function(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    /* Where several versions are exported and none is the default, dlsym finds nothing. */
    if (!found)
        found = dlvsym(RTLD_NEXT, name, "FUSE_3.17");
    if (!found)
        found = dlvsym(RTLD_NEXT, name, "FUSE_3.0");
    return found;
}

static void extend(const struct fuse_lowlevel_ops *given, size_t size)
{
    if (given == &operations)
        return; /* libfuse's own call from one of the two functions below to the other */
    memset(&operations, 0, sizeof operations);
    memcpy(&operations, given, size < sizeof operations ? size : sizeof operations);
    extend_locks(&operations);
    extend_ranges(&operations);
    extend_set_id(&operations);
}

struct fuse_session *extended_session_new(struct fuse_args *arguments, const struct fuse_lowlevel_ops *given,
                                          size_t size, void *user_data)
{
    struct fuse_session *(*original)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t, void *) =
        libfuse_function("fuse_session_new");
    if (!original)
        return NULL;
    extend(given, size);
    return session = original(arguments, &operations, sizeof operations, user_data);
}

/* The symbol that headers from libfuse 3.17 on use. */
struct fuse_session *extended_session_new_versioned(struct fuse_args *arguments,
                                                    const struct fuse_lowlevel_ops *given, size_t size,
                                                    void *version, void *user_data)
{
    struct fuse_session *(*original)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t, void *, void *) =
        libfuse_function("fuse_session_new_versioned");
    if (!original)
        return NULL;
    extend(given, size);
    return session = original(arguments, &operations, sizeof operations, version, user_data);
}

static int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

typedef int receive_buf(struct fuse_session *, struct fuse_buf *);

/* Going to sleep and waking up costs more than looking for as long as a program needs from an answer to its next
   request. The GIL is kept: a look ends sooner than another thread would give the GIL back. */
static int receive_within_look(receive_buf *receive, struct fuse_session *from, struct fuse_buf *buffer)
{
    int64_t begin = 0;
    int result;
    while ((result = receive(from, buffer)) == -EAGAIN && most_look_ns > 0) {
        int64_t now = monotonic_ns();
        if (!begin)
            begin = now;
        else if (now - begin >= look_ns) {
            /* Who comes so late is not worth the processor's time. */
            look_ns = look_ns / 2 > LEAST_LOOK_NS ? look_ns / 2 : LEAST_LOOK_NS;
            return result;
        }
    }
    if (begin && look_ns < most_look_ns)
        look_ns = look_ns * 2 < most_look_ns ? look_ns * 2 : most_look_ns;
    return result;
}

/* A request can vanish between "readable" and the read: its caller was killed, or another task took it. A
   blocking read would then stop the whole daemon, as pyfuse3 holds the GIL meanwhile. The descriptor is
   therefore non-blocking, and "nothing there" is told as the one error after which pyfuse3 waits again; so is
   "what was there is answered". */
int unblocking_receive_buf(struct fuse_session *from, struct fuse_buf *buffer)
{
    static receive_buf *original;
    if (!original)
        original = libfuse_function("fuse_session_receive_buf");
    if (!original)
        return -ENOSYS;
    do {
        int result = receive_within_look(original, from, buffer);
        found_none = result == -EAGAIN;
        if (result <= 0)
            return found_none ? -EINTR : result;
        requests_read++;
        observe_request(buffer, result);
        if (!answer_immediately(fuse_session_fd(from), buffer, result))
            return result;
    } while (requests_read < burst);
    return -EINTR;
}

static struct open_reply *take_open_reply(uint64_t handle)
{
    struct open_reply *entry;
    LIST_FOREACH(entry, &open_replies, link)
        if (entry->handle == handle) {
            LIST_REMOVE(entry, link);
            return entry;
        }
    return NULL;
}

/* libfuse before 3.17 knows no backing id, so it builds the answer and `write_device` adds to it. */
int extended_reply_open(fuse_req_t request, const struct fuse_file_info *file)
{
    static int (*original)(fuse_req_t, const struct fuse_file_info *);
    struct open_reply *wanted = take_open_reply(file->fh);
    int result;
    if (!original)
        original = libfuse_function("fuse_reply_open");
    amend_next_reply(wanted);
    result = original ? original(request, file) : -ENOSYS;
    amend_next_reply(NULL);
    free(wanted);
    return result;
}

int extended_reply_create(fuse_req_t request, const struct fuse_entry_param *entry,
                          const struct fuse_file_info *file)
{
    static int (*original)(fuse_req_t, const struct fuse_entry_param *, const struct fuse_file_info *);
    struct open_reply *wanted = take_open_reply(file->fh);
    int result;
    if (!original)
        original = libfuse_function("fuse_reply_create");
    amend_next_reply(wanted);
    result = original ? original(request, entry, file) : -ENOSYS;
    amend_next_reply(NULL);
    free(wanted);
    return result;
}
