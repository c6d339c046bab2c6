/* SPDX-License-Identifier: Apache-2.0 */
/* The host's end of a guest's vsock connection, which its daemon makes one to a Unix socket: sends
 * back what comes. `vsock_echo SOCKET`; says "listening", ends with the first connection. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int send_back(int fd)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		if (write(fd, buf, (size_t)n) != n)
			return 1;
	}
	return n < 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

	if (argc != 2 || strlen(argv[1]) >= sizeof(at.sun_path)) {
		fprintf(stderr, "usage: vsock_echo SOCKET\n");
		return 2;
	}
	memcpy(at.sun_path, argv[1], strlen(argv[1]) + 1);
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listener, 1) < 0) {
		perror(argv[1]);
		return 1;
	}
	puts("listening");
	fflush(stdout);
	fd = accept(listener, NULL, NULL);
	return fd < 0 || send_back(fd);
}
