/* SPDX-License-Identifier: Apache-2.0 */
/* What password.c and key.c share: a connection that is encrypted, and its session id. */
#ifndef EXAMPLE_CONNECTION_H
#define EXAMPLE_CONNECTION_H

#include <stddef.h>

enum { ID_ROOM = 64 };

struct connection {
	int socket;
	/* 'A' opened the connection, 'B' took it. */
	char role;
	unsigned char id[ID_ROOM];
	size_t id_length;
};

/* The octets that this end, or the other one, has to prove that it knows: purpose, role, session id. */
enum { PURPOSE_ROOM = 40, STATEMENT_ROOM = PURPOSE_ROOM + 1 + ID_ROOM };
size_t statement(const struct connection *c, const char *purpose, char role, unsigned char *out);

/*
 * Opens a connection by the words of a command line, "listen PORT" or "connect HOST PORT", and gets
 * its session id. 0; or what the program should exit with: 2 without a connection, 1 if it is plain.
 */
int open_connection(int count, char **words, struct connection *c);

/* All octets or nothing: 0 or -1. */
int send_all(const struct connection *c, const void *from, size_t length);
int receive_all(const struct connection *c, void *to, size_t length);

/* After the proof: who connected says something, who listened shows it. The program's exit status. */
int converse(const struct connection *c);

#endif
