/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wiped CERT KEY SERVER_CERT URL: after kx_free_key() no piece of the key is left anywhere in the
 * memory of the process. Looks through all of it with /proc/self/maps and /proc/self/mem.
 */
#include <kx.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

/* A piece is found when so many octets stand together. */
#define PIECE 16
#define MASK 0x5a
#define STEP 65536

/* The key, changed so that this copy is not found. */
static uint8_t *masked;
static size_t masked_len;

static int is_piece(const uint8_t *octets, size_t at)
{
    size_t i;

    for (i = 0; i < PIECE; i++) {
        if (octets[i] != (masked[at + i] ^ MASK)) {
            return 0;
        }
    }
    return 1;
}

/* How many of four places of the key are found in these octets. */
static int pieces_in(const uint8_t *octets, size_t len)
{
    const size_t places[4] = { 0, masked_len / 3, masked_len / 2, masked_len - PIECE };
    int found = 0;
    size_t i, place;

    for (place = 0; place < 4; place++) {
        const uint8_t first = (uint8_t)(masked[places[place]] ^ MASK);

        for (i = 0; i + PIECE <= len; i++) {
            if (octets[i] == first && is_piece(octets + i, places[place])) {
                found++;
            }
        }
    }
    return found;
}

static int pieces_in_memory(void)
{
    /* Room for a step and the piece that may begin before it. */
    static uint8_t part[STEP + PIECE - 1];
    char line[512];
    int found = 0;
    int memory = open("/proc/self/mem", O_RDONLY);
    FILE *maps = fopen("/proc/self/maps", "r");

    CHECK(memory >= 0 && maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to, at;
        char mode[5];

        CHECK(sscanf(line, "%lx-%lx %4s", &from, &to, mode) == 3);
        if (mode[0] != 'r' || mode[1] != 'w') {
            continue;
        }
        for (at = from; at < to; at += STEP) {
            const size_t want = to - at < sizeof part ? to - at : sizeof part;
            ssize_t got;

            if ((unsigned long)part < at + want && at < (unsigned long)(part + sizeof part)) {
                continue;
            }
            got = pread(memory, part, want, (off_t)at);
            if (got > 0) {
                found += pieces_in(part, (size_t)got);
            }
        }
    }
    memset(part, 0, sizeof part);
    fclose(maps);
    close(memory);
    return found;
}

int main(int argc, char **argv)
{
    kx_client *client = kx_client_new();
    uint8_t *key = NULL;
    size_t len = 0, i;

    CHECK(argc == 5 && client != NULL);
    CHECK(kx_client_set_client_cert_file(client, argv[1]) == KX_OK);
    CHECK(kx_client_set_client_key_file(client, argv[2]) == KX_OK);
    CHECK(kx_client_set_server_cert_file(client, argv[3]) == KX_OK);
    CHECK(kx_fetch(client, argv[4], &key, &len) == KX_OK);
    CHECK(len >= 4 * PIECE);
    masked = (uint8_t *)malloc(len);
    CHECK(masked != NULL);
    for (i = 0; i < len; i++) {
        masked[i] = key[i] ^ MASK;
    }
    masked_len = len;
    /* The search finds the key while it is there: four places in one copy. */
    CHECK(pieces_in_memory() == 4);
    kx_free_key(key, len);
    CHECK(pieces_in_memory() == 0);
    kx_client_free(client);
    free(masked);
    puts("ok");
    return 0;
}
