/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch_threads CERT KEY SERVER_CERT KEY_EXPECTED DEAD_URL GOOD_URL REFUSED_URL
 *
 * One client, PEM texts from memory, several servers of which the first is dead, four threads at
 * a time. Each thread sees the error of its own calls only.
 */
#include <kx.h>

#include <pthread.h>
#include <string.h>

#include "check.h"

#define THREADS 4
#define ROUNDS 3

typedef struct {
    const kx_client *client;
    const char *expected;
    const char *dead;
    const char *refused;
    int number;
} job;

/* The whole file; not for keys of any worth, since the buffer is not wiped. */
static uint8_t *slurp(const char *path, size_t *len)
{
    const size_t room = 65536;
    FILE *file = fopen(path, "rb");
    uint8_t *text = (uint8_t *)malloc(room);

    CHECK(file != NULL && text != NULL);
    *len = fread(text, 1, room, file);
    CHECK(*len > 0 && *len < room);
    fclose(file);
    return text;
}

static void *work(void *argument)
{
    const job *mine = (const job *)argument;
    int round;

    for (round = 0; round < ROUNDS; round++) {
        uint8_t *key = NULL;
        size_t len = 0;

        CHECK(kx_fetch_any(mine->client, &key, &len) == KX_OK);
        CHECK(len == strlen(mine->expected));
        CHECK(memcmp(key, mine->expected, len) == 0);
        CHECK(kx_http_status(mine->client) == 0);
        kx_free_key(key, len);

        if (mine->number % 2 == 0) {
            CHECK(kx_fetch(mine->client, mine->dead, &key, &len) == KX_ERR_CONNECT);
            CHECK(strstr(kx_last_error(mine->client), "connection refused") != NULL);
            CHECK(kx_http_status(mine->client) == 0);
        } else {
            CHECK(kx_fetch(mine->client, mine->refused, &key, &len) == KX_ERR_HTTP_STATUS);
            CHECK(kx_http_status(mine->client) == 403);
            CHECK(strncmp(kx_last_error(mine->client), "HTTP error \"403 ", 16) == 0);
        }
        CHECK(key == NULL && len == 0);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    kx_client *client = kx_client_new();
    pthread_t threads[THREADS];
    job jobs[THREADS];
    uint8_t *text;
    size_t len;
    int i;

    CHECK(argc == 8 && client != NULL);
    text = slurp(argv[1], &len);
    CHECK(kx_client_set_client_cert_pem(client, text, len) == KX_OK);
    free(text);
    text = slurp(argv[2], &len);
    CHECK(kx_client_set_client_key_pem(client, text, len) == KX_OK);
    memset(text, 0, len);
    free(text);
    text = slurp(argv[3], &len);
    CHECK(kx_client_set_server_cert_pem(client, text, len) == KX_OK);
    free(text);
    CHECK(kx_client_set_timeout_ms(client, 60000) == KX_OK);
    CHECK(kx_client_set_connect_timeout_ms(client, 20000) == KX_OK);
    CHECK(kx_client_add_url(client, argv[5]) == KX_OK);
    CHECK(kx_client_add_url(client, argv[6]) == KX_OK);

    for (i = 0; i < THREADS; i++) {
        jobs[i].client = client;
        jobs[i].expected = argv[4];
        jobs[i].dead = argv[5];
        jobs[i].refused = argv[7];
        jobs[i].number = i;
        CHECK(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    /* The threads' errors were theirs. */
    CHECK(kx_last_error(client)[0] == '\0');
    kx_client_free(client);
    puts("ok");
    return 0;
}
