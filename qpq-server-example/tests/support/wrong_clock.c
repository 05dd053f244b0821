/* A wall clock that is WRONG_CLOCK_DAYS ahead, for whatever is loaded with this before the system's library.
   The monotonic clock stays right. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    const char *days = getenv("WRONG_CLOCK_DAYS");
    if (result == 0 && clock == CLOCK_REALTIME && days != NULL)
        now->tv_sec += atol(days) * 86400;
    return result;
}
