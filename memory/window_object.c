/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/window_object.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "memory/hugetlb.h"
#include "memory/window.h"

enum { BUCKETS = 256 };

/* Of the descriptors that this process may have, those below this number are for objects. */
static unsigned fds_for_objects(void)
{
	struct rlimit l;
	uint64_t most = getrlimit(RLIMIT_NOFILE, &l) ? 0 : min_u64(l.rlim_cur, UINT32_MAX);

	return (unsigned)(most - min_u64(most / 8, WINDOW_FDS_LEFT));
}

int window_objects_init(struct window_objects *t)
{
	*t = (struct window_objects){ .fds = fds_for_objects() };
	t->buckets = calloc(BUCKETS, sizeof(struct window_object *));
	return t->buckets ? 0 : -ENOMEM;
}

void window_objects_fini(struct window_objects *t)
{
	free(t->buckets);
	t->buckets = NULL;
}

static unsigned bucket_of(dev_t dev, ino_t ino)
{
	return (unsigned)((((uint64_t)ino ^ (uint64_t)dev) * UINT64_C(0x9e3779b97f4a7c15)) >> 56);
}

static struct window_object **find(const struct window_objects *t, dev_t dev, ino_t ino)
{
	struct window_object **o = &t->buckets[bucket_of(dev, ino)];

	while (*o && ((*o)->ino != ino || (*o)->dev != dev))
		o = &(*o)->next;
	return o;
}

/* Memory that no one but its mappings may touch, not even KVM for the guest: memfd_secret(2). */
static bool is_secret(int fd)
{
	struct statfs s;

	return fstatfs(fd, &s) == 0 && s.f_type == SECRETMEM_MAGIC;
}

int window_object_check(const struct window_objects *t, int fd, const struct window_mapping *m,
			struct stat *ret_st, uint64_t *ret_page, struct err *e)
{
	const struct window_object *known;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, -EBADF, "the mapping came without a usable fd");
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL,
			       "the fd of the mapping is not a regular file or shared memory");
	known = *find(t, st.st_dev, st.st_ino);
	if (!known && is_secret(fd))
		return err_set(e, -EINVAL, "the fd of the mapping is secret memory, which no guest can use");
	if (known)
		page = known->page;
	else
		hugetlb_is(fd, &page);
	if ((m->offset | m->fd_offset | m->len) & (page - 1))
		return err_set(e, -EINVAL,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64 " of file offset 0x%" PRIx64
			       " is not aligned to pages of %" PRIu64 " bytes",
			       m->offset, m->len, m->fd_offset, page);
	if (!range_ok(m->fd_offset, m->len, align_up((uint64_t)st.st_size, page)))
		return err_set(e, -EINVAL,
			       "the mapping of file offset 0x%" PRIx64 "+0x%" PRIx64
			       " is beyond the file's end, 0x%" PRIx64,
			       m->fd_offset, m->len, (uint64_t)st.st_size);
	*ret_st = st;
	*ret_page = page;
	return 0;
}

/* A descriptor of our own of @fd's file, or -1 with errno: never one of those kept for others. */
static int keep_fd(const struct window_objects *t, int fd)
{
	int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (kept < 0 || (unsigned)kept < t->fds)
		return kept;
	close(kept);
	errno = EMFILE;
	return -1;
}

struct window_object *window_object_use(struct window_objects *t, struct window_mapping *m, int fd,
					const struct stat *st, uint64_t page)
{
	struct window_object **at = find(t, st->st_dev, st->st_ino), *o = *at;

	if (!o) {
		o = malloc(sizeof(*o));
		if (!o)
			return NULL;
		*o = (struct window_object){ .dev = st->st_dev, .ino = st->st_ino, .page = page };
		o->fd = keep_fd(t, fd);
		if (o->fd < 0) {
			free(o);
			return NULL;
		}
		*at = o;
	}
	if (o->size < (uint64_t)st->st_size)
		o->size = (uint64_t)st->st_size;
	m->next = o->mappings;
	m->link = &o->mappings;
	if (m->next)
		m->next->link = &m->next;
	o->mappings = m;
	return o;
}

/* What it has may be the descriptor of a mapping that was read-only. */
void window_object_writable(const struct window_objects *t, const struct window_mapping *m, int fd)
{
	struct window_object *o = m->object;
	int writable;

	if (o->rw)
		return;
	if (!o->mappings->next) {
		o->rw = true;
		return;
	}
	writable = keep_fd(t, fd);
	if (writable < 0)
		return;
	fd_close(&o->fd);
	o->fd = writable;
	o->rw = true;
}

void window_object_drop(struct window_objects *t, struct window_mapping *m)
{
	struct window_object *o = m->object;

	*m->link = m->next;
	if (m->next)
		m->next->link = m->link;
	if (o->mappings)
		return;
	*find(t, o->dev, o->ino) = o->next;
	fd_close(&o->fd);
	free(o);
}

struct window_object *window_object_next(const struct window_objects *t,
					 const struct window_object *o)
{
	unsigned i = o ? bucket_of(o->dev, o->ino) + 1 : 0;

	if (o && o->next)
		return o->next;
	while (i < BUCKETS && !t->buckets[i])
		i++;
	return i < BUCKETS ? t->buckets[i] : NULL;
}

/* What a file system says it has left is not to the block what it can give: others take it, and it
 * needs some for itself. */
#define ROOM_MIN MIB(1)

static enum window_room room_of(const struct window_object *o)
{
	struct statfs f;
	struct stat st;

	/* Huge pages were reserved for the mapping. */
	if (o->page != (uint64_t)sysconf(_SC_PAGESIZE) || fstatfs(o->fd, &f) < 0)
		return WINDOW_HAS_ROOM;
	if (!o->rw && f.f_type != TMPFS_MAGIC) /* what the guest writes is not the object's */
		return WINDOW_HAS_ROOM;
	if (f.f_blocks == 0 || (uint64_t)f.f_bavail * (uint64_t)f.f_frsize >= ROOM_MIN)
		return WINDOW_HAS_ROOM;
	if (fstat(o->fd, &st) < 0)
		return WINDOW_HAS_ROOM;
	return st.st_blocks * 512 < st.st_size ? WINDOW_LACKS : WINDOW_FULL;
}

enum window_room window_objects_room(const struct window_objects *t)
{
	enum window_room least = WINDOW_HAS_ROOM;
	const struct window_object *o = NULL;

	while (least != WINDOW_LACKS && (o = window_object_next(t, o)) != NULL) {
		enum window_room room = room_of(o);

		if (room > least)
			least = room;
	}
	return least;
}
