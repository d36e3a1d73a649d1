/* Requests that are answered in the moment they are read.
 *
 * Most need no waiting. Their way through libfuse, pyfuse3 and its event loop costs more than the answer, so they
 * are taken from the device's wire format (linux/fuse.h) here and given to Python as they are. What Python
 * cannot answer without waiting goes the ordinary way.
 */
#include "_immediate.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "_device.h"

enum {
    OPCODE_LOOKUP = 1,
    OPCODE_FORGET = 2,
    OPCODE_GETATTR = 3,
    OPCODE_UNLINK = 10,
    OPCODE_OPEN = 14,
    OPCODE_READ = 15,
    OPCODE_WRITE = 16,
    OPCODE_RELEASE = 18,
    OPCODE_GETXATTR = 22,
    OPCODE_FLUSH = 25,
    OPCODE_OPENDIR = 27,
    OPCODE_RELEASEDIR = 29,
    OPCODE_CREATE = 35,
    OPCODE_BATCH_FORGET = 42,
    OPCODES
};
#define RELEASE_ENDS_FLOCK (1u << 1)

/* What follows the header. */
struct wire_forget {
    uint64_t count;
};

struct wire_batch_forget {
    uint32_t count, padding;
};

struct wire_forget_one {
    uint64_t node, count;
};

struct wire_open {
    uint32_t flags, open_flags;
};

struct wire_read {
    uint64_t handle, offset;
    uint32_t size, read_flags;
};

struct wire_write {
    uint64_t handle, offset;
    uint32_t size, write_flags;
    uint64_t lock_owner;
    uint32_t flags, padding;
};

struct wire_flush {
    uint64_t handle;
    uint32_t unused, padding;
    uint64_t lock_owner;
};

struct wire_release {
    uint64_t handle;
    uint32_t flags, release_flags;
    uint64_t lock_owner;
};

struct wire_getxattr {
    uint32_t size, padding;
};

struct wire_create {
    uint32_t flags, mode, umask, open_flags;
};

/* What was read of a request and not looked at yet. */
struct rest {
    const char *bytes;
    size_t length;
};

static PyObject *handlers[OPCODES];
static int has_begun;

/* Of a request that is not as it should be, or asks for more than Python is told here. */
static PyObject *leave_to_libfuse(void)
{
    Py_RETURN_NOTIMPLEMENTED;
}

static int take(struct rest *rest, void *value, size_t size)
{
    if (rest->length < size)
        return 0;
    memcpy(value, rest->bytes, size);
    rest->bytes += size;
    rest->length -= size;
    return 1;
}

/* A name ends with a zero byte. */
static int take_name(struct rest *rest, const char **name, Py_ssize_t *length)
{
    const char *end = memchr(rest->bytes, 0, rest->length);
    if (!end)
        return 0;
    *name = rest->bytes;
    *length = end - rest->bytes;
    return 1;
}

static PyObject *call_with_name(PyObject *handler, uint64_t node, struct rest rest)
{
    const char *name;
    Py_ssize_t length;
    if (!take_name(&rest, &name, &length))
        return leave_to_libfuse();
    return PyObject_CallFunction(handler, "Ky#", (unsigned long long)node, name, length);
}

static PyObject *call_create(PyObject *handler, const struct wire_request *header, struct rest rest)
{
    struct wire_create wanted;
    const char *name;
    Py_ssize_t length;
    if (!take(&rest, &wanted, sizeof wanted) || !take_name(&rest, &name, &length))
        return leave_to_libfuse();
    return PyObject_CallFunction(handler, "Ky#II(III)", (unsigned long long)header->node, name, length,
                                 (unsigned int)wanted.mode, (unsigned int)wanted.flags,
                                 (unsigned int)header->uid, (unsigned int)header->gid,
                                 (unsigned int)header->pid);
}

static PyObject *call_forget(PyObject *handler, uint64_t node, struct rest rest)
{
    struct wire_forget wanted;
    if (!take(&rest, &wanted, sizeof wanted))
        return leave_to_libfuse();
    return PyObject_CallFunction(handler, "[(KK)]", (unsigned long long)node, (unsigned long long)wanted.count);
}

