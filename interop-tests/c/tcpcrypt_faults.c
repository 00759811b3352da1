/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcpcrypt_faults CONTROL MODE: what calls do when the daemon does not do what it should. The test
 * starts, stops and scripts the daemon.
 */
#include <tcpcrypt/tcpcrypt.h>

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static int s;

static int get(void)
{
    int value = 0;
    socklen_t len = sizeof value;

    errno = 0;
    if (tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, &value, &len) == 0) {
        CHECK(value == 1 && len == sizeof value);
        return 0;
    }
    CHECK(value == 0);
    CHECK(errno > 0);
    return errno;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void on_alarm(int number)
{
    (void)number;
}

/* Signals come in all the time, and the wait still ends when it should. */
static void silent(void)
{
    struct sigaction action;
    struct itimerval every;
    double start, took;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    memset(&every, 0, sizeof every);
    every.it_value.tv_usec = every.it_interval.tv_usec = 50000;
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    start = now();
    CHECK(get() == ETIMEDOUT);
    took = now() - start;
    CHECK(took > 4.9 && took < 8);
}

/* Says when it is ready for the next step, and waits until the test has taken it. */
static void step(void)
{
    char line[8];

    puts("next");
    fflush(stdout);
    CHECK(fgets(line, sizeof line, stdin) != NULL);
}

static void restarted(void)
{
    CHECK(get() == 0);
    step(); /* The daemon ends; its socket's file stays. */
    CHECK(get() == ECONNREFUSED);
    step(); /* The file is taken away. */
    CHECK(get() == ENOENT);
    step(); /* Another daemon comes. */
    CHECK(get() == 0);
}

/* More connections than fit 1200 octets. */
static void rows(int all)
{
    static unsigned char list[1 << 16];
    static char last[] = "10.77.0.2", remote[] = "10.77.0.2";
    socklen_t len = 1200;

    CHECK(tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_NETSTAT, list, &len) == 0);
    CHECK(len == 24 * 49);
    len = 2048;
    CHECK(tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_NETSTAT, list, &len) == 0);
    CHECK(len == (socklen_t)(all ? 41 : 24) * 49);
    len = sizeof list;
    CHECK(tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_NETSTAT, list, &len) == 0);
    CHECK(len == (socklen_t)(all ? 300 : 24) * 49);
    CHECK(tcpcrypt_getsessid(remote, 20023, last, 0) != NULL);
    CHECK((tcpcrypt_getsessid(remote, 20299, last, 0) != NULL) == all);
}

int main(int argc, char **argv)
{
    const char *mode = argv[2];

    CHECK(argc == 3);
    s = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(s >= 0);
    tcpcrypt_setparam(TCPCRYPT_PARAM_CTLPATH, argv[1]);
    if (strcmp(mode, "silent") == 0)
        silent();
    else if (strcmp(mode, "restarted") == 0)
        restarted();
    else if (strcmp(mode, "rows") == 0)
        rows(1);
    else if (strcmp(mode, "few-rows") == 0)
        rows(0);
    else
        /* A number: the errno that comes of what the daemon answers. */
        CHECK(get() == atoi(mode));
    puts("ok");
    return 0;
}
