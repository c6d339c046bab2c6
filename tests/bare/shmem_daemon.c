/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user daemon that has shared memory regions and maps into them what the guest asks for
 * through its only queue (shmem_protocol.h). Whatever it finds wrong by itself it says on standard
 * error, where run.py expects nothing.
 *
 *     shmem_daemon --fd=N [--many]
 */
#include "tests/bare/shmem_daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"

static uint64_t read_word(const struct object *o, uint64_t offset)
{
	uint64_t word = 0;

	if (pread(o->fd, &word, sizeof(word), (off_t)offset) != sizeof(word))
		log_error("an object cannot be read at its byte %llu", (unsigned long long)offset);
	return word;
}

static uint64_t changed_words(const struct shmem_daemon *d, const struct shmem_request *q)
{
	uint64_t page[SHMEM_WORDS], found = 0;
	const struct object *o = &d->objects[q->object];

	for (uint64_t at = q->fd_offset; at < q->fd_offset + q->len; at += SHMEM_PAGE) {
		if (fd_pread_all(o->fd, page, sizeof(page), (off_t)at))
			return UINT64_MAX;
		for (unsigned i = 0; i < SHMEM_WORDS; i++)
			found += page[i] != shmem_tag(q->object, at / SHMEM_PAGE);
	}
	return found;
}

/* 0, 1 when the front end refused, or a fault. */
static int64_t told(int r, const struct err *e)
{
	if (r && r != -EREMOTEIO)
		log_error("%s", e->msg);
	return r == -EREMOTEIO ? 1 : r;
}

static int64_t fill(struct shmem_daemon *d, uint64_t *ret)
{
	struct err e;
	int r = 0;

	for (d->filled = 0; !r; d->filled += !r) {
		struct vu_shmem_map m = { .shmid = SHMEM_BIG, .rw = true, .len = SHMEM_PAGE,
					  .shm_offset = SHMEM_FULL_AT +
							d->filled * (uint64_t)SHMEM_PAGE };

		r = backend_shmem_map(&d->backend, &m, d->objects[0].fd, &e);
	}
	*ret = d->filled;
	return told(r, &e) == 1 ? 0 : r;
}

static int64_t empty(struct shmem_daemon *d, uint64_t count, uint64_t *ret)
{
	struct err e;

	for (*ret = 0; d->filled && *ret < count; ++*ret) {
		struct vu_shmem_map m = { .shmid = SHMEM_BIG, .len = SHMEM_PAGE,
					  .shm_offset = SHMEM_FULL_AT + --d->filled *
							(uint64_t)SHMEM_PAGE };
		int r = backend_shmem_unmap(&d->backend, &m, &e);

		if (r)
			return told(r, &e);
	}
	return 0;
}

static int64_t obey(struct shmem_daemon *d, const struct shmem_request *q, uint64_t *ret)
{
	struct vu_shmem_map m = { .shmid = (uint8_t)q->shmid, .rw = q->rw, .len = q->len,
				  .fd_offset = q->fd_offset, .shm_offset = q->shm_offset };
	const struct object *o = &d->objects[q->object % SHMEM_OBJECTS];
	struct err e;

	switch ((enum shmem_op)q->op) {
	case SHMEM_OP_MAP:
		return told(backend_shmem_map(&d->backend, &m, o->fd, &e), &e);
	case SHMEM_OP_UNMAP:
		return told(backend_shmem_unmap(&d->backend, &m, &e), &e);
	case SHMEM_OP_CHANGED:
		*ret = changed_words(d, q);
		return 0;
	case SHMEM_OP_READ:
		*ret = read_word(o, q->fd_offset);
		return 0;
	case SHMEM_OP_WRITE:
		return pwrite(o->fd, &q->value, sizeof(q->value), (off_t)q->fd_offset) ==
		       sizeof(q->value) ? 0 : -EIO;
	case SHMEM_OP_TRUNCATE:
		return ftruncate(o->fd, (off_t)q->len) ? -errno : 0;
	case SHMEM_OP_REFUSED:
		return shmem_refused(d, q->value);
	case SHMEM_OP_FILL:
		return fill(d, ret);
	case SHMEM_OP_EMPTY:
		return empty(d, q->value, ret);
	case SHMEM_OP_SWAP:
		return shmem_swap(d, q->value, q->object);
	}
	return -EINVAL;
}

