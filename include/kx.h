/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libkx: fetches keys from kxd servers; checks and changes secrets at Inferno's keysrv; manages key
 * domains of smart cards and moves keys between them.
 *
 * Made by cbindgen from libkx/libkx/src. Do not edit; see tests/header.rs there.
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
 *     kx_inferno *session = kx_inferno_new();
 *
 *     if (kx_inferno_authenticate(session, connected_socket, authinfo_file) == KX_OK
 *         && kx_inferno_check_secret(session, old, old_len) == KX_OK
 *         && kx_inferno_change_secret(session, old, old_len, new, new_len) == KX_OK)
 *         puts("changed");
 *     else
 *         fprintf(stderr, "%s\n", kx_inferno_last_error(session));
 *     kx_inferno_free(session);
 *
 *     kx_hsm *hsm = kx_hsm_new();
 *     uint8_t blob[4096];
 *     size_t size = sizeof blob;
 *
 *     if (kx_hsm_open(hsm, "pcsc:") != KX_OK || kx_hsm_login(hsm, pin, pin_len) != KX_OK
 *         || kx_hsm_wrap(hsm, 1, blob, &size) != KX_OK)
 *         fprintf(stderr, "%s\n", kx_hsm_last_error(hsm));
 *     kx_hsm_free(hsm);
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
  /**
   * The authinfo file cannot be read, or is none.
   */
  KX_ERR_AUTHINFO = 15,
  /**
   * Authentication failed: here, or the server does not want this key.
   */
  KX_ERR_AUTH = 16,
  /**
   * The server understood and refused: wrong secret, no such account, secret too short.
   */
  KX_ERR_REFUSED = 17,
  /**
   * The buffer is too small; how much is needed is told.
   */
  KX_ERR_BUFFER = 18,
  /**
   * The progress callback ended it.
   */
  KX_ERR_INTERRUPTED = 19,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kx_status kx_status;
#else
typedef int32_t kx_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a slot for a key domain holds.
 */
enum kx_hsm_domain_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * There is no slot of that number.
   */
  KX_HSM_NONE = 0,
  /**
   * A slot without a domain.
   */
  KX_HSM_EMPTY = 1,
  /**
   * A domain whose key comes from shares.
   */
  KX_HSM_DKEK = 2,
  /**
   * A domain whose key comes from an exchange.
   */
  KX_HSM_XKEK = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kx_hsm_domain_kind kx_hsm_domain_kind;
#else
typedef int32_t kx_hsm_domain_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Kind of a wrapped key.
 */
enum kx_hsm_key_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A private RSA key.
   */
  KX_HSM_RSA = 5,
  /**
   * A private RSA key with its primes; such blobs are read, not made.
   */
  KX_HSM_RSA_CRT = 6,
  /**
   * A private key on a curve.
   */
  KX_HSM_EC = 12,
  /**
   * An AES key.
   */
  KX_HSM_AES = 15,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kx_hsm_key_kind kx_hsm_key_kind;
#else
typedef int32_t kx_hsm_key_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * One client's settings: how to reach the servers and which of them to trust.
 *
 * Several threads may use one client at the same time. A fetch uses the settings as they are
 * when it begins.
 */
typedef struct kx_client kx_client;

/**
 * One card, opened or not.
 *
 * Several threads may use one at the same time; the card does one thing after the other.
 */
typedef struct kx_hsm kx_hsm;

/**
 * One authenticated connection to a keysrv, or the settings for one.
 *
 * Several threads may use one session at the same time; the server is asked one thing after the
 * other.
 */
typedef struct kx_inferno kx_inferno;

/**
 * The state of a slot.
 */
typedef struct {
  /**
   * What it holds.
   */
  kx_hsm_domain_kind kind;
  /**
   * Shares of the key; 0 if it comes from an exchange.
   */
  uint8_t shares;
  /**
   * Shares not yet imported.
   */
  uint8_t missing;
  /**
   * Whether the key is there: 1 or 0.
   */
  uint8_t has_key;
  /**
   * Check value of the key; zeros when it is not there.
   */
  uint8_t check_value[8];
} kx_hsm_domain;

/**
 * Told from time to time how much of a share's derivation is done, in thousandths, with the context that
 * was given. Anything but 0 ends it with KX_ERR_INTERRUPTED. Called in the thread that called; it must not
 * use the handle.
 */
typedef int32_t (*kx_hsm_progress)(void *context, uint32_t thousandths);

