/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smart_card SPEC: initializes the software device that SPEC names, and moves a key out of it and in again.
 */
#include <kx.h>

#include <string.h>

#include "check.h"

CONSTANT(KX_ERR_BUFFER == 18);
CONSTANT(KX_HSM_NONE == 0);
CONSTANT(KX_HSM_EMPTY == 1);
CONSTANT(KX_HSM_DKEK == 2);
CONSTANT(KX_HSM_XKEK == 3);
CONSTANT(KX_ERR_INTERRUPTED == 19);
CONSTANT(KX_HSM_RSA == 5);
CONSTANT(KX_HSM_AES == 15);
CONSTANT(sizeof(kx_hsm_domain) == 16);
CONSTANT(sizeof(kx_hsm_blob) == 12);

/* An assignment of another type is an error under -Werror. */
static kx_status (*const unwrap_key)(const kx_hsm *, uint8_t, const uint8_t *, size_t) = kx_hsm_unwrap;
static kx_status (*const wrap_key)(const kx_hsm *, uint8_t, uint8_t *, size_t *) = kx_hsm_wrap;

/* Sends a command whose answer is a status word alone. */
static unsigned status_word(kx_hsm *hsm, const uint8_t *command, size_t len)
{
    uint8_t answer[2];
    size_t size = sizeof answer;

    CHECK(kx_hsm_transmit(hsm, command, len, answer, &size) == KX_OK);
    CHECK(size == 2);
    return (unsigned)answer[0] << 8 | answer[1];
}

static int stop_at_once(void *context, uint32_t thousandths)
{
    *(uint32_t *)context = thousandths;
    return 1;
}

/* What needs no card: a key wrapped in software, and a share that nobody waits for. */
static void files(kx_hsm *hsm)
{
    static const uint8_t key[16] = { 'k', 'e', 'y' };
    uint8_t shares[64] = { 1 }, kek[32], blob[256], opened[16];
    size_t size = sizeof blob, len = sizeof opened;
    uint32_t seen = 4711;
    kx_hsm_blob info;

    shares[32] = 2;
    CHECK(kx_hsm_combine_shares(hsm, shares, 2, kek) == KX_OK && kek[0] == 3);
    CHECK(kx_hsm_combine_shares(hsm, shares, 0, kek) == KX_ERR_ARGUMENT);
    CHECK(kx_hsm_make_blob(hsm, kek, 1, key, sizeof key, NULL, 0, blob, &size) == KX_OK);
    CHECK(kx_hsm_inspect_blob(hsm, blob, size, &info) == KX_OK);
    CHECK(info.kind == KX_HSM_AES && memcmp(info.check_value, blob, 8) == 0);
    CHECK(kx_hsm_open_blob(hsm, kek, blob, size, opened, &len) == KX_OK);
    CHECK(len == sizeof key && memcmp(opened, key, len) == 0);
    CHECK(kx_hsm_open_blob(hsm, shares, blob, size, opened, &len) == KX_ERR_AUTH);
    CHECK(kx_hsm_open_blob(hsm, NULL, blob, size, opened, &len) == KX_ERR_ARGUMENT);
    CHECK(kx_hsm_set_progress(hsm, stop_at_once, &seen) == KX_OK);
    size = sizeof blob;
    CHECK(kx_hsm_seal_share(hsm, kek, key, 3, blob, &size) == KX_ERR_INTERRUPTED);
    CHECK(seen <= 1000);
    CHECK(kx_hsm_make_share(hsm, key, 3, blob, &size) == KX_ERR_INTERRUPTED);
    CHECK(kx_hsm_set_progress(hsm, NULL, NULL) == KX_OK);
    CHECK(kx_hsm_trust_root(hsm, key, sizeof key) == KX_ERR_PROTOCOL);
}

int main(int argc, char **argv)
{
    /* PIN 648219, three tries, a DKEK that the device makes. */
    static const uint8_t initialize[] = {
        0x80, 0x50, 0, 0, 0x1c, 0x80, 2, 0, 1, 0x81, 6, '6', '4', '8', '2', '1', '9',
        0x82, 8, 0x35, 0x37, 0x36, 0x32, 0x31, 0x38, 0x38, 0x30, 0x91, 1, 3, 0x92, 1, 0,
    };
    static const uint8_t generate[] = {
        0, 0x48, 5, 0xb2, 9, 0x91, 4, 0x10, 0x11, 0x18, 0x92, 0x92, 1, 0,
    };
    const uint8_t *pin = (const uint8_t *)"648219";
    uint8_t blob[4096];
    size_t size = sizeof blob;
    kx_hsm_domain state;
    kx_hsm *hsm = kx_hsm_new();

    CHECK(argc == 2 && hsm != NULL);
    CHECK(kx_hsm_login(hsm, pin, 6) == KX_ERR_ARGUMENT);
    CHECK(strcmp(kx_hsm_last_error(hsm), "no card is open") == 0);
    files(hsm);
    CHECK(kx_hsm_open(hsm, NULL) == KX_ERR_ARGUMENT);
    CHECK(kx_hsm_open(hsm, argv[1]) == KX_OK);
    CHECK(strcmp(kx_hsm_last_error(hsm), "") == 0);
    CHECK(status_word(hsm, initialize, sizeof initialize) == 0x9000);
    CHECK(kx_hsm_login(hsm, (const uint8_t *)"000000", 6) == KX_ERR_REFUSED);
    CHECK(strstr(kx_hsm_last_error(hsm), "2 tries left") != NULL);
    CHECK(kx_hsm_login(hsm, pin, 6) == KX_OK);

    CHECK(kx_hsm_domain_state(hsm, 0, NULL) == KX_ERR_ARGUMENT);
    CHECK(kx_hsm_domain_state(hsm, 0, &state) == KX_OK);
    CHECK(state.kind == KX_HSM_DKEK && state.missing == 0 && state.has_key == 1);

    CHECK(status_word(hsm, generate, sizeof generate) == 0x9000);
    size = 8;
    CHECK(wrap_key(hsm, 5, blob, &size) == KX_ERR_BUFFER);
    CHECK(size > 8 && size <= sizeof blob);
    CHECK(wrap_key(hsm, 5, blob, &size) == KX_OK);
    CHECK(memcmp(blob, state.check_value, 8) == 0);
    CHECK(unwrap_key(hsm, 6, blob, size) == KX_OK);
    blob[size - 1] ^= 1;
    CHECK(unwrap_key(hsm, 7, blob, size) == KX_ERR_REFUSED);
    CHECK(strstr(kx_hsm_last_error(hsm), "6A80") != NULL);
    CHECK(kx_hsm_delete_domain(hsm, 0) == KX_ERR_REFUSED);
    CHECK(kx_hsm_verify_file(hsm, blob, size) == KX_ERR_PROTOCOL);
    kx_hsm_free(hsm);
    kx_hsm_free(NULL);
    puts("ok");
    return 0;
}
