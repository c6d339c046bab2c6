/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers datagrams with what is in them; runs in guests that know no libraries.
 *
 *     udp-echo PORT COUNT
 *
 * ends after COUNT of them.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	static char data[65536];
	struct sockaddr_in here = { .sin_family = AF_INET }, who;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 3)
		errx(2, "usage: udp-echo PORT COUNT");
	here.sin_port = htons((uint16_t)atoi(argv[1]));
	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0)
		err(1, "port %s", argv[1]);
	fprintf(stderr, "listening\n");
	for (long left = atol(argv[2]); left > 0; left--) {
		socklen_t size = sizeof(who);
		ssize_t got = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&who, &size);

		if (got < 0 || sendto(fd, data, (size_t)got, 0, (struct sockaddr *)&who, size) < 0)
			err(1, "datagram of %zd bytes", got);
	}
	return 0;
}