/**
 * What a key blob tells without its key.
 */
typedef struct {
  /**
   * Kind of the key in it.
   */
  kx_hsm_key_kind kind;
  /**
   * Check value of the key that it is wrapped under.
   */
  uint8_t check_value[8];
} kx_hsm_blob;

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

/**
 * Makes a session that is not authenticated. Free it with kx_inferno_free().
 *
 * Returns NULL when there is no memory.
 */
kx_inferno *kx_inferno_new(void);

/**
 * Frees a session and wipes its keys. NULL does nothing. The connection stays open: it is the
 * caller's.
 *
 * No other thread may be using the session.
 *
 * Rules:
 * `session` is NULL or came from kx_inferno_new() and was not freed.
 */
void kx_inferno_free(kx_inferno *session);

/**
 * Sets the owner that the server's key must have. NULL, the default, is any: then every user
 * whom the signer has certified can pose as the server.
 *
 * Rules:
 * `session` is NULL or a session; `name` is NULL or a C string. Both are not kept.
 */
kx_status kx_inferno_set_server_name(const kx_inferno *session, const char *name);

/**
 * Sets the time limit of a whole authentication, and of each later answer, in milliseconds.
 * The default is 60000; 0 is no limit.
 *
 * Rules:
 * `session` is NULL or a session.
 */
kx_status kx_inferno_set_timeout_ms(const kx_inferno *session, uint64_t milliseconds);

/**
 * Authenticates this side and the server to each other on a connected stream socket, with the
 * key, the certificate and the signer's key in an authinfo file (Inferno's keyring).
 *
 * The socket is made blocking and gets time limits. It must not be used for anything else until
 * the session is freed or authenticated on another one; then close it.
 *
 * Rules:
 * `session` is NULL or a session; `authinfo_file` is NULL or a C string, and not kept;
 * `connection` is an open descriptor.
 */
kx_status kx_inferno_authenticate(const kx_inferno *session,
                                  int32_t connection,
                                  const char *authinfo_file);

/**
 * The owner of the key with which the server has authenticated itself; the empty text before
 * that. Never NULL.
 *
 * The text belongs to the session. It stays until the session is authenticated again or freed.
 *
 * Rules:
 * `session` is NULL or a session.
 */
const char *kx_inferno_peer(const kx_inferno *session);

/**
 * Asks whether the account has a secret. KX_ERR_REFUSED says that it has none:
 * kx_inferno_last_error() is then `no existing secret` or `user not registered: NAME`.
 *
 * Rules:
 * `session` is NULL or a session.
 */
kx_status kx_inferno_secret_exists(const kx_inferno *session);

/**
 * Asks whether the account's secret is this one: `len` octets at `secret`. KX_ERR_REFUSED with
 * `wrong secret` says that it is not. Servers may answer late after some wrong ones.
 *
 * Rules:
 * `session` is NULL or a session; `secret` is NULL or points to `len` octets.
 */
kx_status kx_inferno_check_secret(const kx_inferno *session, const uint8_t *secret, size_t len);

/**
 * Replaces the account's secret, `old_len` octets at `old_secret`, by the `new_len` octets at
 * `new_secret`, at least 8. The server checks the old one.
 *
 * Rules:
 * `session` is NULL or a session; each secret is NULL or points to as many octets.
 */
kx_status kx_inferno_change_secret(const kx_inferno *session,
                                   const uint8_t *old_secret,
                                   size_t old_len,
                                   const uint8_t *new_secret,
                                   size_t new_len);

/**
 * What went wrong in this thread's last call with this session, in the server's words where it is
 * the server that refuses; the empty text when nothing did. Never NULL.
 *
 * The text belongs to the library. It stays until this thread's next call that returns a
 * kx_status, or until the thread ends.
 *
 * Rules:
 * `session` is NULL or a session.
 */
const char *kx_inferno_last_error(const kx_inferno *session);

/**
 * Makes a handle without a card. Free it with kx_hsm_free().
 *
 * Returns NULL when there is no memory.
 */
kx_hsm *kx_hsm_new(void);

/**
 * Frees a handle and closes its card. NULL does nothing.
 *
 * No other thread may be using the handle.
 *
 * Rules:
 * `hsm` is NULL or came from kx_hsm_new() and was not freed.
 */
void kx_hsm_free(kx_hsm *hsm);

