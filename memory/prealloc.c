/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/prealloc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/keyval.h"
#include "base/range.h"

#ifndef MADV_POPULATE_WRITE	/* glibc before 2.35 */
#define MADV_POPULATE_WRITE 23
#endif

enum { THREADS_DEFAULT_MAX = 16, THREADS_MAX = 256 };

struct share {
	struct prealloc_range part;
	int result;		/* 0 or -errno */
	pthread_t thread;
	bool started;
};

/* One system call for at most this much, so that other threads get at the address space between. */
#define STEP MIB(64)

static int populate(const struct prealloc_range *r, uint64_t at, uint64_t len)
{
	int n;

	do {
		n = madvise(r->host + at, len, MADV_POPULATE_WRITE);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n == 0)
		return 0;
	if (errno == EFAULT)	/* a touch would have raised SIGBUS: there was no page to be had */
		return -ENOSPC;
	if (errno != EINVAL)
		return -errno;
	do {
		n = fallocate(r->fd, 0, (off_t)(r->fd_offset + at), (off_t)len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void *run_share(void *arg)
{
	struct share *s = arg;
	uint64_t at = 0;

	while (at < s->part.size && s->result == 0) {
		uint64_t len = min_u64(s->part.size - at,
				       s->part.page_size > STEP ? s->part.page_size : STEP);

		s->result = populate(&s->part, at, len);
		at += len;
	}
	return NULL;
}

/* As many as asked for, but none with less than a step or a page of work. */
static unsigned count_threads(const struct prealloc_range *r, unsigned threads)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t shares = r->size / (r->page_size > STEP ? r->page_size : STEP);

	if (threads == 0)
		threads = cpus < 1 ? 1 : (unsigned)min_u64((uint64_t)cpus, THREADS_DEFAULT_MAX);
	threads = (unsigned)min_u64(threads, THREADS_MAX);
	return shares < 1 ? 1 : (unsigned)min_u64(threads, shares);
}

int prealloc_range(const struct prealloc_range *r, unsigned threads, struct err *e)
{
	struct share shares[THREADS_MAX];
	unsigned count = count_threads(r, threads);
	uint64_t each = align_up(r->size / count, r->page_size);
	int result = 0;
	char buf[24];

	for (unsigned i = 0; i < count; i++) {
		uint64_t at = min_u64(i * each, r->size);

		shares[i] = (struct share){ .part = *r };
		shares[i].part.host += at;
		shares[i].part.fd_offset += at;
		shares[i].part.size = i == count - 1 ? r->size - at : min_u64(each, r->size - at);
		/* The last share, and one that gets no thread, is done right here. */
		shares[i].started = i < count - 1 &&
			pthread_create(&shares[i].thread, NULL, run_share, &shares[i]) == 0;
		if (!shares[i].started)
			run_share(&shares[i]);
	}
	for (unsigned i = 0; i < count; i++) {
		if (shares[i].started)
			pthread_join(shares[i].thread, NULL);
		if (result == 0)
			result = shares[i].result;
	}
	if (result == 0)
		return 0;
	return err_set(
		e, result,
		"guest RAM: prealloc=on: %s cannot all be allocated (%s); give the host more "
		"memory (or huge pages, or a larger /dev/shm), or the guest less",
		size_format(r->size, buf), strerror(-result));
}