static PyObject *call_batch_forget(PyObject *handler, struct rest rest)
{
    struct wire_batch_forget wanted;
    struct wire_forget_one one;
    PyObject *all, *result;
    if (!take(&rest, &wanted, sizeof wanted) || rest.length / sizeof one < wanted.count)
        return leave_to_libfuse();
    all = PyList_New(wanted.count);
    for (uint32_t index = 0; all && index < wanted.count && take(&rest, &one, sizeof one); index++) {
        PyObject *pair = Py_BuildValue("(KK)", (unsigned long long)one.node, (unsigned long long)one.count);
        if (!pair)
            Py_CLEAR(all);
        else
            PyList_SET_ITEM(all, index, pair);
    }
    result = all ? PyObject_CallOneArg(handler, all) : NULL;
    Py_XDECREF(all);
    return result;
}

static PyObject *call_open(PyObject *handler, uint64_t node, struct rest rest)
{
    struct wire_open wanted;
    if (!take(&rest, &wanted, sizeof wanted) || request_clears_set_id())
        return leave_to_libfuse();
    return PyObject_CallFunction(handler, "KI", (unsigned long long)node, (unsigned int)wanted.flags);
}

static PyObject *call_read(PyObject *handler, struct rest rest)
{
    struct wire_read wanted;
    if (!take(&rest, &wanted, sizeof wanted))
        return leave_to_libfuse();
    return PyObject_CallFunction(handler, "KKI", (unsigned long long)wanted.handle,
                                 (unsigned long long)wanted.offset, (unsigned int)wanted.size);
}

static PyObject *call_write(PyObject *handler, struct rest rest)
{
    struct wire_write wanted;
    if (!take(&rest, &wanted, sizeof wanted) || rest.length < wanted.size || request_clears_set_id())
        return leave_to_libfuse();
    return PyObject_CallFunction(handler, "KKy#", (unsigned long long)wanted.handle,
                                 (unsigned long long)wanted.offset, rest.bytes, (Py_ssize_t)wanted.size);
}

static PyObject *call_flush(PyObject *handler, uint64_t node, struct rest rest)
{
    struct wire_flush wanted;
    if (!take(&rest, &wanted, sizeof wanted))
        return leave_to_libfuse();
    return PyObject_CallFunction(handler, "KKK", (unsigned long long)node, (unsigned long long)wanted.handle,
                                 (unsigned long long)wanted.lock_owner);
}

static PyObject *call_release(PyObject *handler, uint64_t node, struct rest rest)
{
    struct wire_release wanted;
    if (!take(&rest, &wanted, sizeof wanted))
        return leave_to_libfuse();
    return PyObject_CallFunction(
        handler, "KKK", (unsigned long long)node, (unsigned long long)wanted.handle,
        (unsigned long long)(wanted.release_flags & RELEASE_ENDS_FLOCK ? wanted.lock_owner : 0));
}

static PyObject *call_handler(PyObject *handler, const struct wire_request *header, struct rest rest)
{
    switch (header->opcode) {
    case OPCODE_GETATTR:
        return PyObject_CallFunction(handler, "K", (unsigned long long)header->node);
    case OPCODE_LOOKUP:
    case OPCODE_UNLINK:
        return call_with_name(handler, header->node, rest);
    case OPCODE_FORGET:
        return call_forget(handler, header->node, rest);
    case OPCODE_BATCH_FORGET:
        return call_batch_forget(handler, rest);
    case OPCODE_CREATE:
        return call_create(handler, header, rest);
    case OPCODE_OPEN:
    case OPCODE_OPENDIR:
        return call_open(handler, header->node, rest);
    case OPCODE_READ:
        return call_read(handler, rest);
    case OPCODE_WRITE:
        return call_write(handler, rest);
    case OPCODE_FLUSH:
        return call_flush(handler, header->node, rest);
    case OPCODE_RELEASE:
    case OPCODE_RELEASEDIR:
        return call_release(handler, header->node, rest);
    default:
        return leave_to_libfuse();
    }
}

/* What the kernel takes as an errno; another one it refuses with the whole answer, and the program waits on. */
enum { LARGEST_ERRNO = 511 };

static int errno_of(PyObject *result)
{
    int overflow = 0;
    long number = result && PyLong_Check(result) ? PyLong_AsLongAndOverflow(result, &overflow) : EIO;
    return overflow || number < 0 || number > LARGEST_ERRNO ? EIO : (int)number;
}