/**
 * Opens a card and selects its applet: `pcsc:READER`, `vcard:DIRECTORY` (the software device, in this
 * process) or `vpcd:HOST:PORT`. A card that was open is closed.
 *
 * Rules:
 * `hsm` is NULL or a handle; `spec` is NULL or a C string. Both are not kept.
 */
kx_status kx_hsm_open(const kx_hsm *hsm,
                      const char *spec);

/**
 * Sends a command APDU and gives the answer, status word included. `*len` is the room at `answer`, and
 * afterwards the length of the answer; with KX_ERR_BUFFER the card has done the command.
 *
 * Rules:
 * `hsm` is NULL or a handle; `command` is NULL or points to `command_len` octets; `len` is NULL or can
 * be written; `answer` is NULL or has room for `*len` octets.
 */
kx_status kx_hsm_transmit(const kx_hsm *hsm,
                          const uint8_t *command,
                          size_t command_len,
                          uint8_t *answer,
                          size_t *len);

/**
 * Verifies the user PIN, `len` octets. KX_ERR_REFUSED for a wrong one; the text tells how many tries
 * are left.
 *
 * Rules:
 * `hsm` is NULL or a handle; `pin` is NULL or points to `len` octets.
 */
kx_status kx_hsm_login(const kx_hsm *hsm,
                       const uint8_t *pin,
                       size_t len);

/**
 * Tells what slot `domain` holds.
 *
 * Rules:
 * `hsm` is NULL or a handle; `state` is NULL or can be written.
 */
kx_status kx_hsm_domain_state(const kx_hsm *hsm, uint8_t domain, kx_hsm_domain *state);

/**
 * Makes the empty slot `domain` one whose key has `shares` shares.
 *
 * Rules:
 * `hsm` is NULL or a handle.
 */
kx_status kx_hsm_create_dkek_domain(const kx_hsm *hsm, uint8_t domain, uint8_t shares);

/**
 * Makes the empty slot `domain` one of the group whose membership file for this card is given: `len`
 * octets at `membership`.
 *
 * Rules:
 * `hsm` is NULL or a handle; `membership` is NULL or points to `len` octets.
 */
kx_status kx_hsm_create_xkek_domain(const kx_hsm *hsm,
                                    uint8_t domain,
                                    const uint8_t *membership,
                                    size_t len);

/**
 * Deletes the domain of slot `domain`, which must hold no keys.
 *
 * Rules:
 * `hsm` is NULL or a handle.
 */
kx_status kx_hsm_delete_domain(const kx_hsm *hsm, uint8_t domain);

/**
 * Deletes the key of slot `domain`, under which others are wrapped. Keys in the domain stay.
 *
 * Rules:
 * `hsm` is NULL or a handle.
 */
kx_status kx_hsm_clear_domain(const kx_hsm *hsm, uint8_t domain);

/**
 * Opens a share file, `len` octets at `file`, with a password and imports the share in slot `domain`.
 * Takes seconds. KX_ERR_AUTH for a wrong password.
 *
 * Rules:
 * `hsm` is NULL or a handle; `file` is NULL or points to `len` octets, `password` to `password_len`.
 */
kx_status kx_hsm_import_share(const kx_hsm *hsm,
                              uint8_t domain,
                              const uint8_t *file,
                              size_t len,
                              const uint8_t *password,
                              size_t password_len);

/**
 * Makes a share file of a new random share under a password. Takes seconds. 64 octets; `*len` is the
 * room at `file`, and afterwards the length.
 *
 * Rules:
 * `hsm` is NULL or a handle, with or without a card; `password` is NULL or points to `password_len`
 * octets; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
 */
kx_status kx_hsm_make_share(const kx_hsm *hsm,
                            const uint8_t *password,
                            size_t password_len,
                            uint8_t *file,
                            size_t *len);

/**
 * Agrees with a peer on the key of an XKEK domain: `exchange_key` is this card's exchange key, the
 * `len` octets at `peer` are the peer's exchange key with its chain. The card checks the chain.
 *
 * Rules:
 * `hsm` is NULL or a handle; `peer` is NULL or points to `len` octets.
 */
kx_status kx_hsm_derive(const kx_hsm *hsm, uint8_t exchange_key, const uint8_t *peer, size_t len);

/**
 * Wraps key `key` under the key of its domain. `*len` is the room at `blob`, and afterwards the length
 * of the blob; 4096 octets are enough.
 *
 * Rules:
 * `hsm` is NULL or a handle; `len` is NULL or can be written; `blob` is NULL or has room for `*len`
 * octets.
 */
