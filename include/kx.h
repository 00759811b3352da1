/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libkx: fetches keys from kxd servers.
 *
 * Made by cbindgen from libkx/libkx/src/lib.rs. Do not edit; see tests/header.rs there.
 *
 *     kx_client *client = kx_client_new();
 *     uint8_t *key;
 *     size_t len;
 *
 *     kx_client_set_client_cert_file(client, "/etc/kxc/cert.pem");
 *     kx_client_set_client_key_file(client, "/etc/kxc/key.pem");
 *     kx_client_set_server_cert_file(client, "/etc/kxc/server.pem");
 *     if (kx_fetch(client, "kxd://server/host/disk", &key, &len) == KX_OK) {
 *         use(key, len);
 *         kx_free_key(key, len);
 *     } else {
 *         fprintf(stderr, "%s\n", kx_last_error(client));
 *     }
 *     kx_client_free(client);
 *
 * Pointers given to the library are used during the call only; what must be kept is copied.
 * NULL is answered with KX_ERR_ARGUMENT, or ignored by the functions that free.
 * All functions may be called by several threads at the same time, with the same client too.
 * The library prints nothing, ends nothing, changes no signal. errno has no meaning after a call.
 * Under a time limit the look-up of a host name runs in a thread of the library's own, which may
 * go on for some seconds after the limit: do not dlclose() the library right then.
 */


#ifndef KX_H
#define KX_H

#include <stddef.h>
#include <stdint.h>

/**
 * What a call answers. New codes may be added; existing ones keep their number.
 */
enum kx_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Success.
   */
  KX_OK = 0,
  /**
   * An argument is NULL, too long or otherwise impossible.
   */
  KX_ERR_ARGUMENT = 1,
  /**
   * The client's certificate or key cannot be loaded, or they do not belong together.
   */
  KX_ERR_CLIENT_PAIR = 2,
  /**
   * The server certificates cannot be loaded.
   */
  KX_ERR_SERVER_CERTS = 3,
  /**
   * The URL cannot be used.
   */
  KX_ERR_URL = 4,
  /**
   * No connection: unknown name, nobody listens, no route, the connection broke.
   */
  KX_ERR_CONNECT = 5,
  /**
   * The TLS handshake failed; mostly the server does not want this client.
   */
  KX_ERR_TLS = 6,
  /**
   * The server is not one of those in the server certificates. Nothing was sent to it.
   */
  KX_ERR_UNTRUSTED = 7,
  /**
   * The server answered with another status than 200; see kx_http_status().
   */
  KX_ERR_HTTP_STATUS = 8,
  /**
   * The server's answer cannot be understood, or it redirects more than ten times.
   */
  KX_ERR_PROTOCOL = 9,
  /**
   * The answer ended before it was complete.
   */
  KX_ERR_SHORT_BODY = 10,
  /**
   * A time limit passed.
   */
  KX_ERR_TIMEOUT = 11,
  /**
   * The answer is longer than 64 MiB.
   */
  KX_ERR_TOO_LARGE = 12,
  /**
   * No memory for the key.
   */
  KX_ERR_MEMORY = 13,
  /**
   * A fault of the library itself.
   */
  KX_ERR_INTERNAL = 14,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kx_status kx_status;
#else
typedef int32_t kx_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * One client's settings: how to reach the servers and which of them to trust.
 *
 * Several threads may use one client at the same time. A fetch uses the settings as they are
 * when it begins.
 */
typedef struct kx_client kx_client;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a client with nothing set. Free it with kx_client_free().
 *
 * Returns NULL when there is no memory.
 */
kx_client *kx_client_new(void);

/**
 * Frees a client and wipes what it holds of PEM texts. NULL does nothing.
 *
 * No other thread may be using the client. Keys that it fetched stay valid.
 *
 * Rules:
 * `client` is NULL or came from kx_client_new() and was not freed.
 */
void kx_client_free(kx_client *client);

/**
 * Sets the file with the client's certificate in PEM form. It is read at each fetch.
 *
 * Rules:
 * `client` is NULL or a client; `path` is NULL or a C string. Both are not kept.
 */
kx_status kx_client_set_client_cert_file(const kx_client *client, const char *path);

/**
 * Sets the file with the private key of the client's certificate in PEM form. It is read at
 * each fetch.
 *
 * Rules:
 * `client` is NULL or a client; `path` is NULL or a C string. Both are not kept.
 */
kx_status kx_client_set_client_key_file(const kx_client *client, const char *path);

/**
 * Sets the file with the certificates that a server may have, or their authorities, in PEM
 * form. It is read at each fetch.
 *
 * Rules:
 * `client` is NULL or a client; `path` is NULL or a C string. Both are not kept.
 */
kx_status kx_client_set_server_cert_file(const kx_client *client, const char *path);

/**
 * Sets the client's certificate: `len` octets of PEM text at `pem`, which are copied.
 *
 * Rules:
 * `client` is NULL or a client; `pem` is NULL or points to `len` octets.
 */
