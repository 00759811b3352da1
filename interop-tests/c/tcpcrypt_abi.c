/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcpcrypt_abi ABSENT: constants, prototypes, NULL for every pointer, and the arguments with which the
 * original ends the process. ABSENT is a path where no daemon is.
 */
#include <tcpcrypt/tcpcrypt.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

/* Programs are built with these numbers in them. */
CONSTANT(TCPCRYPT_SID_MAXLEN == 32);
CONSTANT(TCP_CRYPT_ENABLE == 0);
CONSTANT(TCP_CRYPT_CMODE == 1);
CONSTANT(TCP_CRYPT_SESSID == 2);
CONSTANT(TCP_CRYPT_RSA_KEY == 3);
CONSTANT(TCP_CRYPT_APP_SUPPORT == 15);
CONSTANT(TCP_CRYPT_RESET == 100);
CONSTANT(TCP_CRYPT_NOCACHE == 101);
CONSTANT(TCP_CRYPT_NETSTAT == 102);
CONSTANT(TCPCRYPT_PARAM_CTLPATH == 0);

/* They are no macros. */
#if defined(TCP_CRYPT_ENABLE) || defined(TCP_CRYPT_NETSTAT) || defined(TCPCRYPT_PARAM_CTLPATH)
#error "option names are macros"
#endif

/* And with these types; an assignment of another type is an error under -Werror. */
static void (*const setparam)(int, void *) = tcpcrypt_setparam;
static int (*const get)(int, int, int, void *, socklen_t *) = tcpcrypt_getsockopt;
static int (*const set)(int, int, int, const void *, socklen_t) = tcpcrypt_setsockopt;
static char *(*const getsessid)(char *, uint16_t, char *, uint16_t) = tcpcrypt_getsessid;

static char far_end[] = "10.77.0.2";
static char near_end[] = "10.77.0.1";
static char nonsense[] = "10.77.0";
static char empty[] = "";