kx_status kx_hsm_wrap(const kx_hsm *hsm,
                      uint8_t key,
                      uint8_t *blob,
                      size_t *len);

/**
 * Unwraps a key, `len` octets at `blob`, as key `key`, which must be free. The card finds the domain.
 *
 * Rules:
 * `hsm` is NULL or a handle; `blob` is NULL or points to `len` octets.
 */
kx_status kx_hsm_unwrap(const kx_hsm *hsm,
                        uint8_t key,
                        const uint8_t *blob,
                        size_t len);

/**
 * Checks a membership file or a file of an attested key, `len` octets at `file`: chain to the vendor's
 * root or one of kx_hsm_trust_root(), attestation, signatures. KX_ERR_UNTRUSTED if anything is wrong.
 *
 * Rules:
 * `hsm` is NULL or a handle, with or without a card; `file` is NULL or points to `len` octets.
 */
kx_status kx_hsm_verify_file(const kx_hsm *hsm,
                             const uint8_t *file,
                             size_t len);

/**
 * What went wrong in this thread's last call with this handle; the empty text when nothing did. Never
 * NULL.
 *
 * The text belongs to the library. It stays until this thread's next call that returns a
 * kx_status, or until the thread ends.
 *
 * Rules:
 * `hsm` is NULL or a handle.
 */
const char *kx_hsm_last_error(const kx_hsm *hsm);

/**
 * Has `progress` told how far the derivation of a share's key is, by all later calls with this handle that
 * take seconds. NULL: nobody is told any more.
 *
 * Rules:
 * `hsm` is NULL or a handle; `progress` is NULL or a function that can be called with `context` by every
 * thread that uses the handle, until another is given here.
 */
kx_status kx_hsm_set_progress(const kx_hsm *hsm,
                              kx_hsm_progress progress,
                              void *context);

/**
 * Trusts another root beside the vendor's in kx_hsm_verify_file(): a card verifiable certificate that signs
 * itself, `len` octets at `root`. For test devices and software.
 *
 * Rules:
 * `hsm` is NULL or a handle; `root` is NULL or points to `len` octets.
 */
kx_status kx_hsm_trust_root(const kx_hsm *hsm,
                            const uint8_t *root,
                            size_t len);

/**
 * Opens a share file, `len` octets at `file`, with a password: the 32 octets of the share, which the caller
 * wipes. Takes seconds. KX_ERR_AUTH for a wrong password.
 *
 * Rules:
 * `hsm` is NULL or a handle, with or without a card; `file` is NULL or points to `len` octets, `password` to
 * `password_len`; `share` is NULL or has room for 32 octets.
 */
kx_status kx_hsm_open_share(const kx_hsm *hsm,
                            const uint8_t *file,
                            size_t len,
                            const uint8_t *password,
                            size_t password_len,
                            uint8_t *share);

/**
 * Makes a share file of the 32 octets at `share` under a password. Takes seconds. 64 octets; `*len` is the
 * room at `file`, and afterwards the length.
 *
 * Rules:
 * `hsm` is NULL or a handle, with or without a card; `share` is NULL or points to 32 octets, `password` to
 * `password_len`; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
 */
kx_status kx_hsm_seal_share(const kx_hsm *hsm,
                            const uint8_t *share,
                            const uint8_t *password,
                            size_t password_len,
                            uint8_t *file,
                            size_t *len);

/**
 * Puts `count` shares of 32 octets each, one after another at `shares`, together to the 32 octets of the
 * key-encryption key, which the caller wipes. The order does not matter; KX_ERR_ARGUMENT if one is there twice.
 *
 * Rules:
 * `hsm` is NULL or a handle, with or without a card; `shares` is NULL or points to 32 times `count` octets;
 * `key` is NULL or has room for 32 octets.
 */
kx_status kx_hsm_combine_shares(const kx_hsm *hsm,
                                const uint8_t *shares,
                                size_t count,
                                uint8_t *key);

/**
 * Tells what a key blob, `len` octets at `blob`, holds, as far as that goes without its key.
 *
 * Rules:
 * `hsm` is NULL or a handle, with or without a card; `blob` is NULL or points to `len` octets; `info` is NULL
 * or can be written.
 */
kx_status kx_hsm_inspect_blob(const kx_hsm *hsm,
                              const uint8_t *blob,
                              size_t len,
                              kx_hsm_blob *info);

