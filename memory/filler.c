/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/filler.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keyval.h"
#include "base/range.h"
#include "memory/area.h"

/* A piece, unless more or less is asked for: a mapping takes the place of few. Filler of a window
 * that is no larger is private pages. */
#define PIECE	MIB(64)

/* Areas: so many unless what it may cost asks for more. */
enum { PIECES = 1024, PIECES_MAX = 8192 };

/* Leaves most of what the window may cost to read-only mappings, if that takes few areas. */
static uint64_t choose_piece(uint64_t size, uint64_t most)
{
	uint64_t piece = PIECE, page = (uint64_t)sysconf(_SC_PAGESIZE);

	while (size / piece > PIECES && 2 * piece <= most)
		piece *= 2;
	while (size / piece > PIECES_MAX)
		piece *= 2;
	while (piece > most / 8 && piece > MIB(2) && size / piece <= PIECES / 2)
		piece /= 2;
	while (piece > most && piece > page && size / piece <= PIECES_MAX / 2)
		piece /= 2;
	return piece;
}

int filler_init(struct filler *f, uint64_t size, uint64_t most, struct err *e)
{
	char needed[24], limit[24];

	*f = (struct filler){ .fd = -1, .piece = size };
	if (size <= min_u64(most, PIECE))
		return 0;
	f->piece = choose_piece(size, most);
	if (f->piece > most)
		return err_set(e, -E2BIG, "what lies where nothing is mapped takes %s of the host's memory,"
			       " more than %s; allow that with window-idle-max=",
			       size_format(f->piece, needed), size_format(most, limit));
	f->fd = memfd_create("minivmm-filler", MFD_CLOEXEC);
	if (f->fd < 0 || ftruncate(f->fd, (off_t)f->piece) < 0) {
		int r = err_sys(e, "memory for where nothing is mapped");

		filler_fini(f);
		return r;
	}
	return 0;
}

void filler_fini(struct filler *f)
{
	fd_close(&f->fd);
}

unsigned filler_areas(const struct filler *f, uint64_t size)
{
	return (unsigned)((size - 1) / f->piece + 1);
}

/* For [offset, offset + len), which lies in one piece. @fixed: MAP_FIXED, or 0: @to is a hint. */
static void *map_piece(const struct filler *f, void *to, int fixed, uint64_t offset, uint64_t len)
{
	void *at;

	if (f->fd < 0)
		at = mmap(to, len, PROT_READ | PROT_WRITE,
			  fixed | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	else
		at = mmap(to, len, PROT_READ | PROT_WRITE, fixed | MAP_SHARED, f->fd,
			  (off_t)(offset % f->piece));
	if (at != MAP_FAILED)
		madvise(at, len, MADV_DONTDUMP);	/* a failure only makes a core larger */
	return at;
}

/* Up to the end of the piece that @offset lies in, at most @len. */
static uint64_t piece_len(const struct filler *f, uint64_t offset, uint64_t len)
{
	return f->fd < 0 ? len : min_u64(len, f->piece - offset % f->piece);
}

int filler_lay(const struct filler *f, uint8_t *host, uint64_t size)
{
	for (uint64_t at = 0, len; at < size; at += len) {
		len = piece_len(f, at, size - at);
		if (map_piece(f, host + at, MAP_FIXED, at, len) == MAP_FAILED)
			return -errno;
	}
	return 0;
}

int filler_cover(const struct filler *f, uint8_t *host, uint64_t offset, uint64_t len)
{
	for (uint64_t done = 0, part; done < len; done += part) {
		uint8_t *to = host + offset + done;
		void *from;
		int r;

		part = piece_len(f, offset + done, len - done);
		from = map_piece(f, area_stage(to), 0, offset + done, part);
		r = from == MAP_FAILED ? -errno : area_move(from, to, part);
		if (r)
			return r;
	}
	return 0;
}

int filler_empty(const struct filler *f)
{
	if (f->fd >= 0 && fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				    (off_t)f->piece) < 0)
		return -errno;
	return 0;
}

int filler_zeros(uint8_t *at, uint64_t len)
{
	const struct filler zeros = { .fd = -1, .piece = len };

	if (filler_cover(&zeros, at, 0, len) == 0)
		return 0;
	/* The process may have no area left to work with elsewhere. This one takes the place of one
	 * or more. */
	return map_piece(&zeros, at, MAP_FIXED, 0, len) == MAP_FAILED ? -errno : 0;
}