static bool handle_queue(void *arg, struct backend_queue *q)
{
	struct shmem_daemon *d = arg;

	while (backend_queue_pop(q, &d->chain)) {
		struct shmem_request request = { 0 };
		struct shmem_answer answer = { 0 };

		ring_chain_read(&d->chain, 0, &request, sizeof(request));
		answer.result = obey(d, &request, &answer.value);
		ring_chain_write(&d->chain, 0, &answer, sizeof(answer));
		backend_queue_push(q, d->chain.head, sizeof(answer));
	}
	return true;
}

static const struct backend_ops ops = { .handle_queue = handle_queue };

static uint64_t object_size(unsigned number)
{
	static const uint64_t swapped[SHMEM_SWAPS] = { 0x2000, 0x2000, 0x10000, 0x200000 };

	if (number >= SHMEM_SWAPPED && number < SHMEM_SWAPPED + SHMEM_SWAPS)
		return swapped[number - SHMEM_SWAPPED];
	if (number == SHMEM_STATE)
		return SHMEM_PAGE;
	return number == SHMEM_LARGE ? SHMEM_MIDDLE_SIZE : SHMEM_OBJECT_PAGES * SHMEM_PAGE;
}

static int make_object(struct object *o, unsigned number)
{
	uint64_t *words;

	o->size = object_size(number);
	o->fd = memfd_create("shmem-daemon", MFD_CLOEXEC);
	if (o->fd < 0 || ftruncate(o->fd, (off_t)o->size))
		return -errno;
	words = mmap(NULL, o->size, PROT_READ | PROT_WRITE, MAP_SHARED, o->fd, 0);
	if (words == MAP_FAILED)
		return -errno;
	for (uint64_t i = 0; number != SHMEM_STATE && i < o->size / 8; i++)
		words[i] = shmem_tag(number, i / SHMEM_WORDS);
	if (number >= SHMEM_SWAPPED)
		o->mem = words;
	else
		munmap(words, o->size);
	return 0;
}

static int set_up(struct shmem_daemon *d, int sock, bool many, struct err *e)
{
	struct backend_device dev = {
		.name = "shmem", .queues = 1, .ops = &ops, .arg = d,
		.shmem = { [SHMEM_CONTROL] = SHMEM_CONTROL_SIZE,
			   [SHMEM_MIDDLE] = SHMEM_MIDDLE_SIZE,
			   [SHMEM_BIG] = SHMEM_BIG_SIZE,
			   [SHMEM_MANY] = many ? SHMEM_MANY_SIZE : 0 },
	};
	int r = 0;

	for (unsigned i = 0; !r && i < SHMEM_OBJECTS; i++)
		r = make_object(&d->objects[i], i);
	if (r)
		return err_set(e, r, "its objects: %s", strerror(-r));
	for (unsigned i = 0; i < SHMEM_SWAPS; i++)
		memcpy(d->left[i], d->objects[SHMEM_SWAPPED + i].mem, SHMEM_PAGE);
	r = loop_init(&d->loop, NULL, e);
	r = r ? r : backend_init(&d->backend, &d->loop, &dev, e);
	return r ? r : backend_connect(&d->backend, &sock, e);
}

int main(int argc, char **argv)
{
	static struct shmem_daemon d;
	bool many = argc > 2 && !strcmp(argv[2], "--many");
	struct err e;

	log_setup("shmem_daemon", LOG_WARN);
	if (argc < 2 || strncmp(argv[1], "--fd=", 5)) {
		log_error("usage: shmem_daemon --fd=N [--many]");
		return 2;
	}
	if (set_up(&d, atoi(argv[1] + 5), many, &e)) {
		log_error("%s", e.msg);
		return 1;
	}
	loop_run(&d.loop);
	backend_fini(&d.backend);
	loop_fini(&d.loop);
	return 0;
}