/* A call that fails, and with which errno. */
#define FAILS(call, wanted)                                                            \
    do {                                                                               \
        errno = 0;                                                                     \
        if ((call) != -1 || errno != (wanted)) {                                       \
            fprintf(stderr, "%s:%d: errno %d, not %s\n", __FILE__, __LINE__, errno, #wanted); \
            exit(1);                                                                   \
        }                                                                              \
    } while (0)

static void nulls(int s, char *absent)
{
    unsigned char value[64];
    socklen_t len = sizeof value;

    setparam(TCPCRYPT_PARAM_CTLPATH, NULL);
    setparam(TCPCRYPT_PARAM_CTLPATH, absent);
    FAILS(get(s, IPPROTO_TCP, TCP_CRYPT_SESSID, value, NULL), EFAULT);
    FAILS(get(s, IPPROTO_TCP, TCP_CRYPT_SESSID, NULL, NULL), EFAULT);
    FAILS(get(s, IPPROTO_TCP, TCP_CRYPT_SESSID, NULL, &len), EFAULT);
    len = 0;
    FAILS(get(s, IPPROTO_TCP, TCP_CRYPT_SESSID, NULL, &len), ENOENT);
    FAILS(set(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, NULL, 4), EFAULT);
    FAILS(set(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, NULL, 0), ENOENT);
    CHECK(getsessid(NULL, 80, near_end, 80) == NULL);
    CHECK(getsessid(NULL, 0, NULL, 0) == NULL);
    CHECK(getsessid(far_end, 80, NULL, 80) == NULL);
    CHECK(getsessid(nonsense, 80, NULL, 0) == NULL);
    CHECK(getsessid(empty, 80, empty, 0) == NULL);
}

static void arguments(int s)
{
    static unsigned char value[1 << 17];
    int pipes[2];
    int unix_socket = socket(AF_UNIX, SOCK_STREAM, 0);
    int closed = dup(s);
    socklen_t len;

    CHECK(unix_socket >= 0 && closed >= 0 && pipe(pipes) == 0);
    close(closed);
    len = 4;
    FAILS(get(s, SOL_SOCKET, TCP_CRYPT_ENABLE, value, &len), EINVAL);
    FAILS(set(s, SOL_SOCKET, TCP_CRYPT_ENABLE, value, 4), EINVAL);
    FAILS(get(s, -1, TCP_CRYPT_ENABLE, value, &len), EINVAL);
    FAILS(get(-1, IPPROTO_TCP, TCP_CRYPT_ENABLE, value, &len), EBADF);
    FAILS(set(closed, IPPROTO_TCP, TCP_CRYPT_ENABLE, value, 4), EBADF);
    FAILS(get(pipes[0], IPPROTO_TCP, TCP_CRYPT_ENABLE, value, &len), ENOTSOCK);
    FAILS(get(unix_socket, IPPROTO_TCP, TCP_CRYPT_ENABLE, value, &len), EAFNOSUPPORT);

    /* 1200 octets are sent, one more is not. */
    FAILS(set(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, value, 1200), ENOENT);
    FAILS(set(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, value, 1201), EMSGSIZE);
    FAILS(set(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, value, (socklen_t)-1), EMSGSIZE);

    /* More room than that is not wrong, but not taken. */
    len = sizeof value;
    FAILS(get(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, value, &len), ENOENT);
    CHECK(len == 1200);
    len = sizeof value;
    FAILS(get(s, IPPROTO_TCP, TCP_CRYPT_NETSTAT, value, &len), ENOENT);
    CHECK(len == 1200);
    len = 7;
    FAILS(get(s, IPPROTO_TCP, -1, value, &len), ENOENT);
    CHECK(len == 7);
    close(unix_socket);
    close(pipes[0]);
    close(pipes[1]);
}

static void addresses(int s)
{
    static char texts[][8] = {"", "x", ":x", ":65536", "@", "./x"};
    static char too_long[200];
    int value = 1;
    size_t i;

    for (i = 0; i < sizeof texts / sizeof *texts; i++) {
        setparam(TCPCRYPT_PARAM_CTLPATH, texts[i]);
        FAILS(set(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, &value, sizeof value),
              strcmp(texts[i], "@") == 0 ? ECONNREFUSED : EINVAL);
    }
    memset(too_long, 'x', sizeof too_long - 1);
    too_long[0] = '/';
    setparam(TCPCRYPT_PARAM_CTLPATH, too_long);
    FAILS(set(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, &value, sizeof value), EINVAL);
    /* Nobody has port 1 of UDP. */
    setparam(TCPCRYPT_PARAM_CTLPATH, strcpy(too_long, ":1"));
    FAILS(set(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, &value, sizeof value), ECONNREFUSED);
}

/* A socket without a port gets one, also one of IPv6. */
static void ports(void)
{
    int families[2] = {AF_INET, AF_INET6};
    int value = 1;
    size_t i;

    for (i = 0; i < 2; i++) {
        struct sockaddr_storage name;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        socklen_t len = sizeof name;
        int s = socket(families[i], SOCK_STREAM, 0);

        if (s < 0 && families[i] == AF_INET6)
            continue;
        CHECK(set(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, &value, sizeof value) == -1);
        CHECK(getsockname(s, (struct sockaddr *)&name, &len) == 0);
        memcpy(&in, &name, sizeof in);
        memcpy(&in6, &name, sizeof in6);
        if (families[i] == AF_INET)
            CHECK(in.sin_port != 0 && in.sin_addr.s_addr == htonl(INADDR_ANY));
        else
            CHECK(in6.sin6_port != 0 && IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr));
        close(s);
    }
}

int main(int argc, char **argv)
{
    struct sigaction before, after;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    int next, then;

    CHECK(argc == 2 && s >= 0);
    CHECK(sigaction(SIGPIPE, NULL, &before) == 0);
    next = dup(s);
    close(next);
    nulls(s, argv[1]);
    arguments(s);
    addresses(s);
    ports();
    /* No signal's disposition was touched, and no descriptor is left. */
    CHECK(sigaction(SIGPIPE, NULL, &after) == 0);
    CHECK(before.sa_handler == after.sa_handler);
    then = dup(s);
    CHECK(then == next);
    close(then);
    close(s);
    puts("ok");
    return 0;
}
