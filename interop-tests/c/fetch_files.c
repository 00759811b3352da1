/* SPDX-License-Identifier: Apache-2.0 */
/* fetch_files CERT KEY SERVER_CERT URL: the key to stdout, as kxc does. */
#include <kx.h>

#include "check.h"

int main(int argc, char **argv)
{
    kx_client *client;
    uint8_t *key = NULL;
    size_t len = 0;
    kx_status status;

    if (argc != 5) {
        fprintf(stderr, "usage: %s CERT KEY SERVER_CERT URL\n", argv[0]);
        return 2;
    }
    client = kx_client_new();
    CHECK(client != NULL);
    CHECK(kx_client_set_client_cert_file(client, argv[1]) == KX_OK);
    CHECK(kx_client_set_client_key_file(client, argv[2]) == KX_OK);
    CHECK(kx_client_set_server_cert_file(client, argv[3]) == KX_OK);
    CHECK(kx_client_set_timeout_ms(client, 60000) == KX_OK);

    status = kx_fetch(client, argv[4], &key, &len);
    if (status != KX_OK) {
        fprintf(stderr, "%s\n", kx_last_error(client));
        CHECK(key == NULL && len == 0);
        kx_client_free(client);
        return 10 + (int)status;
    }
    CHECK(key != NULL);
    CHECK(kx_last_error(client)[0] == '\0');
    /* A key outlives its client. */
    kx_client_free(client);
    CHECK(fwrite(key, 1, len, stdout) == len);
    kx_free_key(key, len);
    return 0;
}
