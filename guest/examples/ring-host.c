/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of a channel (ring.h): asks ring-guest what stdin says, a line at a time, or
 * copies. With the socket of --vmshm events=SOCKET it sleeps while it waits, else it spins.
 *
 *	echo 'who?' | ring-host --events=vm.sock /dev/shm/talk
 *	ring-host --copy /dev/shm/data <in >out
 *	ring-host --echo /dev/shm/bench			the other end of vmshm-bench
 *
 * It makes the channel, and the object if need be. With --attach it is the other end, so that two
 * of it can talk to each other on one machine.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object.h"
#include "ring.h"
#include "talk.h"
#include "vm.h"

#define SPIN 2000		/* looks before a sleep, which costs as much */

struct options {
	const char *path, *events;
	bool copy, echo, attach;
	unsigned spin;
	uint64_t size;
	int ms;
};

static void usage(void)
{
	fprintf(stderr,
		"usage: ring-host [OPTION].. FILE\n"
		"  --attach         the channel is there; answer the other end's questions\n"
		"  --copy           copy stdin into the channel, and what comes to stdout\n"
		"  --echo           send back what comes, for vmshm-bench\n"
		"  --events=SOCKET  of --vmshm events=SOCKET; without it this never sleeps\n"
		"  --size=BYTES     of the channel, for which FILE is made larger (1 MiB)\n"
		"  --spin=LOOKS     before each sleep (2000)\n"
		"  --timeout=MS     to wait for an answer, the VM, or who makes the channel (10000)\n");
	exit(2);
}

static struct options parse(int argc, char **argv)
{
	static const struct option known[] = {
		{ "attach", no_argument, NULL, 'a' },	     { "copy", no_argument, NULL, 'c' },
		{ "events", required_argument, NULL, 'e' }, { "size", required_argument, NULL, 's' },
		{ "timeout", required_argument, NULL, 't' }, { "spin", required_argument, NULL, 'l' },
		{ "echo", no_argument, NULL, 'o' },	     { 0 },
	};
	struct options o = { .size = 1 << 20, .ms = 10000, .spin = SPIN };
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		o.attach |= c == 'a';
		o.copy |= c == 'c';
		o.echo |= c == 'o';
		if (c == 'e')
			o.events = optarg;
		if (c == 's')
			o.size = strtoull(optarg, NULL, 10);
		if (c == 'l')
			o.spin = (unsigned)strtoul(optarg, NULL, 10);
		if (c == 't')
			o.ms = (int)strtol(optarg, NULL, 10);
		if (c == '?')
			usage();
	}
	if (optind != argc - 1)
		usage();
	o.path = argv[optind];
	return o;
}

/* It may be started later than this: then nothing tells but the socket's being there. */
static int connect_vm(struct vm *vm, const struct options *o)
{
	int64_t end = ring_now_ms() + o->ms;
	int rc;

	while (((rc = vm_connect(vm, o->events, o->ms)) == -ENOENT || rc == -ECONNREFUSED) &&
	       ring_now_ms() < end)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	return rc;
}

static int talk(struct object *obj, struct vm *vm, const struct options *o)
{
	struct ring_bell bell = { vm_ring, vm_sleep, vm, o->spin };
	struct talk_wait wait = { o->events ? vm->epoll : -1, vm_taken, vm };
	const struct ring_bell *b = o->events ? &bell : NULL;
	struct ring r;
	int rc = o->attach ? ring_join(&r, obj->mem, obj->size, b, o->ms) :
			     ring_make(&r, obj->mem, obj->size, b);

	if (rc)
		return rc;
	if (o->copy)
		rc = talk_copy(&r, &wait, STDIN_FILENO, STDOUT_FILENO);
	else if (o->echo)
		rc = talk_echo(&r);
	else
		rc = o->attach ? talk_answer(&r) : talk_ask(&r, stdin, stdout, o->ms);
	if (!o->attach)
		ring_unmake(&r);
	return rc;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	struct vm vm = VM_NONE;
	struct object obj;
	int rc = object_open_file(&obj, o.path, o.size);

	if (rc) {
		fprintf(stderr, "ring-host: %s: %s\n", o.path, strerror(-rc));
		return 1;
	}
	rc = o.events ? connect_vm(&vm, &o) : 0;
	if (rc) {
		fprintf(stderr, "ring-host: %s: %s%s\n", o.events, strerror(-rc),
			rc == -ENOTSUP ? " (the device has no events: --vmshm vectors=)" : "");
	} else {
		rc = talk(&obj, &vm, &o);
		if (rc)
			fprintf(stderr, "ring-host: the channel in %s: %s\n", o.path, strerror(-rc));
	}
	vm_close(&vm);
	object_close(&obj);
	return rc ? 1 : 0;
}
