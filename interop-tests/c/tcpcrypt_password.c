/*
 * Both ends of a tcpcrypt connection prove to each other that they know a password and that they
 * see the same session id: who sits in between has two connections with two ids, and is found out.
 *
 *   tcpcrypt_password CONTROL-SOCKET PASSWORD listen PORT
 *   tcpcrypt_password CONTROL-SOCKET PASSWORD connect ADDRESS PORT
 *
 * Each end sends HMAC-SHA256(password, role | session id) and checks the other's. Exit status 0: the
 * other end is who it should be. 1: it is not, or the connection is not encrypted. 2: no connection.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <tcpcrypt/tcpcrypt.h>
#include <unistd.h>

enum { PROOF = 32, ID_ROOM = 64 };

static int fail(const char *what)
{
	perror(what);
	return -1;
}

/* Longest wait for the other end, so that nobody hangs on a peer that says nothing. */
static int limit(int s)
{
	struct timeval t;

	t.tv_sec = 5;
	t.tv_usec = 0;
	if (setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) < 0)
		return fail("SO_RCVTIMEO");
	return s;
}

static int accept_one(const char *port)
{
	struct sockaddr_in here;
	int one = 1, l, s;

	memset(&here, 0, sizeof(here));
	here.sin_family = AF_INET;
	here.sin_port = htons((uint16_t)atoi(port));
	l = socket(AF_INET, SOCK_STREAM, 0);
	if (l < 0)
		return fail("socket");
	if (setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(l, (struct sockaddr *)&here, sizeof(here)) < 0 || listen(l, 1) < 0 || limit(l) < 0) {
		close(l);
		return fail("listen");
	}
	puts("listening");
	fflush(stdout);
	s = accept(l, NULL, NULL);
	close(l);
	return s < 0 ? fail("accept") : limit(s);
}

static int connect_to(const char *address, const char *port)
{
	struct sockaddr_in there;
	int s;

	memset(&there, 0, sizeof(there));
	there.sin_family = AF_INET;
	there.sin_port = htons((uint16_t)atoi(port));
	if (inet_pton(AF_INET, address, &there.sin_addr) != 1) {
		fprintf(stderr, "%s: no address\n", address);
		return -1;
	}
	s = socket(AF_INET, SOCK_STREAM, 0);
	if (s < 0)
		return fail("socket");
	if (connect(s, (struct sockaddr *)&there, sizeof(there)) < 0) {
		close(s);
		return fail("connect");
	}
	return limit(s);
}

/* HMAC-SHA256(password, role | session id) */
static int proof(const char *password, char role, const unsigned char *id, size_t id_length,
		 unsigned char *out)
{
	unsigned char text[1 + ID_ROOM];
	unsigned int length = PROOF;

	text[0] = (unsigned char)role;
	memcpy(text + 1, id, id_length);
	return HMAC(EVP_sha256(), password, (int)strlen(password), text, 1 + id_length, out, &length)
		? 0
		: -1;
}

static int read_all(int s, unsigned char *to, size_t want)
{
	while (want > 0) {
		ssize_t n = read(s, to, want);

		if (n <= 0)
			return -1;
		to += n;
		want -= (size_t)n;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned char id[ID_ROOM], mine[PROOF], theirs[PROOF], received[PROOF];
	socklen_t id_length = sizeof(id);
	char role, other;
	int s, known;
	socklen_t i;

	if (argc == 5 && strcmp(argv[3], "listen") == 0) {
		role = 'B';
		s = accept_one(argv[4]);
	} else if (argc == 6 && strcmp(argv[3], "connect") == 0) {
		role = 'A';
		s = connect_to(argv[4], argv[5]);
	} else {
		fprintf(stderr, "usage: %s CONTROL PASSWORD listen PORT | connect ADDRESS PORT\n",
			argv[0]);
		return 2;
	}
	if (s < 0)
		return 2;
	other = role == 'A' ? 'B' : 'A';

	tcpcrypt_setparam(TCPCRYPT_PARAM_CTLPATH, argv[1]);
	if (tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_SESSID, id, &id_length) == -1) {
		perror("not encrypted");
		return 1;
	}
	printf("session id ");
	for (i = 0; i < id_length; i++)
		printf("%02X", id[i]);
	printf("\n");

	if (proof(argv[2], role, id, id_length, mine) < 0 ||
	    proof(argv[2], other, id, id_length, theirs) < 0)
		return 1;
	known = write(s, mine, PROOF) == PROOF && read_all(s, received, PROOF) == 0 &&
		CRYPTO_memcmp(received, theirs, PROOF) == 0;
	puts(known ? "the other end knows the password and sees this session"
		   : "REFUSED: the other end does not know the password, or sees another session");
	close(s);
	return known ? 0 : 1;
}
