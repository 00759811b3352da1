/*
 * To be preloaded: the monotonic clock of its process is later by as many seconds as stand in the file that KX_LATER names
 * (an int64_t), which others may change at any time.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *later;

__attribute__((constructor)) static void map_file(void)
{
    const char *name = getenv("KX_LATER");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *place = mmap(NULL, sizeof *later, PROT_READ, MAP_SHARED, file, 0);
    if (place != MAP_FAILED)
        later = place;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && later && clock == CLOCK_MONOTONIC)
        time->tv_sec += *later;
    return result;
}