/**
 * Opens a key blob with the key-encryption key, 32 octets at `kek`: a key pair comes as DER of PKCS#8, an
 * AES key as its octets. `*key_len` is the room at `key`, and afterwards the length; the caller wipes it.
 * KX_ERR_AUTH if it was wrapped under another key or changed.
 *
 * Rules:
 * `hsm` is NULL or a handle, with or without a card; `kek` is NULL or points to 32 octets, `blob` to `len`;
 * `key_len` is NULL or can be written; `key` is NULL or has room for `*key_len` octets.
 */
kx_status kx_hsm_open_blob(const kx_hsm *hsm,
                           const uint8_t *kek,
                           const uint8_t *blob,
                           size_t len,
                           uint8_t *key,
                           size_t *key_len);

/**
 * Wraps a key under the key-encryption key, 32 octets at `kek`, for a card of that domain: with `is_aes` the
 * octets of an AES key, else a key pair as DER of PKCS#8. `algorithms` are the numbers of those that the card
 * shall allow; none of them: all. `*len` is the room at `blob`, and afterwards the length.
 *
 * Rules:
 * `hsm` is NULL or a handle, with or without a card; `kek` is NULL or points to 32 octets, `key` to `key_len`,
 * `algorithms` to `algorithms_len` octets, and may be NULL if that is 0; `len` is NULL or can be written;
 * `blob` is NULL or has room for `*len` octets.
 */
kx_status kx_hsm_make_blob(const kx_hsm *hsm,
                           const uint8_t *kek,
                           int32_t is_aes,
                           const uint8_t *key,
                           size_t key_len,
                           const uint8_t *algorithms,
                           size_t algorithms_len,
                           uint8_t *blob,
                           size_t *len);

/**
 * Writes the certificate of the device and of its issuer, one after another, for who is to make it a member
 * of a group. `*len` is the room at `file`, and afterwards the length; 4096 octets are enough.
 *
 * Rules:
 * `hsm` is NULL or a handle; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
 */
kx_status kx_hsm_export_device(const kx_hsm *hsm,
                               uint8_t *file,
                               size_t *len);

/**
 * Makes a group signer on brainpoolP256r1 as key `key`, which must be free, and writes its file. `*len` is the
 * room at `file`, and afterwards the length; 4096 octets are enough. With KX_ERR_BUFFER the key is made;
 * kx_hsm_export_key() writes the file again.
 *
 * Rules:
 * `hsm` is NULL or a handle; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
 */
kx_status kx_hsm_create_group_signer(const kx_hsm *hsm,
                                     uint8_t key,
                                     uint8_t *file,
                                     size_t *len);

/**
 * Makes an exchange key in the XKEK domain of slot `domain` as key `key`, which must be free, and writes the
 * file for the peers' kx_hsm_derive(). `*len` and KX_ERR_BUFFER are as for kx_hsm_create_group_signer().
 *
 * Rules:
 * `hsm` is NULL or a handle; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
 */
kx_status kx_hsm_create_exchange_key(const kx_hsm *hsm,
                                     uint8_t domain,
                                     uint8_t key,
                                     uint8_t *file,
                                     size_t *len);

/**
 * Writes the file of group signer or exchange key `key` once more. `*len` is the room at `file`, and
 * afterwards the length.
 *
 * Rules:
 * `hsm` is NULL or a handle; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
 */
kx_status kx_hsm_export_key(const kx_hsm *hsm,
                            uint8_t key,
                            uint8_t *file,
                            size_t *len);

/**
 * Signs with group signer `key` of this card that a device is a member, and writes the membership file for
 * its kx_hsm_create_xkek_domain(): `device_len` octets at `device` are that device's certificates
 * (kx_hsm_export_device()). They must lead to the vendor's root or one of kx_hsm_trust_root(), or it is
 * KX_ERR_UNTRUSTED and nothing is signed. `*len` is the room at `file`, and afterwards the length.
 *
 * Rules:
 * `hsm` is NULL or a handle; `device` is NULL or points to `device_len` octets; `len` is NULL or can be
 * written; `file` is NULL or has room for `*len` octets.
 */
kx_status kx_hsm_sign_membership(const kx_hsm *hsm,
                                 uint8_t key,
                                 const uint8_t *device,
                                 size_t device_len,
                                 uint8_t *file,
                                 size_t *len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KX_H */
