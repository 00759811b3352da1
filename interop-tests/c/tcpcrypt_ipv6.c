/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connects over IPv6, asks the library about the connection, and prints what it says, a line for each question.
 *
 *     tcpcrypt_ipv6 CONTROL ADDRESS PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tcpcrypt/tcpcrypt.h>

#include "check.h"

static void print_text(int s, int option)
{
    char text[64];
    socklen_t len = sizeof text;

    if (tcpcrypt_getsockopt(s, IPPROTO_TCP, option, text, &len) == 0)
        printf("%d %.*s\n", option, (int)len, text);
    else
        printf("%d errno %d\n", option, errno);
}

int main(int argc, char **argv)
{
    struct sockaddr_in6 to;
    unsigned char id[64];
    char hex[2 * sizeof id + 1];
    char word[4];
    char *text;
    int one = 1, value = 0;
    socklen_t len;
    socklen_t i;
    uint16_t port;
    int s;

    CHECK(argc == 4);
    port = (uint16_t)atoi(argv[3]);
    tcpcrypt_setparam(TCPCRYPT_PARAM_CTLPATH, argv[1]);
    memset(&to, 0, sizeof to);
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(port);
    CHECK(inet_pton(AF_INET6, argv[2], &to.sin6_addr) == 1);

    s = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(s >= 0);
    /* Before there is a connection: a setting of the port that the library binds the socket to. */
    CHECK(tcpcrypt_setsockopt(s, IPPROTO_TCP, TCP_CRYPT_NOCACHE, &one, sizeof one) == 0);
    len = sizeof value;
    CHECK(tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_NOCACHE, &value, &len) == 0);
    CHECK(len == sizeof value && value == 1);
    CHECK(connect(s, (struct sockaddr *)&to, sizeof to) == 0);
    CHECK(write(s, "ping", 4) == 4);
    CHECK(read(s, word, sizeof word) == 4 && memcmp(word, "pong", 4) == 0);

    len = sizeof id;
    if (tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_SESSID, id, &len) != 0) {
        printf("errno %d\n", errno);
        return 0;
    }
    for (i = 0; i < len; i++)
        sprintf(hex + 2 * i, "%02X", id[i]);
    printf("%s\n", hex);
    text = tcpcrypt_getsessid(argv[2], port, NULL, 0);
    CHECK(text != NULL && strcmp(text, hex) == 0);
    len = sizeof value;
    CHECK(tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_ENABLE, &value, &len) == 0 && value == 1);
    print_text(s, TCP_CRYPT_ROLE);
    print_text(s, TCP_CRYPT_DIALECT);
    print_text(s, TCP_CRYPT_TEP);
    print_text(s, TCP_CRYPT_CIPHER);
    /* What cannot be set is refused, and the connection goes on. */
    CHECK(tcpcrypt_setsockopt(s, IPPROTO_TCP, TCP_CRYPT_ROLE, "B", 1) == -1 && errno == EINVAL);
    CHECK(write(s, "ping", 4) == 4);
    CHECK(read(s, word, sizeof word) == 4);
    return 0;
}
