/* Lets the clocks of one program step, and nothing else of it: preloaded, it adds to them the two numbers of
 * seconds in the file that MOUNTFS_CLOCK_STEP names, the first to the wall clock, the second to the time since
 * the boot, as a host does that slept. The monotonic clock stays the kernel's. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { WALL, ASLEEP, STEPS };

static const volatile int64_t *steps;

__attribute__((constructor)) static void attach(void)
{
    const char *path = getenv("MOUNTFS_CLOCK_STEP");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (file < 0)
        return;
    void *place = mmap(NULL, STEPS * sizeof *steps, PROT_READ, MAP_SHARED, file, 0);
    steps = place == MAP_FAILED ? NULL : place;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);

    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int outcome = real(clock, now);
    if (outcome || !steps)
        return outcome;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        now->tv_sec += steps[WALL];
    else if (clock == CLOCK_BOOTTIME)
        now->tv_sec += steps[ASLEEP];
    return outcome;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *place)
{
    struct timespec exact;

    clock_gettime(CLOCK_REALTIME, &exact);
    if (place)
        *place = exact.tv_sec;
    return exact.tv_sec;
}
