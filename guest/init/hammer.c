/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk under load that knows what it must hold: several processes write each its own part, past
 * the caches, and read it back. Every sector names its writer, its place and how often that place
 * was written, so that a write that was lost, came late or came in pieces is seen.
 */
#include "sys.h"
#include "text.h"
#include "verb.h"

enum {
	WRITERS = 4,
	BLOCK = 4096,
	BLOCKS = 256, /* of one writer */
	TOGETHER = 8, /* blocks in one request, at most */
	SECTOR = 512,
};

/* A sector is full of them */
struct stamp {
	uint64_t writer, block, count, check;
};

/* Seen by all of them */
struct common {
	uint64_t stop;
	uint64_t rounds[WRITERS];
};

static _Alignas(BLOCK) uint8_t data[TOGETHER * BLOCK];
static uint64_t counts[BLOCKS]; /* how often each was written; 0: what it holds is not known */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void fill(uint64_t writer, uint64_t first, uint64_t n)
{
	for (uint64_t at = 0; at < n * BLOCK; at += sizeof(struct stamp)) {
		uint64_t block = first + at / BLOCK;
		struct stamp s = { writer, block, counts[block], writer ^ block ^ counts[block] };

		memcpy(data + at, &s, sizeof(s));
	}
}

/* The first sector that is not what fill() would have put there; n * 8 for none */
static uint64_t differs(uint64_t writer, uint64_t first, uint64_t n)
{
	static _Alignas(BLOCK) uint8_t got[TOGETHER * BLOCK];
	uint64_t sector = 0;

	memcpy(got, data, n * BLOCK);
	fill(writer, first, n);
	while (sector < n * BLOCK / SECTOR &&
	       (!counts[first + sector * SECTOR / BLOCK] ||
		!memcmp(got + sector * SECTOR, data + sector * SECTOR, SECTOR)))
		sector++;
	memcpy(data, got, n * BLOCK);
	return sector;
}

static int check(const struct call *c, int fd, uint64_t writer, uint64_t first, uint64_t n)
{
	uint64_t offset = (writer * BLOCKS + first) * BLOCK, at;
	long got = SYS(__NR_pread64, fd, data, n * BLOCK, offset);
	struct stamp s;

	if (got != (long)(n * BLOCK))
		return verb_fail(c, "writer %u read %e at %u", writer, got < 0 ? (int)got : -EIO,
				 offset);
	at = differs(writer, first, n);
	if (at == n * BLOCK / SECTOR)
		return 0;
	memcpy(&s, data + at * SECTOR, sizeof(s));
	return verb_fail(c, "writer %u: sector %u is writer %u, block %u, write %u; it must be write %u",
			 writer, offset / SECTOR + at, s.writer, s.block, s.count,
			 counts[first + at * SECTOR / BLOCK]);
}

static int write_blocks(const struct call *c, int fd, uint64_t writer, uint64_t first, uint64_t n)
{
	long put;

	for (uint64_t i = 0; i < n; i++)
		counts[first + i]++;
	fill(writer, first, n);
	put = SYS(__NR_pwrite64, fd, data, n * BLOCK, (writer * BLOCKS + first) * BLOCK);
	if (put == (long)(n * BLOCK))
		return 0;
	return verb_fail(c, "writer %u: %e", writer, put < 0 ? (int)put : -EIO);
}

static int write_on(const struct call *c, int fd, uint64_t writer, struct common *all)
{
	uint64_t random = 0x9e3779b97f4a7c15 + writer;
	int r = 0;

	/* Once at least: a line that is typed at once proves something, too */
	do {
		uint64_t n = next_random(&random) % TOGETHER + 1;
		uint64_t first = next_random(&random) % (BLOCKS - n + 1);

		r = write_blocks(c, fd, writer, first, n);
		n = next_random(&random) % TOGETHER + 1;
		first = next_random(&random) % (BLOCKS - n + 1);
		if (!r)
			r = check(c, fd, writer, first, n);
		all->rounds[writer]++;
	} while (!r && !*(volatile uint64_t *)&all->stop);
	for (uint64_t first = 0; first < BLOCKS && !r; first += TOGETHER)
		r = check(c, fd, writer, first, TOGETHER);
	return r;
}

static int start_writers(const struct call *c, int fd, struct common *all, int pids[WRITERS])
{
	for (unsigned i = 0; i < WRITERS; i++) {
		pids[i] = sys_fork();
		if (!pids[i])
			sys_exit(write_on(c, fd, i, all) ? 1 : 0);
		if (pids[i] < 0)
			return verb_fail(c, "%e", pids[i]);
	}
	return 0;
}

static void await_line(void)
{
	char byte = 0;

	while (byte != '\n' && sys_read(0, &byte, 1) == 1)
		;
}

static int hammer(const struct call *c)
{
	long page = SYS(__NR_mmap, 0, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	int fd = sys_open(c->value, O_RDWR | O_DIRECT), pids[WRITERS], failed = 0;
	struct common *all = (struct common *)page;
	uint64_t rounds = 0;

	if (fd < 0 || (page < 0 && page > -BLOCK))
		return verb_fail(c, "%s: %e", c->value, fd < 0 ? fd : (int)page);
	if (start_writers(c, fd, all, pids))
		return -1;
	verb_say(c, "type a line");
	await_line();
	all->stop = 1;
	for (unsigned i = 0; i < WRITERS; i++) {
		int status = 0;

		while (sys_wait(pids[i], &status) == -EINTR)
			;
		failed |= status;
		rounds += all->rounds[i];
	}
	sys_close(fd);
	if (failed)
		return verb_fail(c, "a writer failed");
	verb_say(c, "%u writes, all there", rounds);
	return 0;
}

const struct verb hammer_verbs[] = {
	{ "hammer", "DEVICE", VERB_PLAIN, hammer,
	  "write to a device and read back, until a line is typed; what it held is lost" },
	{ 0 },
};
