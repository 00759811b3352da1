/* SPDX-License-Identifier: Apache-2.0 */
/*
 * misuse DEAD_PORT: constants, NULLs, and the ways in which a call fails without a server.
 */
#include <kx.h>

#include <signal.h>
#include <string.h>

#include "check.h"

/* Programs are built with these numbers in them. */
CONSTANT(KX_OK == 0);
CONSTANT(KX_ERR_ARGUMENT == 1);
CONSTANT(KX_ERR_CLIENT_PAIR == 2);
CONSTANT(KX_ERR_SERVER_CERTS == 3);
CONSTANT(KX_ERR_URL == 4);
CONSTANT(KX_ERR_CONNECT == 5);
CONSTANT(KX_ERR_TLS == 6);
CONSTANT(KX_ERR_UNTRUSTED == 7);
CONSTANT(KX_ERR_HTTP_STATUS == 8);
CONSTANT(KX_ERR_PROTOCOL == 9);
CONSTANT(KX_ERR_SHORT_BODY == 10);
CONSTANT(KX_ERR_TIMEOUT == 11);
CONSTANT(KX_ERR_TOO_LARGE == 12);
CONSTANT(KX_ERR_MEMORY == 13);
CONSTANT(KX_ERR_INTERNAL == 14);
CONSTANT(sizeof(kx_status) == sizeof(int32_t));

/* And with these types; an assignment of another type is an error under -Werror. */
static kx_client *(*const new_client)(void) = kx_client_new;
static void (*const free_client)(kx_client *) = kx_client_free;
static kx_status (*const set_file[3])(const kx_client *, const char *) = {
    kx_client_set_client_cert_file,
    kx_client_set_client_key_file,
    kx_client_set_server_cert_file,
};
static kx_status (*const set_pem[3])(const kx_client *, const uint8_t *, size_t) = {
    kx_client_set_client_cert_pem,
    kx_client_set_client_key_pem,
    kx_client_set_server_cert_pem,
};
static kx_status (*const set_limit[2])(const kx_client *, uint64_t) = {
    kx_client_set_timeout_ms,
    kx_client_set_connect_timeout_ms,
};
static kx_status (*const set_retry)(const kx_client *, uint64_t, uint64_t) = kx_client_set_retry_ms;
static kx_status (*const add_url)(const kx_client *, const char *) = kx_client_add_url;
static kx_status (*const clear_urls)(const kx_client *) = kx_client_clear_urls;
static kx_status (*const fetch)(const kx_client *, const char *, uint8_t **, size_t *) = kx_fetch;
static kx_status (*const fetch_any)(const kx_client *, uint8_t **, size_t *) = kx_fetch_any;
static void (*const free_key)(uint8_t *, size_t) = kx_free_key;
static const char *(*const last_error)(const kx_client *) = kx_last_error;
static int32_t (*const http_status)(const kx_client *) = kx_http_status;
static const char *(*const text_of)(int32_t) = kx_strerror;
static const char *(*const version)(void) = kx_version;

static void nulls(void)
{
    const uint8_t octet = 'x';
    uint8_t *key = NULL;
    size_t len = 0;
    kx_client *client = new_client();
    size_t i;

    CHECK(client != NULL);
    for (i = 0; i < 3; i++) {
        CHECK(set_file[i](NULL, "/x") == KX_ERR_ARGUMENT);
        CHECK(set_file[i](client, NULL) == KX_ERR_ARGUMENT);
        CHECK(last_error(client)[0] != '\0');
        CHECK(set_pem[i](NULL, &octet, 1) == KX_ERR_ARGUMENT);
        CHECK(set_pem[i](client, NULL, 1) == KX_ERR_ARGUMENT);
        CHECK(set_pem[i](client, &octet, (size_t)-1) == KX_ERR_ARGUMENT);
    }
    for (i = 0; i < 2; i++) {
        CHECK(set_limit[i](NULL, 1) == KX_ERR_ARGUMENT);
        CHECK(set_limit[i](client, UINT64_MAX) == KX_OK);
        CHECK(set_limit[i](client, 0) == KX_OK);
    }
    CHECK(set_retry(NULL, 1, 1) == KX_ERR_ARGUMENT);
    CHECK(add_url(NULL, "kxd://x/y") == KX_ERR_ARGUMENT);
    CHECK(add_url(client, NULL) == KX_ERR_ARGUMENT);
    CHECK(clear_urls(NULL) == KX_ERR_ARGUMENT);
    CHECK(fetch(NULL, "kxd://x/y", &key, &len) == KX_ERR_ARGUMENT);
    CHECK(fetch(client, NULL, &key, &len) == KX_ERR_ARGUMENT);
    CHECK(fetch(client, "kxd://x/y", NULL, &len) == KX_ERR_ARGUMENT);
    CHECK(fetch(client, "kxd://x/y", &key, NULL) == KX_ERR_ARGUMENT);
    CHECK(fetch_any(NULL, &key, &len) == KX_ERR_ARGUMENT);
    CHECK(fetch_any(client, &key, &len) == KX_ERR_ARGUMENT);
    CHECK(strcmp(last_error(client), "no URL has been added") == 0);
    CHECK(last_error(NULL)[0] == '\0');
    CHECK(http_status(NULL) == 0);
    free_key(NULL, 0);
    free_key(NULL, 7);
    free_client(NULL);
    free_client(client);
}

