/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libtcpcrypt: asks tcpcryptd about the encryption of TCP connections.
 *
 * Names, numbers and prototypes are those of the original; programs built with its header run with
 * this library and the other way round. tcpcrypt(3) tells the details.
 *
 *     unsigned char id[64];
 *     socklen_t len = sizeof id;
 *
 *     if (tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_SESSID, id, &len) == 0)
 *         ... the connection is encrypted, and both ends have the same `len` octets in `id` ...
 *
 * All functions may be called by several threads at the same time, and after a fork. They end no
 * process, start no thread, change no signal, and wait five seconds at most for an answer.
 */
#ifndef TCPCRYPT_TCPCRYPT_H
#define TCPCRYPT_TCPCRYPT_H

#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Of the original, and too small: a session id has 33 octets. Offer 64.
 */
#define TCPCRYPT_SID_MAXLEN 32

/* Options. Those that say int have a value of that type. */
enum {
    /* int: 0, set before connect or listen, means a plain connection. */
    TCP_CRYPT_ENABLE = 0,
    /* int: not 0, set before connect or listen, means to encrypt always. */
    TCP_CRYPT_CMODE = 1,
    /* Get only: the session id of an encrypted connection. */
    TCP_CRYPT_SESSID = 2,
    /* Of older versions; an error. */
    TCP_CRYPT_RSA_KEY = 3,
    /*
     * Set before connect or listen (int): tell the peer that this application knows of tcpcrypt.
     * Get: one octet, bit 0 if we told the peer so and bit 1 if it told us, then the session id.
     */
    TCP_CRYPT_APP_SUPPORT = 15,
    /* Set: forget what was set for this port. */
    TCP_CRYPT_RESET = 100,
    /* int: not 0, set before connect, means to use no cached session and to cache none. */
    TCP_CRYPT_NOCACHE = 101,
    /* Get only: all encrypted connections over IPv4, see tcpcrypt(3). */
    TCP_CRYPT_NETSTAT = 102,
    /*
     * Of this library's own, to get only, of an encrypted connection; other daemons refuse them. Texts
     * without a zero at their end, whose length comes in *optlen; offer 64.
     *
     * "A" or "B": which end of the exchange this host was.
     */
    TCP_CRYPT_ROLE = 1002,
    /* "legacy" or "rfc8548": what was spoken. */
    TCP_CRYPT_DIALECT = 1003,
    /* The key exchange by its name in RFC 8548: "TCPCRYPT_ECDHE_P256". */
    TCP_CRYPT_TEP = 1004,
    /* The cipher by its name in RFC 8548: "AEAD_AES_128_GCM". */
    TCP_CRYPT_CIPHER = 1005,
    /*
     * Of this library's own, to set.
     *
     * int: not 0, set before connect, asks to be host B of RFC 8547. It is for two programs that connect to
     * each other at the same time; see tcpcrypt(3).
     */
    TCP_CRYPT_PASSIVE_ROLE = 1006,
    /* Any int: forget the session that this encrypted connection left behind for a later one. */
    TCP_CRYPT_CACHE_FLUSH = 1007
};

/* Parameters of the library. */
enum {
    /*
     * A C string, which is copied: where the daemon's control socket is, for all calls from now on.
     * "/path", "@abstract-name" or ":port". NULL is the default again.
     */
    TCPCRYPT_PARAM_CTLPATH = 0
};

/* Sets a parameter. Another number than those above is reported on standard output. */
extern void tcpcrypt_setparam(int param, void *val);

/*
 * Gets an option of the connection that socket `s` is an end of; `level` is IPPROTO_TCP. At most
 * `*optlen` octets are written to `optval`, and their number to `*optlen`.
 *
 * Returns 0, or -1 with the reason in errno; see tcpcrypt(3). A socket without a port is bound to one.
 */
extern int tcpcrypt_getsockopt(int s, int level, int optname, void *optval, socklen_t *optlen);

/* Sets an option, likewise. `optlen` is at most 1200. */
extern int tcpcrypt_setsockopt(int s, int level, int optname, const void *optval, socklen_t optlen);

/*
 * The session id, in upper-case hexadecimal digits, of the encrypted connection to this remote
 * address and port; where there are several, of the one from this local address and port if it is
 * among them. Ports are in host order.
 *
 * The text belongs to the library. It stays until this thread's next call, or until the thread ends.
 * NULL if there is no such connection or the daemon cannot be asked. Addresses are of IPv4, or of IPv6 where
 * the daemon knows it; a link-local one may have the number of its interface behind a %.
 */
extern char *tcpcrypt_getsessid(char *remote_ip, uint16_t remote_port, char *local_ip,
                                uint16_t local_port);

#ifdef __cplusplus
}
#endif

#endif /* TCPCRYPT_TCPCRYPT_H */