/* The kernel may have ceased to want the answer, which is nothing to tell anybody. */
static void send_reply(int device, uint64_t unique, int error, const char *body, size_t length)
{
    struct wire_reply header = {.length = sizeof header + length, .error = -error, .unique = unique};
    struct iovec parts[2] = {{&header, sizeof header}, {(void *)body, length}};
    if (writev(device, parts, length ? 2 : 1) < 0)
        return;
}

static void send_part(int device, uint64_t unique, PyObject *result)
{
    struct file_part part;
    long long offset;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(result, "inL", &part.descriptor, &size, &offset)) {
        PyErr_WriteUnraisable(result);
        send_reply(device, unique, EIO, NULL, 0);
        return;
    }
    part.offset = offset;
    part.size = size;
    Py_BEGIN_ALLOW_THREADS
    send_file_part(device, unique, &part);
    Py_END_ALLOW_THREADS
}

/* The body of an answer, the part of a file that is its body, or an errno; without a result, or with any other, EIO. */
static void send_result(int device, uint64_t unique, PyObject *result)
{
    if (result && PyBytes_Check(result))
        send_reply(device, unique, 0, PyBytes_AS_STRING(result), PyBytes_GET_SIZE(result));
    else if (result && PyTuple_Check(result))
        send_part(device, unique, result);
    else
        send_reply(device, unique, errno_of(result), NULL, 0);
}

/* The kernel asks for file capabilities at the first write after each open, also where it makes the write by itself.
   They cannot be set here, so the answer needs no Python; ENOSYS would be quicker still, but it turns all extended
   attributes off for the life of the mount. */
static int asks_for_capabilities(const struct wire_request *header, struct rest rest)
{
    static const char capabilities[] = "security.capability";
    struct wire_getxattr wanted;
    const char *name;
    Py_ssize_t length;
    return header->opcode == OPCODE_GETXATTR && take(&rest, &wanted, sizeof wanted) &&
           take_name(&rest, &name, &length) && length == sizeof capabilities - 1 &&
           memcmp(name, capabilities, length) == 0;
}

int answer_immediately(int device, const struct fuse_buf *buffer, int length)
{
    struct wire_request header;
    struct rest rest = {buffer->mem, length};
    PyGILState_STATE gil;
    PyObject *handler, *result;
    int is_answered;
    has_begun = 0;
    if (buffer->flags & FUSE_BUF_IS_FD || !take(&rest, &header, sizeof header))
        return 0;
    if (asks_for_capabilities(&header, rest)) {
        send_reply(device, header.unique, ENODATA, NULL, 0);
        return 1;
    }
    if (header.opcode >= OPCODES || !handlers[header.opcode])
        return 0;
    gil = PyGILState_Ensure();
    handler = Py_NewRef(handlers[header.opcode]); /* it may be replaced while it runs */
    result = call_handler(handler, &header, rest);
    has_begun = result == Py_None;
    is_answered = result != Py_None && result != Py_NotImplemented;
    if (is_answered && header.opcode != OPCODE_FORGET && header.opcode != OPCODE_BATCH_FORGET)
        send_result(device, header.unique, result);
    if (!result)
        PyErr_WriteUnraisable(handler);
    Py_XDECREF(result);
    Py_DECREF(handler);
    PyGILState_Release(gil);
    return is_answered;
}

int request_has_begun(void)
{
    return has_begun;
}

/* --- for Python ------------------------------------------------------------------------------------- */

PyObject *install_immediate(PyObject *module, PyObject *arguments)
{
    PyObject *given, *opcode, *handler;
    Py_ssize_t position = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!", &PyDict_Type, &given))
        return NULL;
    while (PyDict_Next(given, &position, &opcode, &handler)) {
        long number = PyLong_AsLong(opcode);
        if (number == -1 && PyErr_Occurred())
            return NULL;
        if (number < 0 || number >= OPCODES)
            return PyErr_Format(PyExc_ValueError, "there is no handler for requests of kind %ld", number);
        Py_XSETREF(handlers[number], Py_NewRef(handler));
    }
    Py_RETURN_NONE;
}

void uninstall_immediate(void)
{
    for (int opcode = 0; opcode < OPCODES; opcode++)
        Py_CLEAR(handlers[opcode]);
}
