/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of a mailbox (mailbox.h): the server, on the host, sends each packet back; the client,
 * in a guest, sends stdin and writes what comes back.
 *
 *	mailbox serve /dev/shm/box			makes the object; ends with an empty packet
 *	mailbox call /box <in >out			by /dev/vmshm0
 *	mailbox call --file /dev/shm/box <in >out	on the host
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox.h"
#include "object.h"

#define PATIENCE 10000		/* ms: for an answer, or room for one */

static int serve(struct mailbox *m)
{
	unsigned char *buf = malloc(MAILBOX_PACKET);
	size_t len = 1;
	int rc = buf ? 0 : -ENOMEM;

	mailbox_init(m);
	while (!rc && len) {
		rc = mailbox_take(m, MAILBOX_IN, buf, MAILBOX_PACKET, &len, -1);
		if (!rc)
			rc = mailbox_put(m, MAILBOX_OUT, buf, len, PATIENCE);
	}
	free(buf);
	return rc;
}

static int call(struct mailbox *m)
{
	unsigned char *buf = malloc(MAILBOX_PACKET);
	size_t len = 1;
	int rc = buf ? 0 : -ENOMEM;

	while (!rc && len) {
		len = fread(buf, 1, MAILBOX_PACKET, stdin);
		rc = mailbox_put(m, MAILBOX_IN, buf, len, PATIENCE);
		if (!rc)
			rc = mailbox_take(m, MAILBOX_OUT, buf, MAILBOX_PACKET, &len, PATIENCE);
		if (!rc && fwrite(buf, 1, len, stdout) != len)
			rc = -EIO;
	}
	free(buf);
	return rc;
}

int main(int argc, char **argv)
{
	bool serves = argc == 3 && !strcmp(argv[1], "serve");
	bool file = argc == 4 && !strcmp(argv[1], "call") && !strcmp(argv[2], "--file");
	const char *name = argv[argc - 1];
	struct object obj;
	int rc;

	if (!serves && !file && (argc != 3 || strcmp(argv[1], "call"))) {
		fprintf(stderr, "usage: mailbox serve FILE\n"
				"       mailbox call /NAME | --file FILE\n");
		return 2;
	}
	if (serves || file)
		rc = object_open_file(&obj, name, MAILBOX_SIZE);
	else
		rc = object_open_device(&obj, "/dev/vmshm0", name, 0);
	if (!rc && obj.size < MAILBOX_SIZE)
		rc = -EFBIG;	/* the mailbox, for the object */
	if (!rc)
		rc = serves ? serve(obj.mem) : call(obj.mem);
	if (rc)
		fprintf(stderr, "mailbox: %s: %s\n", name, strerror(-rc));
	object_close(&obj);
	return rc ? 1 : 0;
}
