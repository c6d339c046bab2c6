/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of a device, one after the other and past the caches, and how long they took. */
#include "sys.h"
#include "text.h"
#include "verb.h"

enum { ALIGNMENT = 4096, WARM = 32 /* done first and not counted */ };

struct requests {
	char device[64];
	bool write, random;
	uint64_t size, count;
	uint64_t blocks; /* of that size, that the device has */
	uint8_t *buffer;
	int fd;
};

static uint64_t now_ns(void)
{
	struct __kernel_timespec ts = { 0 };

	SYS(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The word up to the next comma or the end; false when it is none or too long */
static bool next_word(const char **s, char *buf, size_t size)
{
	size_t n = 0;

	while ((*s)[n] && (*s)[n] != ',')
		n++;
	if (!n || n >= size)
		return false;
	memcpy(buf, *s, n);
	buf[n] = 0;
	*s += n + ((*s)[n] == ',');
	return true;
}

static int parse(const struct call *c, struct requests *r)
{
	const char *p = c->value;
	char how[16];

	if (!next_word(&p, r->device, sizeof(r->device)) || !next_word(&p, how, sizeof(how)) ||
	    !text_number(&p, &r->size) || *p++ != ',' || !text_number(&p, &r->count) || *p ||
	    !r->size || r->size % ALIGNMENT || !r->count)
		return verb_fail(c, "'%s' is not DEVICE,HOW,SIZE,COUNT", c->value);
	r->write = !strcmp(how, "write") || !strcmp(how, "random-write");
	r->random = !strcmp(how, "random-read") || !strcmp(how, "random-write");
	if (!r->write && !r->random && strcmp(how, "read"))
		return verb_fail(c, "'%s' is not read, write, random-read or random-write", how);
	return 0;
}

static int open_device(const struct call *c, struct requests *r)
{
	long end, page;

	r->fd = sys_open(r->device, O_RDWR | O_DIRECT);
	if (r->fd < 0)
		return verb_fail(c, "%s: %e", r->device, r->fd);
	end = SYS(__NR_lseek, r->fd, 0, 2 /* SEEK_END */);
	if (end < (long)r->size)
		return verb_fail(c, "%s is smaller than a request", r->device);
	r->blocks = (uint64_t)end / r->size;
	page = SYS(__NR_mmap, 0, r->size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (page < 0 && page > -ALIGNMENT)
		return verb_fail(c, "%e", (int)page);
	r->buffer = (uint8_t *)page;
	return 0;
}

static int do_requests(const struct call *c, const struct requests *r, uint64_t count)
{
	uint64_t random = 0x9e3779b97f4a7c15;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t offset = (r->random ? random : i) % r->blocks * r->size;
		long n = SYS(r->write ? __NR_pwrite64 : __NR_pread64, r->fd, r->buffer, r->size,
			     offset);

		if (n != (long)r->size)
			return verb_fail(c, "%s at %u: %e", r->device, offset,
					 n < 0 ? (int)n : -EIO);
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
	}
	return 0;
}

static int requests(const struct call *c)
{
	struct requests r = { .fd = -1 };
	uint64_t began;
	int err = parse(c, &r);

	if (!err)
		err = open_device(c, &r);
	if (!err)
		err = do_requests(c, &r, WARM);
	began = now_ns();
	if (!err)
		err = do_requests(c, &r, r.count);
	if (!err)
		verb_say(c, "%s %u ns", c->value, now_ns() - began);
	if (r.buffer)
		SYS(__NR_munmap, r.buffer, r.size);
	sys_close(r.fd);
	return err;
}

const struct verb request_verbs[] = {
	{ "requests", "DEVICE,HOW,SIZE,COUNT", VERB_PLAIN, requests,
	  "read, write, random-read or random-write past the caches, and how long it took" },
	{ 0 },
};
