/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends what is on standard input by vsock, then reads as many bytes as it is told; runs in guests
 * that know no libraries.
 *
 *     vsock-pipe connect|listen PORT BYTES
 *
 * connect: to the host; listen: takes the first that comes.
 */
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static int connection(const char *how, unsigned int port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_port = port };
	const struct sockaddr *name = (const struct sockaddr *)&address;
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	int taken;

	if (fd < 0)
		err(1, "socket");
	if (strcmp(how, "connect") == 0) {
		address.svm_cid = VMADDR_CID_HOST;
		if (connect(fd, name, sizeof(address)) < 0)
			err(1, "connect to port %u", port);
		return fd;
	}
	address.svm_cid = VMADDR_CID_ANY;
	if (bind(fd, name, sizeof(address)) < 0 || listen(fd, 1) < 0)
		err(1, "listen on port %u", port);
	fprintf(stderr, "listening\n");
	taken = accept(fd, NULL, NULL);
	if (taken < 0)
		err(1, "accept");
	close(fd);
	return taken;
}

/*
 * Linux sends more than this in one packet of several descriptors; vhost-device-vsock 0.3.0 takes
 * one beside the header's.
 */
enum { PIECE = 16384 };

/* At most bytes, or until the end; how many they were. */
static size_t copy(int to, int from, size_t bytes)
{
	char data[PIECE];
	size_t copied = 0;

	while (copied < bytes) {
		size_t left = bytes - copied;
		ssize_t got = read(from, data, left < sizeof(data) ? left : sizeof(data));

		if (got < 0)
			err(1, "read");
		if (got == 0)
			break;
		for (ssize_t done = 0, n; done < got; done += n) {
			n = write(to, data + done, (size_t)(got - done));
			if (n < 0)
				err(1, "write");
		}
		copied += (size_t)got;
	}
	return copied;
}

int main(int argc, char **argv)
{
	size_t bytes;
	int fd;

	if (argc != 4 || (strcmp(argv[1], "connect") != 0 && strcmp(argv[1], "listen") != 0)) {
		fprintf(stderr, "usage: vsock-pipe connect|listen PORT BYTES\n");
		return 2;
	}
	bytes = strtoul(argv[3], NULL, 0);
	fd = connection(argv[1], (unsigned int)strtoul(argv[2], NULL, 0));
	copy(fd, STDIN_FILENO, SIZE_MAX);
	if (copy(STDOUT_FILENO, fd, bytes) != bytes)
		errx(1, "the other end sent less");
	return 0;
}
