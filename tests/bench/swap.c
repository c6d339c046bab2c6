/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/swap.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "tests/bench/touch.h"

enum { ROUNDS = 25, LIVE_MAX = 10000, PAGE = 4096 };

static const uint64_t sizes[] = { KIB(4), KIB(64), MIB(2), MIB(64), GIB(1) };
static const unsigned lives[] = { 1, 100, LIVE_MAX };	/* the measured one is among them */

/* Of an object so much has its pages: as much as is worth the host's memory. */
#define POPULATED	MIB(64)

/* Behind the largest that is measured; between two of them a page that is not mapped. */
#define LIVE_AT		GIB(1)
#define LIVE_STRIDE	(2 * PAGE)
static_assert(LIVE_AT + (uint64_t)LIVE_MAX * LIVE_STRIDE <= TOUCH_WINDOW, "all have room");

void swap_fail(const char *what)
{
	perror(what);
	exit(1);
}

void swap_say(const char *what, uint64_t size, unsigned live, uint64_t ns)
{
	printf("{\"what\": \"%s\", \"size\": %llu, \"live\": %u, \"ns\": %llu}\n", what,
	       (unsigned long long)size, live, (unsigned long long)ns);
	fflush(stdout);
}

int swap_object(uint64_t size)
{
	int fd = memfd_create("bench", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		swap_fail("an object");
	for (uint64_t at = 0; at < min_u64(size, POPULATED); at += PAGE)
		if (pwrite(fd, "x", 1, (off_t)at) != 1)
			swap_fail("an object");
	return fd;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

static void measure_size(const struct swapper *s, uint64_t size, int fd, unsigned live)
{
	uint64_t map[ROUNDS], unmap[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t start = clock_ns(), mapped;

		s->map(s->arg, 0, size, fd);
		mapped = clock_ns();
		s->unmap(s->arg, 0, size);
		map[i] = mapped - start;
		unmap[i] = clock_ns() - mapped;
	}
	swap_say("map", size, live, median(map, ROUNDS));
	swap_say("unmap", size, live, median(unmap, ROUNDS));
}

static uint64_t live_at(unsigned i)
{
	return LIVE_AT + (uint64_t)i * LIVE_STRIDE;
}

void swap_measure(const struct swapper *s)
{
	int fd = swap_object(sizes[ARRAY_SIZE(sizes) - 1]);
	unsigned others = 0;

	for (size_t i = 0; i < ARRAY_SIZE(lives); i++) {
		while (others < lives[i] - 1)
			s->map(s->arg, live_at(others++), PAGE, fd);
		for (size_t j = 0; j < ARRAY_SIZE(sizes); j++)
			measure_size(s, sizes[j], fd, lives[i]);
	}
	fd_close(&fd);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";

	log_setup("swap", LOG_WARN);
	if (argc == 2 && !strcmp(how, "bare"))
		swap_bare();
	else if (argc == 2 && !strcmp(how, "asked"))
		swap_asked();
	else if (argc >= 3 && !strcmp(how, "daemon"))
		swap_daemon(atoi(argv[2]), argv[3]);
	else
		return 2;
	return 0;
}