static void failures(const char *dead_port)
{
    uint8_t *key;
    size_t len = 7;
    char url[64];
    kx_client *client = new_client();

    /* Output arguments are emptied whatever was in them. */
    key = (uint8_t *)&len;
    CHECK(fetch(client, "kxd://localhost/k", &key, &len) == KX_ERR_CLIENT_PAIR);
    CHECK(key == NULL && len == 0);
    CHECK(strcmp(last_error(client), "Failed to load keys: open : no such file or directory") == 0);
    CHECK(set_file[0](client, "/does/not/exist") == KX_OK);
    CHECK(last_error(client)[0] == '\0');
    CHECK(fetch(client, "kxd://localhost/k", &key, &len) == KX_ERR_CLIENT_PAIR);
    CHECK(strstr(last_error(client), "open /does/not/exist: no such file") != NULL);

    CHECK(set_file[0](client, getenv("KX_TEST_CERT")) == KX_OK);
    CHECK(set_file[1](client, getenv("KX_TEST_KEY")) == KX_OK);
    CHECK(fetch(client, "kxd://localhost/k", &key, &len) == KX_ERR_SERVER_CERTS);
    CHECK(set_pem[2](client, (const uint8_t *)"no PEM", 6) == KX_OK);
    CHECK(fetch(client, "kxd://localhost/k", &key, &len) == KX_ERR_SERVER_CERTS);
    CHECK(strcmp(last_error(client), "Failed to load server certs: error appending certificates") == 0);

    CHECK(set_file[2](client, getenv("KX_TEST_CERT")) == KX_OK);
    CHECK(fetch(client, "ftp://localhost/k", &key, &len) == KX_ERR_URL);
    CHECK(fetch(client, "", &key, &len) == KX_ERR_URL);
    CHECK(fetch(client, "kxd://localhost:99999/k", &key, &len) == KX_ERR_URL);

    snprintf(url, sizeof url, "kxd://127.0.0.1:%s/k", dead_port);
    CHECK(fetch(client, url, &key, &len) == KX_ERR_CONNECT);
    CHECK(key == NULL && len == 0);
    CHECK(strstr(last_error(client), "connect: connection refused") != NULL);

    /* Two servers, two lines; the status is that of the one that is no matter of reaching it. */
    CHECK(add_url(client, url) == KX_OK);
    CHECK(add_url(client, "ftp://x/y") == KX_OK);
    CHECK(fetch_any(client, &key, &len) == KX_ERR_URL);
    CHECK(strchr(last_error(client), '\n') != NULL);
    CHECK(clear_urls(client) == KX_OK);
    CHECK(fetch_any(client, &key, &len) == KX_ERR_ARGUMENT);

    /* A retry ends with the time limit. */
    CHECK(set_retry(client, 3600000, 10) == KX_OK);
    CHECK(set_limit[0](client, 100) == KX_OK);
    CHECK(fetch(client, url, &key, &len) != KX_OK);
    free_client(client);
}

static void texts(void)
{
    int32_t code;

    for (code = -1; code < 20; code++) {
        CHECK(text_of(code) != NULL && text_of(code)[0] != '\0');
    }
    CHECK(strcmp(text_of(KX_OK), "success") == 0);
    CHECK(strcmp(text_of(1000), "unknown status") == 0);
    CHECK(version()[0] >= '0' && version()[0] <= '9');
}

int main(int argc, char **argv)
{
    struct sigaction before, after;

    CHECK(argc == 2);
    CHECK(sigaction(SIGPIPE, NULL, &before) == 0);
    nulls();
    failures(argv[1]);
    texts();
    /* No signal's disposition was touched. */
    CHECK(sigaction(SIGPIPE, NULL, &after) == 0);
    CHECK(before.sa_handler == after.sa_handler);
    puts("ok");
    return 0;
}
