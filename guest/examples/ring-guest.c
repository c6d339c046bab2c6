/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's end of a channel (ring.h): answers ring-host, or copies. Sleeps where the device has
 * events, else, or with --spin, it never does.
 *
 *	ring-guest /talk			answers what ring-host asks
 *	ring-guest --copy /data <in >out	both ways, with ring-host --copy
 *
 * Between two guests that have the same object one is ring-guest --make.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object.h"
#include "ring.h"
#include "ring_fds.h"
#include "talk.h"

#define SPIN 2000		/* looks before a sleep, which costs as much */

struct options {
	const char *device, *name;
	bool copy, make, spin;
	uint32_t flags;
	int ms;
};

static void usage(void)
{
	fprintf(stderr,
		"usage: ring-guest [OPTION].. /NAME\n"
		"  --copy         copy stdin into the channel, and what comes to stdout\n"
		"  --device=FILE  /dev/vmshm0\n"
		"  --large        through the large window\n"
		"  --make         make the channel, of all that the window has of the object\n"
		"  --spin         never sleep\n"
		"  --timeout=MS   to wait for who makes the channel (10000)\n");
	exit(2);
}

static struct options parse(int argc, char **argv)
{
	static const struct option known[] = {
		{ "copy", no_argument, NULL, 'c' },	     { "make", no_argument, NULL, 'm' },
		{ "spin", no_argument, NULL, 's' },	     { "large", no_argument, NULL, 'l' },
		{ "device", required_argument, NULL, 'd' }, { "timeout", required_argument, NULL, 't' },
		{ 0 },
	};
	struct options o = { .device = "/dev/vmshm0", .ms = 10000 };
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		o.copy |= c == 'c';
		o.make |= c == 'm';
		o.spin |= c == 's';
		if (c == 'l')
			o.flags |= VMSHM_OPEN_LARGE;
		if (c == 'd')
			o.device = optarg;
		if (c == 't')
			o.ms = (int)strtol(optarg, NULL, 10);
		if (c == '?')
			usage();
	}
	if (optind != argc - 1)
		usage();
	o.name = argv[optind];
	return o;
}

static int taken(void *arg)
{
	return ring_fds_taken(arg);
}

static int talk(struct object *obj, const struct options *o)
{
	struct ring_fds fds = ring_fds_device(obj->fd, 0);
	struct ring_bell bell = ring_fds_bell(&fds, SPIN);
	struct talk_wait wait = { fds.wait, taken, &fds };
	struct ring r;
	int rc;

	if (o->spin || !obj->events) {
		bell.sleep = NULL;
		wait.fd = -1;
	}
	/* the host may sleep even if this does not */
	if (!obj->events)
		bell.ring = NULL;
	rc = o->make ? ring_make(&r, obj->mem, obj->size, &bell) :
		       ring_join(&r, obj->mem, obj->size, &bell, o->ms);
	if (rc)
		return rc;
	rc = o->copy ? talk_copy(&r, &wait, STDIN_FILENO, STDOUT_FILENO) : talk_answer(&r);
	if (o->make)
		ring_unmake(&r);
	return rc;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	struct object obj;
	int rc = object_open_device(&obj, o.device, o.name, o.flags);

	if (rc) {
		fprintf(stderr, "ring-guest: %s, object %s: %s%s\n", o.device, o.name, strerror(-rc),
			rc == -ENOENT ? " (or the host does not allow it: --vmshm allow=)" : "");
		return 1;
	}
	rc = talk(&obj, &o);
	object_close(&obj);
	if (rc)
		fprintf(stderr, "ring-guest: the channel in %s: %s\n", o.name, strerror(-rc));
	return rc ? 1 : 0;
}
