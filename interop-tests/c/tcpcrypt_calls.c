/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcpcrypt_calls CONTROL: prints what calls give, for a daemon that answers as the test has it. Only
 * calls that the original survives: with either library the output is the same.
 */
#include <tcpcrypt/tcpcrypt.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static void get(int s, const char *what, int optname, socklen_t room)
{
    unsigned char value[2048];
    socklen_t len = room;
    int result;
    size_t i;

    memset(value, 0xa5, sizeof value);
    errno = 0;
    result = tcpcrypt_getsockopt(s, IPPROTO_TCP, optname, value, &len);
    printf("%s: get %d room %u: %d", what, optname, (unsigned)room, result);
    if (result == -1)
        printf(" errno %d", errno);
    printf(" len %u ", (unsigned)len);
    /* With the octets behind the value, which stay as they are. */
    for (i = 0; i < len + 4u && i < 120; i++)
        printf("%02x", value[i]);
    putchar('\n');
}

static void set(int s, const char *what, int optname, const void *value, socklen_t len)
{
    int result;

    errno = 0;
    result = tcpcrypt_setsockopt(s, IPPROTO_TCP, optname, value, len);
    printf("%s: set %d len %u: %d", what, optname, (unsigned)len, result);
    if (result == -1)
        printf(" errno %d", errno);
    putchar('\n');
}

static void session(const char *remote, uint16_t remote_port, const char *local, uint16_t local_port)
{
    char remote_ip[32], local_ip[32];
    const char *id;

    snprintf(remote_ip, sizeof remote_ip, "%s", remote);
    snprintf(local_ip, sizeof local_ip, "%s", local);
    id = tcpcrypt_getsessid(remote_ip, remote_port, local_ip, local_port);
    printf("getsessid %s %u: %s\n", remote, (unsigned)remote_port, id ? id : "NULL");
}

static void name_of(int s, const char *what)
{
    struct sockaddr_in name;
    socklen_t len = sizeof name;

    CHECK(getsockname(s, (struct sockaddr *)&name, &len) == 0);
    printf("%s: bound to %s, %s port\n", what, inet_ntoa(name.sin_addr), name.sin_port ? "a" : "no");
}

/* A socket connected to a listener of ours, by IPv4 or by a mapped address. */
static int connected(int family)
{
    struct sockaddr_in here;
    struct sockaddr_in6 mapped;
    socklen_t len = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int s = socket(family, SOCK_STREAM, 0);

    CHECK(listener >= 0 && s >= 0);
    memset(&here, 0, sizeof here);
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listener, (struct sockaddr *)&here, sizeof here) == 0);
    CHECK(listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&here, &len) == 0);
    if (family == AF_INET) {
        CHECK(connect(s, (struct sockaddr *)&here, sizeof here) == 0);
    } else {
        memset(&mapped, 0, sizeof mapped);
        mapped.sin6_family = AF_INET6;
        mapped.sin6_port = here.sin_port;
        CHECK(inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr) == 1);
        CHECK(connect(s, (struct sockaddr *)&mapped, sizeof mapped) == 0);
    }
    return s;
}

int main(int argc, char **argv)
{
    static const unsigned char eight[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    static unsigned char longest[1200];
    int zero = 0, one = 1;
    int s = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(argc == 2 && s >= 0);
    printf("before\n");
    tcpcrypt_setparam(7, &one);
    tcpcrypt_setparam(TCPCRYPT_PARAM_CTLPATH, argv[1]);
    memset(argv[1], 'x', strlen(argv[1])); /* It was copied. */

    name_of(s, "fresh");
    get(s, "fresh", TCP_CRYPT_ENABLE, 4);
    name_of(s, "fresh");
    get(s, "fresh", TCP_CRYPT_ENABLE, 2);
    get(s, "fresh", TCP_CRYPT_ENABLE, 0);
    get(s, "fresh", TCP_CRYPT_ENABLE, 1200);
    get(s, "fresh", TCP_CRYPT_ENABLE, 1201);
    set(s, "fresh", TCP_CRYPT_ENABLE, &zero, sizeof zero);
    set(s, "fresh", TCP_CRYPT_APP_SUPPORT, &one, sizeof one);
    set(s, "fresh", TCP_CRYPT_CMODE, &one, 1);
    set(s, "fresh", TCP_CRYPT_NOCACHE, eight, sizeof eight);
    set(s, "fresh", TCP_CRYPT_RESET, NULL, 0);
    set(s, "fresh", TCP_CRYPT_SESSID, longest, sizeof longest);
    get(s, "fresh", TCP_CRYPT_RSA_KEY, 8);
    get(s, "fresh", 999, 8);

    s = connected(AF_INET);
    get(s, "connected", TCP_CRYPT_ENABLE, 4);
    get(s, "connected", TCP_CRYPT_SESSID, 64);
    get(s, "connected", TCP_CRYPT_SESSID, TCPCRYPT_SID_MAXLEN);
    get(s, "connected", TCP_CRYPT_SESSID, 10);
    get(s, "connected", TCP_CRYPT_APP_SUPPORT, 64);
    get(s, "connected", TCP_CRYPT_NETSTAT, 1200);
    get(s, "connected", TCP_CRYPT_NETSTAT, 2048);
    get(s, "connected", TCP_CRYPT_NETSTAT, 49);

    s = connected(AF_INET6);
    get(s, "mapped", TCP_CRYPT_SESSID, 64);
    set(s, "mapped", TCP_CRYPT_ENABLE, &zero, sizeof zero);

    session("10.77.0.2", 8080, "10.77.0.1", 34000);
    session("10.77.0.2", 8081, "10.77.0.1", 34001);
    session("10.77.0.2", 8082, "10.77.0.1", 34001);
    session("10.77.0.3", 8080, "10.77.0.1", 34000);
    session("10.77.2", 8081, "", 0);
    session("0x0a.0115.0.2", 8080, "", 0);
    session("host.example", 8080, "10.77.0.1", 34000);
    session("", 8080, "", 0);
    return 0;
}
