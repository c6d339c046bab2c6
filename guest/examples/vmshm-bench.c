/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VMShm costs a guest; a line of JSON a figure: {"what": .., "size": bytes, "count": how many,
 * "ns": nanoseconds of all}. The least of some runs, as others disturb and nothing hurries.
 *
 *	vmshm-bench [OPTION].. memcpy /NAME	from RAM to RAM, to the window, and from it
 *	vmshm-bench [OPTION].. open /NAME	open, map, store a byte, close
 *	vmshm-bench [OPTION].. turns /NAME	8 bytes there and back, both ends in this
 *						program, by turns: only what both do
 *	vmshm-bench [OPTION].. poll /NAME	8 bytes to the host and back, nobody sleeps; it runs
 *						ring-host --echo FILE
 *	vmshm-bench [OPTION].. doorbell /NAME	the same, both sleep at once; it runs
 *						ring-host --echo --spin=0 --events=SOCKET FILE
 *	vmshm-bench [OPTION].. vsock PORT	the same by a socket to the host, to compare, where
 *						somebody sends back what comes
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/vm_sockets.h>

#include "object.h"
#include "ring.h"
#include "ring_fds.h"

#define PATIENCE	10000	/* ms: for an answer, or somebody who makes the channel */

struct options {
	const char *device;	/* NULL: none */
	const char *what, *name;
	uint64_t bytes;
	unsigned rounds, runs;
};

static void usage(void)
{
	fprintf(stderr,
		"usage: vmshm-bench [OPTION].. memcpy | open | turns | poll | doorbell /NAME\n"
		"       vmshm-bench [OPTION].. vsock PORT\n"
		"  --bytes=N      that memcpy copies in a run (67108864)\n"
		"  --device=FILE  /dev/vmshm0\n"
		"  --file         NAME is a file of this machine: no device\n"
		"  --rounds=N     of the others in a run (1000)\n"
		"  --runs=N       of which the least counts (5)\n");
	exit(2);
}

static struct options parse(int argc, char **argv)
{
	static const struct option known[] = {
		{ "bytes", required_argument, NULL, 'b' }, { "device", required_argument, NULL, 'd' },
		{ "file", no_argument, NULL, 'f' },	    { "rounds", required_argument, NULL, 'r' },
		{ "runs", required_argument, NULL, 'n' },   { 0 },
	};
	struct options o = { .device = "/dev/vmshm0", .bytes = 64 << 20, .rounds = 1000, .runs = 5 };
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 'b')
			o.bytes = strtoull(optarg, NULL, 10);
		if (c == 'd')
			o.device = optarg;
		if (c == 'f')
			o.device = NULL;
		if (c == 'r')
			o.rounds = (unsigned)strtoul(optarg, NULL, 10);
		if (c == 'n')
			o.runs = (unsigned)strtoul(optarg, NULL, 10);
		if (c == '?')
			usage();
	}
	if (optind != argc - 2 || !o.rounds || !o.runs)
		usage();
	o.what = argv[optind];
	o.name = argv[optind + 1];
	return o;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void figure(const char *what, size_t size, uint64_t count, uint64_t ns)
{
	printf("{\"what\": \"%s\", \"size\": %zu, \"count\": %" PRIu64 ", \"ns\": %" PRIu64 "}\n", what,
	       size, count, ns);
	fflush(stdout);
}

static int open_object(struct object *obj, const struct options *o)
{
	if (o->device)
		return object_open_device(obj, o->device, o->name, 0);
	return object_open_file(obj, o->name, 1 << 20);
}

/* ---- memcpy ---- */

static uint64_t copies(void *to, const void *from, size_t size, uint64_t count)
{
	uint64_t start = now();

	for (uint64_t i = 0; i < count; i++) {
		memcpy(to, from, size);
		/* that it is done, and done again */
		__asm__ volatile("" : : "r"(to), "r"(from) : "memory");
	}
	return now() - start;
}

static int bench_memcpy(struct object *obj, const struct options *o)
{
	static const size_t sizes[] = { 4 << 10, 64 << 10, 256 << 10, 1 << 20 };
	unsigned char *ram = malloc(2 << 20);

	if (!ram)
		return -ENOMEM;
	memset(ram, 1, 2 << 20);
	memset(obj->mem, 2, obj->size);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes) && sizes[i] <= obj->size; i++) {
		size_t size = sizes[i];
		uint64_t count = o->bytes / size + 1;
		uint64_t ns[3] = { UINT64_MAX, UINT64_MAX, UINT64_MAX };

		/* in turn: what disturbs, disturbs all three */
		for (unsigned run = 0; run < o->runs; run++) {
			ns[0] = least(ns[0], copies(ram + (1 << 20), ram, size, count));
			ns[1] = least(ns[1], copies(obj->mem, ram, size, count));
			ns[2] = least(ns[2], copies(ram + (1 << 20), obj->mem, size, count));
		}
		figure("RAM to RAM", size, count, ns[0]);
		figure("RAM to window", size, count, ns[1]);
		figure("window to RAM", size, count, ns[2]);
	}
	free(ram);
	return 0;
}

/* ---- open ---- */

static int bench_open(const struct options *o)
{
	uint64_t ns = UINT64_MAX;

	for (unsigned run = 0; run < o->runs; run++) {
		uint64_t start = now();

		for (unsigned i = 0; i < o->rounds; i++) {
			struct object obj;
			int rc = open_object(&obj, o);

			if (rc)
				return rc;
			*(volatile char *)obj.mem = 1;
			object_close(&obj);
		}
		ns = least(ns, now() - start);
	}
	figure("open and close", 0, o->rounds, ns);
	return 0;
}

