/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of an encrypted connection prove to each other that they know a password and see the same session.
 *
 *   password FILE listen PORT
 *   password FILE connect HOST PORT
 *
 * Exit status 0: the other end is who it should be. 1: it is not, or the connection is not encrypted. 2: no
 * connection, or something else went wrong.
 */
#include "connection.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

/* Who uses these lines elsewhere takes words of his own, so that no proof is good for another program. */
#define PURPOSE "tcpcrypt example: password"

enum { KEY = 32, PROOF = 32 };

/* The first line of a file, of 255 octets at most, made a key by a function that is slow on purpose: passwords can be guessed. */
static int read_key(const char *path, unsigned char *key)
{
	static const unsigned char salt[] = PURPOSE;
	char password[256];
	FILE *file = fopen(path, "r");
	int done = -1;

	if (file != NULL && fgets(password, sizeof(password), file) != NULL) {
		password[strcspn(password, "\n")] = '\0';
		if (password[0] != '\0' && EVP_PBE_scrypt(password, strlen(password), salt, sizeof(salt), 1 << 15, 8, 1,
							  64 << 20, key, KEY) == 1)
			done = 0;
	}
	if (done < 0)
		fprintf(stderr, "%s: no password\n", path);
	if (file != NULL)
		fclose(file);
	OPENSSL_cleanse(password, sizeof(password));
	return done;
}

/* HMAC-SHA256(key, purpose | role | session id) */
static int prove(const struct connection *c, const unsigned char *key, char role, unsigned char *out)
{
	unsigned char text[STATEMENT_ROOM];
	size_t length = statement(c, PURPOSE, role, text);

	return HMAC(EVP_sha256(), key, KEY, text, length, out, NULL) != NULL ? 0 : -1;
}

/* 0 if the other end knows the key and has a connection with this session id: this one. */
static int authenticate(const struct connection *c, const unsigned char *key)
{
	unsigned char mine[PROOF], wanted[PROOF], received[PROOF];

	if (prove(c, key, c->role, mine) < 0 || prove(c, key, c->role == 'A' ? 'B' : 'A', wanted) < 0)
		return -1;
	/* Who connects goes first: who listens tells nothing to strangers, not even something to guess from. */
	if (c->role == 'A' && send_all(c, mine, PROOF) < 0)
		return -1;
	/* A comparison that takes the same time wherever the first difference is. */
	if (receive_all(c, received, PROOF) < 0 || CRYPTO_memcmp(received, wanted, PROOF) != 0)
		return -1;
	if (c->role == 'B' && send_all(c, mine, PROOF) < 0)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	unsigned char key[KEY];
	struct connection c;
	int status;

	if (argc < 3) {
		fprintf(stderr, "usage: %s FILE listen PORT | connect HOST PORT\n", argv[0]);
		return 2;
	}
	if (read_key(argv[1], key) < 0)
		return 2;
	status = open_connection(argc - 2, argv + 2, &c);
	if (status != 0)
		return status;
	if (authenticate(&c, key) < 0) {
		puts("REFUSED: the other end does not know the password, or sees another session");
		return 1;
	}
	puts("the other end knows the password and sees this session");
	return converse(&c);
}
