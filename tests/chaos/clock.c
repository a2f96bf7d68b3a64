/* A wall clock that a test sets while a process runs, and jumps at once. The file WALL_CLOCK holds
 * two numbers: nanoseconds that it is ahead of the true time, and, if not 0, the moment at which it
 * stands still. All other clocks are true. (libfaketime also changes how sleeps are counted, by the
 * monotonic clock too, so that after a jump they fail.)
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const volatile int64_t *setting;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("WALL_CLOCK");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        abort();
    void *mapped = mmap(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        abort();
    close(fd);
    setting = mapped;
}

static int64_t now(void)
{
    struct timespec true_time;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &true_time);
    int64_t moment = true_time.tv_sec * SECOND + true_time.tv_nsec;
    if (setting == NULL)
        return moment;
    return setting[1] != 0 ? setting[1] : moment + setting[0];
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return (int)syscall(SYS_clock_gettime, clock, time);
    int64_t moment = now();
    time->tv_sec = moment / SECOND;
    time->tv_nsec = moment % SECOND;
    return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    (void)zone;
    int64_t moment = now();
    time->tv_sec = moment / SECOND;
    time->tv_usec = moment % SECOND / 1000;
    return 0;
}

time_t time(time_t *into)
{
    time_t seconds = now() / SECOND;
    if (into != NULL)
        *into = seconds;
    return seconds;
}
