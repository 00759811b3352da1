/* SPDX-License-Identifier: Apache-2.0 */
#include "connection.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <tcpcrypt/tcpcrypt.h>
#include <unistd.h>

/* Nobody hangs on a peer that says nothing. */
static void limit(int s)
{
	struct timeval t;

	memset(&t, 0, sizeof(t));
	t.tv_sec = 20;
	if (setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) < 0 ||
	    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)) < 0)
		perror("setsockopt");
}

static int listen_at(const struct addrinfo *here)
{
	int one = 1, l, s = -1;

	l = socket(here->ai_family, here->ai_socktype, here->ai_protocol);
	if (l < 0)
		return -1;
	if (setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(l, here->ai_addr, here->ai_addrlen) == 0 && listen(l, 1) == 0) {
		puts("listening");
		fflush(stdout);
		limit(l);
		s = accept(l, NULL, NULL);
	}
	close(l);
	return s;
}

static int connect_to(const struct addrinfo *there)
{
	int s = -1;

	for (; there != NULL && s < 0; there = there->ai_next) {
		s = socket(there->ai_family, there->ai_socktype, there->ai_protocol);
		if (s < 0)
			continue;
		limit(s);
		if (connect(s, there->ai_addr, there->ai_addrlen) < 0) {
			close(s);
			s = -1;
		}
	}
	return s;
}

/* The session id; or -1, the connection is plain or there is nobody to ask, and nothing may be said on it. */
static int get_session_id(struct connection *c)
{
	socklen_t length = sizeof(c->id);

	if (tcpcrypt_getsockopt(c->socket, IPPROTO_TCP, TCP_CRYPT_SESSID, c->id, &length) < 0)
		return -1;
	c->id_length = length;
	return 0;
}

int open_connection(int count, char **words, struct connection *c)
{
	int listens = count == 2 && strcmp(words[0], "listen") == 0;
	int connects = count == 3 && strcmp(words[0], "connect") == 0;
	struct addrinfo hints, *found;
	int failed;
	size_t i;

	if (!listens && !connects) {
		fprintf(stderr, "say: listen PORT, or: connect HOST PORT\n");
		return 2;
	}
	memset(&hints, 0, sizeof(hints));
	hints.ai_socktype = SOCK_STREAM;
	/* A socket of IPv6 takes connections over IPv4, too. */
	hints.ai_family = listens ? AF_INET6 : AF_UNSPEC;
	hints.ai_flags = listens ? AI_PASSIVE : 0;
	failed = getaddrinfo(listens ? NULL : words[1], words[count - 1], &hints, &found);
	if (failed) {
		fprintf(stderr, "%s\n", gai_strerror(failed));
		return 2;
	}
	c->role = listens ? 'B' : 'A';
	c->socket = listens ? listen_at(found) : connect_to(found);
	freeaddrinfo(found);
	if (c->socket < 0) {
		perror("no connection");
		return 2;
	}
	limit(c->socket);

	/* Only for daemons whose control socket is not in the usual place. */
	tcpcrypt_setparam(TCPCRYPT_PARAM_CTLPATH, getenv("TCPCRYPT_CONTROL"));
	if (get_session_id(c) < 0) {
		printf("REFUSED: not encrypted: %s\n", strerror(errno));
		close(c->socket);
		return 1;
	}
	printf("session id ");
	for (i = 0; i < c->id_length; i++)
		printf("%02X", c->id[i]);
	printf("\n");
	return 0;
}

size_t statement(const struct connection *c, const char *purpose, char role, unsigned char *out)
{
	/* With the zero at its end, so that no purpose is the beginning of another. */
	size_t length = strlen(purpose) + 1;

	if (length > PURPOSE_ROOM)
		abort();
	memcpy(out, purpose, length);
	out[length++] = (unsigned char)role;
	memcpy(out + length, c->id, c->id_length);
	return length + c->id_length;
}

int send_all(const struct connection *c, const void *from, size_t length)
{
	const char *rest = from;

	while (length > 0) {
		ssize_t n = send(c->socket, rest, length, MSG_NOSIGNAL);

		if (n <= 0)
			return -1;
		rest += n;
		length -= (size_t)n;
	}
	return 0;
}

int receive_all(const struct connection *c, void *to, size_t length)
{
	char *rest = to;

	while (length > 0) {
		ssize_t n = recv(c->socket, rest, length, 0);

		if (n <= 0)
			return -1;
		rest += n;
		length -= (size_t)n;
	}
	return 0;
}

int converse(const struct connection *c)
{
	char letter[] = "Dear Bob, the vault opens with 4711.\n";
	int done;

	if (c->role == 'A') {
		done = send_all(c, letter, sizeof(letter) - 1);
	} else {
		done = receive_all(c, letter, sizeof(letter) - 1);
		if (done == 0)
			printf("heard: %s", letter);
	}
	close(c->socket);
	return done == 0 ? 0 : 2;
}
