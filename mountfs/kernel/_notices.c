/* The kernel writes a notice about a directory only when it has that directory's lock, and a program may have it that
 * waits for an answer of ours. No signal ends this wait. If the daemon is killed meanwhile, the kernel closes what the
 * waiting thread has open only at the thread's end, so were the device among that, nobody would ever end the program's
 * request, and so the wait.
 *
 * Therefore notices are written by a thread with a table of descriptors of its own, in which nothing is open but a clone
 * of the device. At the daemon's end the device itself is closed, for the kernel the end of all requests that were read
 * from it: the program gets an error, the lock is free, the thread ends, and with its clone the connection.
 *
 * The thread is none of Python's: that might run anything in it, and what it closed would be closed in the wrong table.
 */
#define _GNU_SOURCE
#include "_notices.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/fuse.h and linux/close_range.h; the system's own headers may be older than the kernel. */
#define DEVICE_CLONE _IOR(229, 0, uint32_t)
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
enum { CLOSE_UNSHARED = 2 };

static pthread_t thread;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* What follows is guarded by the lock. */
static enum { NONE, STARTING, IDLE, SENDING, ENDING } state;
static int clone_of_device; /* by its number in the thread's table */
static const void *message;
static size_t message_length;
static int error_of_last; /* of the start, or of the last message */

static void become(int wanted)
{
    state = wanted;
    pthread_cond_broadcast(&changed);
}

/* Have a table of our own with this one descriptor; returns an errno, 0 for success. */
static int keep_only(unsigned int descriptor)
{
    if (syscall(SYS_close_range, descriptor + 1, ~0U, CLOSE_UNSHARED) < 0)
        return errno;
    return descriptor > 0 && syscall(SYS_close_range, 0, descriptor - 1, 0) < 0 ? errno : 0;
}

static void *send_messages(void *unused)
{
    int device = clone_of_device; /* set before the thread began */
    int error = keep_only(device);
    (void)unused;
    pthread_mutex_lock(&lock);
    error_of_last = error;
    become(error ? ENDING : IDLE);
    while (state != ENDING) {
        if (state == SENDING) {
            pthread_mutex_unlock(&lock);
            error = write(device, message, message_length) < 0 ? errno : 0;
            pthread_mutex_lock(&lock);
            error_of_last = error;
            become(IDLE);
        } else {
            pthread_cond_wait(&changed, &lock);
        }
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* Returns a descriptor, or an errno below 0. */
static int cloned(int device)
{
    char path[32];
    uint32_t original = device;
    int clone;
    /* By the descriptor instead of by its name: /dev/fuse need not be there where somebody else mounted. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", device);
    clone = open(path, O_RDWR | O_CLOEXEC);
    if (clone < 0)
        return -errno;
    if (ioctl(clone, DEVICE_CLONE, &original) < 0) {
        int error = errno;
        close(clone);
        return -error;
    }
    return clone;
}

/* Python's signals are told by a descriptor, which the thread does not have. */
static int start_without_signals(void)
{
    sigset_t all, before;
    int error;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, NULL, send_messages, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* Returns an errno, 0 for success. */
static int start(int device)
{
    int clone = cloned(device), error;
    if (clone < 0)
        return -clone;
    clone_of_device = clone;
    state = STARTING;
    error = start_without_signals();
    if (!error) {
        pthread_mutex_lock(&lock);
        while (state == STARTING)
            pthread_cond_wait(&changed, &lock);
        error = error_of_last;
        pthread_mutex_unlock(&lock);
        if (error)
            pthread_join(thread, NULL);
    }
    if (error)
        state = NONE;
    close(clone); /* the thread has it in its own table */
    return error;
}

static int send(const void *bytes, size_t length)
{
    int error;
    pthread_mutex_lock(&lock);
    message = bytes;
    message_length = length;
    become(SENDING);
    while (state == SENDING)
        pthread_cond_wait(&changed, &lock);
    error = error_of_last;
    pthread_mutex_unlock(&lock);
    return error;
}

static PyObject *outcome(int error)
{
    if (!error)
        Py_RETURN_NONE;
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

PyObject *open_notices(PyObject *module, PyObject *arguments)
{
    int device, error;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "i", &device))
        return NULL;
    if (state != NONE)
        return PyErr_Format(PyExc_ValueError, "notices are open already");
    Py_BEGIN_ALLOW_THREADS
    error = start(device);
    Py_END_ALLOW_THREADS
    return outcome(error);
}

PyObject *send_notice(PyObject *module, PyObject *arguments)
{
    Py_buffer bytes;
    int error;
    (void)module;
    if (state != IDLE)
        return PyErr_Format(PyExc_ValueError, "notices are not open, or another one is being sent");
    if (!PyArg_ParseTuple(arguments, "y*", &bytes))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    error = send(bytes.buf, bytes.len);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&bytes);
    return outcome(error);
}

PyObject *close_notices(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (state != IDLE)
        Py_RETURN_NONE;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&lock);
    become(ENDING);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    state = NONE;
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}
