/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcpcrypt_threads CONTROL ROUNDS CHILDREN: eight threads and children of forks at the same time. The daemon
 * gives the option's number as every value, and has a connection from each port from 8000 to 8009 of
 * 10.77.0.2 with an id that is the port.
 */
#include <tcpcrypt/tcpcrypt.h>

#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { THREADS = 8, CHILDREN_MAX = 8 };

static char *control;
static int rounds;

static void calls(int number, int count)
{
    char remote[] = "10.77.0.2", wanted[8];
    int s = socket(AF_INET, SOCK_STREAM, 0);
    int i;

    CHECK(s >= 0);
    snprintf(wanted, sizeof wanted, "%04X", (8000u + (unsigned)number) & 0xffff);
    for (i = 0; i < count; i++) {
        int value = 0;
        socklen_t len = sizeof value;
        char *id;

        /* The address is shared by all: each call uses one that was set, as a whole. */
        tcpcrypt_setparam(TCPCRYPT_PARAM_CTLPATH, control);
        CHECK(tcpcrypt_getsockopt(s, IPPROTO_TCP, 2000 + number, &value, &len) == 0);
        CHECK(len == sizeof value && value == 2000 + number);
        CHECK(tcpcrypt_setsockopt(s, IPPROTO_TCP, 2000 + number, &value, len) == 0);
        id = tcpcrypt_getsessid(remote, (uint16_t)(8000 + number), remote, 0);
        CHECK(id != NULL);
        /* Other threads' calls in between do not change it. */
        value = tcpcrypt_setsockopt(s, IPPROTO_TCP, 2000 + number, &value, len);
        CHECK(value == 0 && strcmp(id, wanted) == 0);
    }
    close(s);
}

static void *thread(void *argument)
{
    calls((int)(intptr_t)argument, rounds);
    return NULL;
}

static int entries(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;

    CHECK(dir != NULL);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    pid_t children[CHILDREN_MAX];
    int descriptors, tasks, status, forks, i;

    CHECK(argc == 4);
    control = argv[1];
    rounds = atoi(argv[2]);
    forks = atoi(argv[3]);
    CHECK(forks <= CHILDREN_MAX);
    descriptors = entries("/proc/self/fd");
    tasks = entries("/proc/self/task");
    calls(9, 1);
    CHECK(entries("/proc/self/task") == tasks); /* The library has no thread of its own. */

    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, thread, (void *)(intptr_t)i) == 0);
    /* Forks while threads are within calls: nothing of theirs holds up the child. */
    for (i = 0; i < forks; i++) {
        children[i] = fork();
        CHECK(children[i] >= 0);
        if (children[i] == 0) {
            alarm(60);
            calls(i, rounds / 2 + 1);
            _exit(0);
        }
        calls(8, 2);
    }
    for (i = 0; i < forks; i++)
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(entries("/proc/self/fd") == descriptors);
    puts("ok");
    return 0;
}
