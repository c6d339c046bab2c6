/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that a front end must refuse, sent past the library, which could not make them all. The
 * guest has SHMEM_REFUSED_LEN bytes mapped at SHMEM_REFUSED_AT and again right behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/bare/shmem_daemon.h"

enum { REPLY_MS = 20000 };
#define PAGE	((uint64_t)SHMEM_PAGE)
#define FILE_END (SHMEM_OBJECT_PAGES * PAGE)
#define HUGE	MIB(2)

enum what {
	OBJECT, READ_ONLY, WRITE_ONLY, DIRECTORY, PIPE, SOCKET, DEVICE, EMPTY_FILE, HUGE_PAGES,
};

struct refusal {
	const char *name;
	enum what what;			/* its fd is of */
	unsigned nfds;
	bool unmap;
	struct vu_mmap m;
};

#define MAP(name, what, nfds, ...) { name, what, nfds, false, { __VA_ARGS__ } }
#define UNMAP(name, nfds, ...) { name, OBJECT, nfds, true, { __VA_ARGS__ } }
#define AT(offset, bytes) .shmid = SHMEM_BIG, .shm_offset = (offset), .len = (bytes)
#define RW .flags = VU_SHMEM_RW
#define FREE AT(SHMEM_FREE_AT, 2 * PAGE), RW

static const struct refusal refusals[] = {
	MAP("no fd", OBJECT, 0, FREE),
	MAP("two fds", OBJECT, 2, FREE),
	MAP("eight fds", OBJECT, 8, FREE),
	MAP("no such region", OBJECT, 1, .shmid = 2, .len = PAGE, RW),
	MAP("a region beyond all", OBJECT, 1, .shmid = 254, .len = PAGE, RW),
	MAP("no bytes", OBJECT, 1, AT(SHMEM_FREE_AT, 0), RW),
	MAP("half a page", OBJECT, 1, AT(SHMEM_FREE_AT, PAGE / 2), RW),
	MAP("a misaligned place", OBJECT, 1, AT(SHMEM_FREE_AT + 8, PAGE), RW),
	MAP("a misaligned file offset", OBJECT, 1, AT(SHMEM_FREE_AT, PAGE), .fd_offset = 512, RW),
	MAP("a place that overflows", OBJECT, 1, AT(0 - PAGE, 2 * PAGE), RW),
	MAP("a length that overflows", OBJECT, 1, AT(SHMEM_FREE_AT, 0 - PAGE), RW),
	MAP("a file offset that overflows", OBJECT, 1, FREE, .fd_offset = 0 - PAGE),
	MAP("a negative file offset", OBJECT, 1, FREE, .fd_offset = BIT64(63)),
	MAP("behind the region", OBJECT, 1, AT(SHMEM_BIG_SIZE, PAGE), RW),
	MAP("across the region's end", OBJECT, 1, AT(SHMEM_BIG_SIZE - PAGE, 2 * PAGE), RW),
	MAP("more than a page's region", OBJECT, 1, .shmid = SHMEM_CONTROL, .len = 2 * PAGE, RW),
	MAP("where something is", OBJECT, 1, AT(SHMEM_REFUSED_AT, SHMEM_REFUSED_LEN), RW),
	MAP("within something", OBJECT, 1, AT(SHMEM_REFUSED_AT + PAGE, PAGE), RW),
	MAP("over the first page of something", OBJECT, 1, AT(SHMEM_REFUSED_AT - PAGE, 2 * PAGE), RW),
	MAP("over the last page of something", OBJECT, 1,
	    AT(SHMEM_REFUSED_AT + 2 * SHMEM_REFUSED_LEN - PAGE, 2 * PAGE), RW),
	MAP("over all of something", OBJECT, 1, AT(SHMEM_REFUSED_AT - PAGE, FILE_END), RW),
	MAP("an unknown flag", OBJECT, 1, AT(SHMEM_FREE_AT, PAGE), .flags = 2),
	MAP("an unknown flag beside RW", OBJECT, 1, AT(SHMEM_FREE_AT, PAGE), .flags = BIT64(63) | 1),
	MAP("bytes in its padding", OBJECT, 1, FREE, .padding = { [6] = 1 }),
	MAP("writable, of a read-only file", READ_ONLY, 1, FREE),
	MAP("of a write-only file", WRITE_ONLY, 1, FREE),
	MAP("read-only, of a write-only file", WRITE_ONLY, 1, AT(SHMEM_FREE_AT, PAGE)),
	MAP("a directory", DIRECTORY, 1, FREE),
	MAP("a pipe", PIPE, 1, FREE),
	MAP("a socket", SOCKET, 1, FREE),
	MAP("a device", DEVICE, 1, FREE),
	MAP("huge pages that are not there", HUGE_PAGES, 1, AT(SHMEM_FREE_AT, HUGE), RW),
	MAP("half a huge page", HUGE_PAGES, 1, AT(SHMEM_FREE_AT, PAGE), RW),
	MAP("behind the file's end", OBJECT, 1, FREE, .fd_offset = FILE_END),
	MAP("across the file's end", OBJECT, 1, FREE, .fd_offset = FILE_END - PAGE),
	MAP("an empty file", EMPTY_FILE, 1, AT(SHMEM_FREE_AT, PAGE), RW),
	UNMAP("what is not mapped", 0, AT(SHMEM_FREE_AT, PAGE)),
	UNMAP("half of a mapping", 0, AT(SHMEM_REFUSED_AT, SHMEM_REFUSED_LEN / 2)),
	UNMAP("the other half", 0,
	      AT(SHMEM_REFUSED_AT + SHMEM_REFUSED_LEN / 2, SHMEM_REFUSED_LEN / 2)),
	UNMAP("two mappings", 0, AT(SHMEM_REFUSED_AT, 2 * SHMEM_REFUSED_LEN)),
	UNMAP("more than a mapping", 0, AT(SHMEM_REFUSED_AT - PAGE, SHMEM_REFUSED_LEN + PAGE)),
	UNMAP("nothing of a mapping", 0, AT(SHMEM_REFUSED_AT, 0)),
	UNMAP("no such region", 0, .shmid = 2, .len = PAGE),
	UNMAP("of another region", 0, .shmid = SHMEM_MIDDLE, .len = SHMEM_REFUSED_LEN),
	UNMAP("with an fd", 1, AT(SHMEM_REFUSED_AT, SHMEM_REFUSED_LEN)),
};