/* ---- There and back ---- */

static int turns(struct ring *here, struct ring *there, unsigned count)
{
	uint64_t word = 0;
	size_t len;
	int rc = 0;

	for (uint64_t i = 0; i < count && !rc; i++) {
		rc = ring_send(here, &i, sizeof(i), 0);
		if (!rc)
			rc = ring_recv(there, &word, sizeof(word), &len, 0);
		if (!rc)
			rc = ring_send(there, &word, len, 0);
		if (!rc)
			rc = ring_recv(here, &word, sizeof(word), &len, 0);
		if (!rc && (word != i || len != sizeof(word)))
			rc = -EBADMSG;
	}
	return rc;
}

static int bench_turns(struct object *obj, const struct options *o)
{
	uint64_t ns = UINT64_MAX;
	struct ring here, there;
	int rc = ring_make(&there, obj->mem, obj->size, NULL);

	if (!rc)
		rc = ring_attach(&here, obj->mem, obj->size, NULL);
	if (!rc)
		rc = turns(&here, &there, o->rounds / 10 + 1);
	for (unsigned run = 0; run < o->runs && !rc; run++) {
		uint64_t start = now();

		rc = turns(&here, &there, o->rounds);
		ns = least(ns, now() - start);
	}
	if (!rc)
		figure("there and back by turns", sizeof(uint64_t), o->rounds, ns);
	return rc;
}

static int rounds(struct ring *r, unsigned count)
{
	uint64_t word = 0;
	size_t len;

	for (uint64_t i = 0; i < count; i++) {
		int rc = ring_send(r, &i, sizeof(i), PATIENCE);

		if (!rc)
			rc = ring_recv(r, &word, sizeof(word), &len, PATIENCE);
		if (rc)
			return rc;
		if (word != i || len != sizeof(word))
			return -EBADMSG;
	}
	return 0;
}

static int bench_ring(struct object *obj, const struct options *o, bool sleeps)
{
	struct ring_fds fds = ring_fds_device(obj->fd, 0);
	struct ring_bell bell = ring_fds_bell(&fds, 0);
	uint64_t ns = UINT64_MAX, end = now() + PATIENCE * 1000000ull;
	struct ring r;
	int rc;

	if (sleeps && !obj->events)
		return -ENOTSUP;
	/* until somebody made the channel, nobody can ring */
	while ((rc = ring_attach(&r, obj->mem, obj->size, sleeps ? &bell : NULL)) == -EAGAIN &&
	       now() < end)
		sched_yield();
	if (!rc)
		rc = rounds(&r, o->rounds / 10 + 1);
	for (unsigned run = 0; run < o->runs && !rc; run++) {
		uint64_t start = now();

		rc = rounds(&r, o->rounds);
		ns = least(ns, now() - start);
	}
	if (rc)
		return rc;
	figure(sleeps ? "there and back by doorbell" : "there and back by polling", sizeof(uint64_t),
	       o->rounds, ns);
	return ring_end(&r);
}

static int vsock_rounds(int fd, unsigned count)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t word = 0;
		ssize_t n;

		if (write(fd, &i, sizeof(i)) != sizeof(i))
			return -errno;
		n = recv(fd, &word, sizeof(word), MSG_WAITALL);
		if (n < 0)
			return -errno;
		if (n != sizeof(word) || word != i)
			return n ? -EBADMSG : -EPIPE;
	}
	return 0;
}

static int bench_vsock(const struct options *o)
{
	struct sockaddr_vm host = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST,
				    .svm_port = (unsigned)strtoul(o->name, NULL, 10) };
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = 0;
	uint64_t ns = UINT64_MAX;

	if (fd < 0 || connect(fd, (struct sockaddr *)&host, sizeof(host)) < 0)
		rc = -errno;
	if (!rc)
		rc = vsock_rounds(fd, o->rounds / 10 + 1);
	for (unsigned run = 0; run < o->runs && !rc; run++) {
		uint64_t start = now();

		rc = vsock_rounds(fd, o->rounds);
		ns = least(ns, now() - start);
	}
	if (fd >= 0)
		close(fd);
	if (!rc)
		figure("there and back by vsock", sizeof(uint64_t), o->rounds, ns);
	return rc;
}

/* ---- */

static int bench(const struct options *o)
{
	struct object obj;
	int rc;

	if (!strcmp(o->what, "open"))
		return bench_open(o);
	if (!strcmp(o->what, "vsock"))
		return bench_vsock(o);
	rc = open_object(&obj, o);
	if (rc)
		return rc;
	if (!strcmp(o->what, "memcpy"))
		rc = bench_memcpy(&obj, o);
	else if (!strcmp(o->what, "turns"))
		rc = bench_turns(&obj, o);
	else if (!strcmp(o->what, "poll") || !strcmp(o->what, "doorbell"))
		rc = bench_ring(&obj, o, *o->what == 'd');
	else
		usage();
	object_close(&obj);
	return rc;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	int rc = bench(&o);

	if (rc)
		fprintf(stderr, "vmshm-bench: %s %s: %s\n", o.what, o.name, strerror(-rc));
	return rc ? 1 : 0;
}
