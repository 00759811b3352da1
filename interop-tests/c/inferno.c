/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inferno PORT AUTHINFO OLD NEW: changes a secret at the keysrv on PORT of this host from OLD to NEW, and
 * back, with all that is refused in between.
 */
#include <kx.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

CONSTANT(KX_ERR_AUTHINFO == 15);
CONSTANT(KX_ERR_AUTH == 16);
CONSTANT(KX_ERR_REFUSED == 17);

/* An assignment of another type is an error under -Werror. */
static kx_inferno *(*const new_session)(void) = kx_inferno_new;
static void (*const free_session)(kx_inferno *) = kx_inferno_free;
static kx_status (*const set_server_name)(const kx_inferno *, const char *) =
    kx_inferno_set_server_name;
static kx_status (*const set_timeout)(const kx_inferno *, uint64_t) = kx_inferno_set_timeout_ms;
static kx_status (*const authenticate)(const kx_inferno *, int32_t, const char *) =
    kx_inferno_authenticate;
static const char *(*const text_of[2])(const kx_inferno *) = {
    kx_inferno_peer,
    kx_inferno_last_error,
};
static kx_status (*const exists)(const kx_inferno *) = kx_inferno_secret_exists;
static kx_status (*const check)(const kx_inferno *, const uint8_t *, size_t) =
    kx_inferno_check_secret;
static kx_status (*const change)(const kx_inferno *, const uint8_t *, size_t, const uint8_t *,
                                 size_t) = kx_inferno_change_secret;

static int dial(const char *port)
{
    struct sockaddr_in address;
    int connection = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(connection >= 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(connection, (struct sockaddr *)&address, sizeof address) == 0);
    return connection;
}

static const uint8_t *octets(const char *text)
{
    return (const uint8_t *)text;
}

static void change_secret(char **argv, const char *from, const char *to)
{
    kx_inferno *session = new_session();
    int connection = dial(argv[1]);

    CHECK(session != NULL);
    CHECK(set_timeout(session, 60000) == KX_OK);
    CHECK(set_server_name(session, "keysrv.rsa") == KX_OK);
    CHECK(exists(session) == KX_ERR_ARGUMENT);
    CHECK(strcmp(text_of[1](session), "not authenticated") == 0);
    if (authenticate(session, connection, argv[2]) != KX_OK) {
        fprintf(stderr, "%s\n", kx_inferno_last_error(session));
        exit(1);
    }
    CHECK(strcmp(text_of[0](session), "keysrv.rsa") == 0);
    CHECK(exists(session) == KX_OK);
    CHECK(check(session, octets(to), strlen(to)) == KX_ERR_REFUSED);
    CHECK(strcmp(text_of[1](session), "wrong secret") == 0);
    CHECK(check(session, octets(from), strlen(from)) == KX_OK);
    CHECK(text_of[1](session)[0] == '\0');
    CHECK(change(session, octets(from), strlen(from), octets("short"), 5) == KX_ERR_REFUSED);
    CHECK(change(session, octets(from), strlen(from), octets(to), strlen(to)) == KX_OK);
    free_session(session);
    /* The connection is still the caller's. */
    CHECK(close(connection) == 0);
}

int main(int argc, char **argv)
{
    int connection;
    kx_inferno *session;

    if (argc != 5) {
        fprintf(stderr, "usage: %s PORT AUTHINFO OLD NEW\n", argv[0]);
        return 2;
    }
    change_secret(argv, argv[3], argv[4]);
    change_secret(argv, argv[4], argv[3]);

    session = new_session();
    connection = dial(argv[1]);
    CHECK(set_server_name(session, "elsewhere") == KX_OK);
    CHECK(authenticate(session, connection, argv[2]) == KX_ERR_AUTH);
    CHECK(strcmp(text_of[1](session), "server is keysrv.rsa") == 0);
    CHECK(authenticate(session, connection, "/nonexistent") == KX_ERR_AUTHINFO);
    CHECK(authenticate(session, -1, argv[2]) == KX_ERR_ARGUMENT);
    CHECK(authenticate(NULL, connection, argv[2]) == KX_ERR_ARGUMENT);
    CHECK(check(session, NULL, 1) == KX_ERR_ARGUMENT);
    free_session(session);
    free_session(NULL);
    close(connection);
    puts("ok");
    return 0;
}