static int again(const struct object *o, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", o->fd);
	return open(path, flags | O_CLOEXEC);
}

static int memory_file(unsigned flags, uint64_t size)
{
	int fd = memfd_create("shmem-daemon", MFD_CLOEXEC | flags);

	if (fd >= 0 && ftruncate(fd, (off_t)size))
		fd_close(&fd);
	return fd;
}

/* -1 where there are huge pages, as well as where no file may have them. */
static int huge_file(void)
{
	int fd = memory_file(MFD_HUGETLB, HUGE);
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, HUGE, PROT_READ, MAP_SHARED, fd, 0);

	if (at != MAP_FAILED) {
		munmap(at, HUGE);
		fd_close(&fd);
	}
	return fd;
}

/* One end of a pair is all that is wanted. */
static int half(int pair[2], int r)
{
	if (r)
		return -1;
	close(pair[1]);
	return pair[0];
}

static int open_fd(const struct shmem_daemon *d, enum what what)
{
	const struct object *o = &d->objects[2];
	int pair[2];

	switch (what) {
	case OBJECT:
		return again(o, O_RDWR);
	case READ_ONLY:
		return again(o, O_RDONLY);
	case WRITE_ONLY:
		return again(o, O_WRONLY);
	case DIRECTORY:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case PIPE:
		return half(pair, pipe2(pair, O_CLOEXEC));
	case SOCKET:
		return half(pair, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	case DEVICE:
		return open("/dev/zero", O_RDWR | O_CLOEXEC);
	case EMPTY_FILE:
		return memory_file(0, 0);
	case HUGE_PAGES:
		return huge_file();
	}
	return -1;
}

/* What is answered to @m; a fault when there is no answer. */
static int64_t answer_to(struct shmem_daemon *d, const struct vu_msg *m)
{
	struct vu_channel *back = &d->backend.back;
	struct pollfd p = { .fd = back->sock, .events = POLLIN };
	struct vu_msg got;
	struct err e;

	if (vu_channel_send(back, m) || vu_channel_pending(back))
		return -EIO;
	while (poll(&p, 1, REPLY_MS) > 0) {
		int r = vu_channel_recv(back, &got, &e);

		if (r < 0) {
			log_error("%s", e.msg);
			return r;
		}
		if (r)
			return got.payload.u64 ? SHMEM_REFUSED : SHMEM_OBEYED;
	}
	return -ETIMEDOUT;
}

int64_t shmem_refused(struct shmem_daemon *d, uint64_t n)
{
	const struct refusal *f = &refusals[n];
	struct vu_msg m = { .header = { 0, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY,
					sizeof(struct vu_mmap) } };
	autoclose int fd = -1;
	int64_t r;

	if (n >= ARRAY_SIZE(refusals))
		return SHMEM_NO_SUCH;
	m.header.request = f->unmap ? VU_BACKEND_SHMEM_UNMAP : VU_BACKEND_SHMEM_MAP;
	m.payload.mmap = f->m;
	fd = open_fd(d, f->what);
	if (fd < 0)
		return f->what == HUGE_PAGES ? SHMEM_IMPOSSIBLE : -errno;
	for (m.nfds = 0; m.nfds < f->nfds; m.nfds++)
		m.fds[m.nfds] = fd;
	r = answer_to(d, &m);
	if (r != SHMEM_REFUSED)
		log_error("%s of %s is not refused: %lld", f->unmap ? "UNMAP" : "MAP", f->name,
			  (long long)r);
	return r;
}
