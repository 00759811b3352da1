/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of an encrypted connection sign its session id, each with a key of its own that the other one knows,
 * as with ssh.
 *
 *   key MY-KEY THEIR-PUBLIC-KEY listen PORT
 *   key MY-KEY THEIR-PUBLIC-KEY connect HOST PORT
 *
 * Keys are Ed25519, in PEM: openssl genpkey -algorithm ed25519 -out KEY; openssl pkey -in KEY -pubout
 *
 * Exit status 0: the other end is who it should be. 1: it is not, or the connection is not encrypted. 2: no
 * connection, or something else went wrong.
 */
#include "connection.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>

/* Who uses these lines elsewhere takes words of his own, so that no signature is good for another program. */
#define PURPOSE "tcpcrypt example: key"

enum { SIGNATURE = 64 };

static EVP_PKEY *read_key(const char *path, int private)
{
	FILE *file = fopen(path, "r");
	EVP_PKEY *key = NULL;

	if (file != NULL) {
		key = private ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : PEM_read_PUBKEY(file, NULL, NULL, NULL);
		fclose(file);
	}
	if (key != NULL && EVP_PKEY_id(key) == EVP_PKEY_ED25519)
		return key;
	fprintf(stderr, "%s: no Ed25519 key\n", path);
	EVP_PKEY_free(key);
	return NULL;
}

/* Ed25519(key, purpose | role | session id) */
static int sign(const struct connection *c, EVP_PKEY *key, unsigned char *out)
{
	unsigned char text[STATEMENT_ROOM];
	size_t length = statement(c, PURPOSE, c->role, text), signature = SIGNATURE;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	int done = context != NULL && EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestSign(context, out, &signature, text, length) == 1 && signature == SIGNATURE;

	EVP_MD_CTX_free(context);
	return done ? 0 : -1;
}

/* 0 if the signature is the other end's, for this session. */
static int verify(const struct connection *c, EVP_PKEY *key, const unsigned char *signature)
{
	unsigned char text[STATEMENT_ROOM];
	size_t length = statement(c, PURPOSE, c->role == 'A' ? 'B' : 'A', text);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	int done = context != NULL && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestVerify(context, signature, SIGNATURE, text, length) == 1;

	EVP_MD_CTX_free(context);
	return done ? 0 : -1;
}

/* 0 if the other end has the key that belongs to `theirs`, and a connection with this session id: this one. */
static int authenticate(const struct connection *c, EVP_PKEY *mine, EVP_PKEY *theirs)
{
	unsigned char signature[SIGNATURE], received[SIGNATURE];

	if (sign(c, mine, signature) < 0)
		return -1;
	if (c->role == 'A' && send_all(c, signature, SIGNATURE) < 0)
		return -1;
	if (receive_all(c, received, SIGNATURE) < 0 || verify(c, theirs, received) < 0)
		return -1;
	if (c->role == 'B' && send_all(c, signature, SIGNATURE) < 0)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	EVP_PKEY *mine, *theirs;
	struct connection c;
	int status = 2;

	if (argc < 4) {
		fprintf(stderr, "usage: %s MY-KEY THEIR-PUBLIC-KEY listen PORT | connect HOST PORT\n", argv[0]);
		return 2;
	}
	mine = read_key(argv[1], 1);
	theirs = read_key(argv[2], 0);
	if (mine != NULL && theirs != NULL)
		status = open_connection(argc - 3, argv + 3, &c);
	if (status == 0) {
		if (authenticate(&c, mine, theirs) == 0) {
			puts("the other end has its key and sees this session");
			status = converse(&c);
		} else {
			puts("REFUSED: the other end has another key, or sees another session");
			status = 1;
		}
	}
	EVP_PKEY_free(mine);
	EVP_PKEY_free(theirs);
	return status;
}