kx_status kx_client_set_client_cert_pem(const kx_client *client, const uint8_t *pem, size_t len);

/**
 * Sets the client's private key: `len` octets of PEM text at `pem`, which are copied.
 * The copy is wiped when it is replaced and by kx_client_free().
 *
 * Rules:
 * `client` is NULL or a client; `pem` is NULL or points to `len` octets.
 */
kx_status kx_client_set_client_key_pem(const kx_client *client, const uint8_t *pem, size_t len);

/**
 * Sets the certificates that a server may have: `len` octets of PEM text at `pem`, which are
 * copied.
 *
 * Rules:
 * `client` is NULL or a client; `pem` is NULL or points to `len` octets.
 */
kx_status kx_client_set_server_cert_pem(const kx_client *client, const uint8_t *pem, size_t len);

/**
 * Sets the time limit of a whole fetch, all servers and all tries together, in milliseconds.
 * 0, the default, is no limit.
 *
 * Rules:
 * `client` is NULL or a client.
 */
kx_status kx_client_set_timeout_ms(const kx_client *client, uint64_t milliseconds);

/**
 * Sets the time limit for reaching one server, from the look-up of its name to the end of
 * the TLS handshake, in milliseconds. 0 is no limit.
 *
 * Where it is not set there is none, except with several servers or with retries: then it is
 * 10 seconds.
 *
 * Rules:
 * `client` is NULL or a client.
 */
kx_status kx_client_set_connect_timeout_ms(const kx_client *client, uint64_t milliseconds);

/**
 * Sets for how long to go on trying while no server can be reached, and the wait before the
 * second try, both in milliseconds.
 *
 * The wait doubles with each try, up to ten seconds. `retry` 0, the default, is one try;
 * `first_wait` 0 is one second.
 *
 * Rules:
 * `client` is NULL or a client.
 */
kx_status kx_client_set_retry_ms(const kx_client *client, uint64_t retry, uint64_t first_wait);

/**
 * Adds a server for kx_fetch_any(): the whole URL of the key there, `kxd://HOST/PATH`. The
 * servers are asked in the order in which they were added.
 *
 * Whether the URL is right is seen at the fetch.
 *
 * Rules:
 * `client` is NULL or a client; `url` is NULL or a C string, which is copied.
 */
kx_status kx_client_add_url(const kx_client *client, const char *url);

/**
 * Forgets all servers added with kx_client_add_url().
 *
 * Rules:
 * `client` is NULL or a client.
 */
kx_status kx_client_clear_urls(const kx_client *client);

/**
 * Fetches the key behind `url`. The call returns when the key is there, when it has failed,
 * or when a time limit passes; without a limit it may wait for ever.
 *
 * On success `*key` points to `*len` octets, not ended by a NUL, in memory that belongs to
 * the library: give it back with kx_free_key().
 * A key may be empty; `*key` is not NULL then either. On failure `*key` is NULL and `*len` is 0.
 *
 * Rules:
 * `client` is NULL or a client; `url` is NULL or a C string; `key` and `len` are NULL or can
 * be written to.
 */
kx_status kx_fetch(const kx_client *client, const char *url, uint8_t **key, size_t *len);

/**
 * Fetches a key from the first of the servers added with kx_client_add_url() that gives it.
 *
 * A server that answers, whatever it is, or that is not trusted, is asked once. One that
 * cannot be reached is asked again as kx_client_set_retry_ms() says.
 * On failure kx_last_error() has one line for each server that was tried, in order, and the
 * status is that of the first server that did answer.
 *
 * Rules:
 * `client` is NULL or a client; `key` and `len` are NULL or can be written to.
 */
kx_status kx_fetch_any(const kx_client *client, uint8_t **key, size_t *len);

/**
 * Wipes a key and frees its memory. NULL does nothing.
 *
 * `len` should be what the fetch gave; the library knows the length itself and wipes all of
 * the key in any case.
 *
 * Rules:
 * `key` is NULL or came from a fetch and was not given back yet.
 */
void kx_free_key(uint8_t *key, size_t len);

/**
 * What went wrong in this thread's last call with this client, as kxc prints it behind the
 * time stamp; the empty text when nothing did. Never NULL.
 *
 * The text belongs to the library. It stays until this thread's next call that returns a
 * kx_status, or until the thread ends. A text may end with a line feed that came from the
 * server.
 *
 * Rules:
 * `client` is NULL or a client.
 */
const char *kx_last_error(const kx_client *client);

/**
 * The HTTP status with which the server refused in this thread's last call with this client,
 * like 403; 0 when the call did not end with KX_ERR_HTTP_STATUS.
 *
 * Rules:
 * `client` is NULL or a client.
 */
int32_t kx_http_status(const kx_client *client);

/**
 * A short English text for a kx_status; for other numbers too. Never NULL, never to be freed.
 */
const char *kx_strerror(int32_t status);

/**
 * The library's version, like "0.1.0". Never to be freed.
 */
const char *kx_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KX_H */
