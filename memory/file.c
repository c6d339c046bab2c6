/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RAM as a file: one that exists (never resized), one made for the purpose (it stays), or one
 * without a name in a directory, which is how a hugetlbfs mount is used.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keyval.h"
#include "base/range.h"
#include "memory/backend.h"
#include "memory/hugetlb.h"

/* Non-blocking, so that what turns out to be a pipe or a device makes nobody wait. */
enum { OPEN_FLAGS = O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

/* *@ret_fresh: the file is new, its size ours to set; b->created: it is new and has a name. */
static int open_path(const struct mem_options *o, int *ret_fd, bool *ret_fresh,
		     struct mem_backing *b, struct err *e)
{
	int fd = open(o->path, OPEN_FLAGS);

	if (fd < 0 && errno == EISDIR) {
		*ret_fresh = true;
		fd = open(o->path, OPEN_FLAGS | O_TMPFILE, 0);
		if (fd < 0)
			return err_sys(e,
				       "guest RAM: %s is a directory in which no unnamed file can "
				       "be made; give path= a file",
				       o->path);
	} else if (fd < 0 && errno == ENOENT) {
		fd = open(o->path, OPEN_FLAGS | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR);
		*ret_fresh = b->created = fd >= 0;
	}
	if (fd < 0)
		return err_sys(e, "guest RAM: cannot open the file %s for reading and writing",
			       o->path);
	*ret_fd = fd;
	return 0;
}

static int check_old_size(const struct mem_options *o, const struct stat *st, uint64_t size,
			  struct err *e)
{
	char have[24], need[24];

	if ((uint64_t)st->st_size >= size)
		return 0;
	return err_set(
		e, -EINVAL,
		"guest RAM: the file %s has %s, offset and --memory need %s; a file that exists "
		"is never resized: enlarge it (truncate -s %s) or give the guest less",
		o->path, size_format((uint64_t)st->st_size, have), size_format(size, need), need);
}

static int give_new_size(const struct mem_options *o, int fd, uint64_t size, struct err *e)
{
	int r = mem_backend_check_fsize(size, e);
	char buf[24];

	if (r)
		return r;
	if (ftruncate(fd, (off_t)size) < 0)
		return err_sys(e, "guest RAM: cannot give %s the size %s", o->path,
			       size_format(size, buf));
	return 0;
}

static int settle(const struct mem_options *o, int fd, bool fresh, uint64_t ram,
		  struct mem_backing *b, struct err *e)
{
	uint64_t size = o->offset + ram, present;
	struct stat st;
	bool huge;
	int r;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "guest RAM: %s", o->path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "guest RAM: %s is not a regular file", o->path);
	b->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	huge = hugetlb_is(fd, &b->page_size);
	b->kind = huge ? "file (hugetlb)" : "file";
	if (o->offset % b->page_size)
		return err_set(e, -EINVAL,
			       "guest RAM: offset must be a multiple of the %u KiB pages of %s",
			       (unsigned)(b->page_size / 1024), o->path);
	r = mem_backend_check_pages(&ram, 1, b->page_size, e);
	r = r ? r : fresh ? give_new_size(o, fd, size, e) : check_old_size(o, &st, size, e);
	present = (uint64_t)st.st_blocks * 512;
	if (r || !huge || present >= ram)
		return r;
	return hugetlb_check(b->page_size, ram - present, e);
}

int mem_file_create(const struct mem_options *o, const uint64_t *sizes, unsigned count,
		    int *ret_fds, struct mem_backing *b, struct err *e)
{
	autoclose int fd = -1;
	bool fresh = false;
	uint64_t end;
	int r;

	(void)count;	/* is_one_object */
	if (__builtin_add_overflow(o->offset, sizes[0], &end) || end > INT64_MAX)
		return err_set(
			e, -EINVAL,
			"guest RAM: offset and --memory together are larger than a file can be");
	r = open_path(o, &fd, &fresh, b, e);
	if (r)
		return r;
	r = settle(o, fd, fresh, sizes[0], b, e);
	if (r) {
		if (b->created)
			unlink(o->path);
		b->created = false;
		return r;
	}
	ret_fds[0] = fd_take(&fd);
	return 0;
}
