/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "minivmm_config.h"
#include "vmm/siphash.h"

#if HAVE_ZSTD
#include <zstd.h>
#endif
#if HAVE_LZ4
#include <lz4.h>
#endif
#if HAVE_XZ
#include <lzma.h>
#endif
#if HAVE_GZIP
#include <zlib.h>
#endif

/* No kernel unpacks to more; a size beyond is a damaged file. */
#define UNPACK_SIZE_MAX MIB(512)

struct bytes {
	const uint8_t *data;
	size_t len;
};

/*
 * A decompressor fills exactly @size bytes of @out from a stream at the beginning of @in (what is
 * behind the stream is ignored) and returns whether it could.
 */
struct unpack_format {
	const char *name;
	const char *magic;
	size_t magic_len;
	bool (*unpack)(struct bytes in, uint8_t *out, size_t size);
};

#if HAVE_ZSTD
static bool unpack_zstd(struct bytes in, uint8_t *out, size_t size)
{
	size_t frame = ZSTD_findFrameCompressedSize(in.data, in.len);

	return !ZSTD_isError(frame) && ZSTD_decompress(out, size, in.data, frame) == size;
}
#else
#define unpack_zstd NULL
#endif

#if HAVE_LZ4
/* The legacy frame: a magic number, then blocks of at most 8 MiB, each after its packed size. */
static bool unpack_lz4(struct bytes in, uint8_t *out, size_t size)
{
	enum { BLOCK_MAX = 8 << 20 };
	size_t at = 4, done = 0;

	while (done < size) {
		uint32_t block;
		int n;

		if (!range_ok(at, sizeof(block), in.len))
			return false;
		memcpy(&block, in.data + at, sizeof(block));
		at += sizeof(block);
		if (block == 0 || block > INT_MAX || !range_ok(at, block, in.len))
			return false;
		n = LZ4_decompress_safe((const char *)in.data + at, (char *)out + done, (int)block,
					(int)min_u64(size - done, BLOCK_MAX));
		if (n <= 0)
			return false;
		at += block;
		done += (size_t)n;
	}
	return true;
}
#else
#define unpack_lz4 NULL
#endif

#if HAVE_XZ
static bool unpack_xz(struct bytes in, uint8_t *out, size_t size)
{
	uint64_t memory = MIB(256);
	size_t in_at = 0, out_at = 0;

	return lzma_stream_buffer_decode(&memory, 0, NULL, in.data, &in_at, in.len, out, &out_at,
					 size) == LZMA_OK &&
	       out_at == size;
}
#else
#define unpack_xz NULL
#endif

#if HAVE_GZIP
static bool unpack_gzip(struct bytes in, uint8_t *out, size_t size)
{
	z_stream z = { .next_in = (uint8_t *)in.data, .avail_in = (uInt)in.len,
		       .next_out = out, .avail_out = (uInt)size };
	bool ok;

	if (inflateInit2(&z, 15 + 16) != Z_OK)
		return false;
	ok = inflate(&z, Z_FINISH) == Z_STREAM_END && z.total_out == size;
	inflateEnd(&z);
	return ok;
}
#else
#define unpack_gzip NULL
#endif

static const struct unpack_format formats[] = {
	{ "zstd", "\x28\xb5\x2f\xfd", 4, unpack_zstd },
	{ "lz4", "\x02\x21\x4c\x18", 4, unpack_lz4 },
	{ "xz", "\xfd\x37zXZ", 6, unpack_xz },
	{ "gzip", "\x1f\x8b", 2, unpack_gzip },
	{ "bzip2", "BZh", 3, NULL },
	{ "lzma", "\x5d\x00\x00", 3, NULL },
	{ "lzo", "\x89LZO", 4, NULL },
};

static const struct unpack_format *format_of(struct bytes in)
{
	for (const struct unpack_format *f = formats; f < formats + ARRAY_SIZE(formats); f++)
		if (in.len >= f->magic_len && !memcmp(in.data, f->magic, f->magic_len))
			return f;
	return NULL;
}

/* The cache */

enum { CACHE_NAME = sizeof("vmlinux-") + 2 * SIPHASH_BYTES };

struct cache {
	int dir;			/* -1: there is none */
	uint8_t key[SIPHASH_KEY];
	char name[CACHE_NAME];
};

/* Behind the kernel in an entry. */
struct trailer {
	char magic[16];
	uint64_t size;			/* of the kernel */
	int64_t mtime;			/* the file's, in whole seconds */
};

static const char trailer_magic[16] = "minivmm-kernel-1";

static bool ours_alone(const struct stat *st, mode_t type)
{
	return (st->st_mode & S_IFMT) == type && st->st_uid == geteuid() &&
	       !(st->st_mode & (S_IWGRP | S_IWOTH));
}

/* $XDG_CACHE_HOME, which must be absolute (XDG base directory specification), or ~/.cache. */
static bool cache_path(char *path, size_t size, const char *tail)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	if (xdg && xdg[0] == '/')
		n = snprintf(path, size, "%s%s", xdg, tail);
	else if (home && home[0] == '/')
		n = snprintf(path, size, "%s/.cache%s", home, tail);
	else
		return false;
	return n > 0 && (size_t)n < size;
}

static int cache_open_dir(void)
{
	char path[PATH_MAX];
	struct stat st;

	if (!cache_path(path, sizeof(path), ""))
		return -1;
	mkdir(path, 0700);
	if (!cache_path(path, sizeof(path), "/minivmm"))
		return -1;
	mkdir(path, 0700);

	autoclose int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || fstat(dir, &st) < 0 || !ours_alone(&st, S_IFDIR))
		return -1;
	return fd_take(&dir);
}

/* Reads the directory's key, or makes one. A short file is what a crash left: it is made again. */
static bool cache_read_key(struct cache *c)
{
	struct stat st;
	autoclose int fd = openat(c->dir, "key", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		if (!fstat(fd, &st) && ours_alone(&st, S_IFREG) && !(st.st_mode & 077) &&
		    !fd_pread_all(fd, c->key, sizeof(c->key), 0))
			return true;
	fd_close(&fd);
	if (getrandom(c->key, sizeof(c->key), 0) != sizeof(c->key))
		return false;
	unlinkat(c->dir, "key", 0);
	fd = openat(c->dir, "key", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd >= 0 && !fd_write_all(fd, c->key, sizeof(c->key));
}

/* Hashes the payload and names the entry. The file may be large: by pieces, nothing is kept. */
static int cache_name(struct cache *c, int fd, uint64_t off, uint64_t len)
{
	enum { PIECE = 64 << 10 };
	uint8_t hash[SIPHASH_BYTES], piece[PIECE];
	struct siphash h;
	size_t at = (size_t)snprintf(c->name, sizeof(c->name), "vmlinux-");

	siphash_init(&h, c->key, 1, 3);
	for (;;) {
		size_t n = (size_t)min_u64(len, PIECE);
		int r = fd_pread_all(fd, piece, n, (off_t)off);

		if (r < 0)
			return r;
		off += n;
		len -= n;
		if (len == 0) {
			siphash_final(&h, piece, n, hash);
			break;
		}
		siphash_update(&h, piece, n);
	}
	for (size_t i = 0; i < sizeof(hash); i++)
		at += (size_t)snprintf(c->name + at, sizeof(c->name) - at, "%02x", hash[i]);
	return 0;
}

/* An fd of the entry and its kernel's size, or -1. */
static int cache_lookup(const struct cache *c, uint64_t size)
{
	autoclose int fd = openat(c->dir, c->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct trailer t;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !ours_alone(&st, S_IFREG) ||
	    st.st_size != (off_t)(size + sizeof(t)) ||
	    fd_pread_all(fd, &t, sizeof(t), (off_t)size) < 0)
		return -1;
	if (memcmp(t.magic, trailer_magic, sizeof(t.magic)) || t.size != size ||
	    t.mtime != st.st_mtim.tv_sec || st.st_mtim.tv_nsec != 0)
		return -1;
	return fd_take(&fd);
}

static bool cache_write(int fd, const uint8_t *kernel, uint64_t size)
{
	struct timespec now, seal[2];
	struct trailer t = { .size = size };

	if (clock_gettime(CLOCK_REALTIME, &now) < 0)
		return false;
	memcpy(t.magic, trailer_magic, sizeof(t.magic));
	t.mtime = now.tv_sec;
	seal[0] = seal[1] = (struct timespec){ .tv_sec = now.tv_sec };
	return !fd_write_all(fd, kernel, size) && !fd_write_all(fd, &t, sizeof(t)) &&
	       !futimens(fd, seal) && !fsync(fd);
}

/* Removes the oldest entry while there are too many. */
static void cache_prune(const struct cache *c)
{
	for (;;) {
		char oldest[NAME_MAX + 1] = "";
		struct timespec when = { 0 };
		unsigned count = 0;
		int fd = openat(c->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		DIR *d = fd < 0 ? NULL : fdopendir(fd);
		struct stat st;

		if (!d) {
			fd_close(&fd);
			return;
		}
		for (struct dirent *de; (de = readdir(d));) {
			if (strncmp(de->d_name, "vmlinux-", 8) ||
			    strlen(de->d_name) != CACHE_NAME - 1 ||
			    fstatat(c->dir, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
				continue;
			if (count++ == 0 || st.st_mtim.tv_sec < when.tv_sec) {
				when = st.st_mtim;
				snprintf(oldest, sizeof(oldest), "%s", de->d_name);
			}
		}
		closedir(d);
		if (count <= UNPACK_CACHE_KEEP || unlinkat(c->dir, oldest, 0) < 0)
			return;
	}
}

/*
 * Adds the entry. Two writers of one kernel meet at the temporary name, which both lock: the second
 * finds it locked, or renamed away, and leaves it. What a killed writer left is written again.
 */
static void cache_store(const struct cache *c, const uint8_t *kernel, uint64_t size)
{
	char temporary[CACHE_NAME + 4];
	struct stat mine, named;

	snprintf(temporary, sizeof(temporary), "%s.tmp", c->name);

	autoclose int fd =
		openat(c->dir, temporary, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &mine) < 0 ||
	    !ours_alone(&mine, S_IFREG) ||
	    fstatat(c->dir, temporary, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
	    mine.st_ino != named.st_ino || mine.st_dev != named.st_dev)
		return;
	if (ftruncate(fd, 0) < 0 || !cache_write(fd, kernel, size) ||
	    renameat(c->dir, temporary, c->dir, c->name) < 0) {
		unlinkat(c->dir, temporary, 0);
		return;
	}
	cache_prune(c);
}

/* Unpacking */

/* Reads the payload and unpacks it into @out. */
static int unpack_into(int fd, uint64_t off, uint64_t len, const struct unpack_format *f,
		       uint8_t *out, uint64_t size, struct err *e)
{
	uint8_t *in = malloc(len);
	int r;

	if (!in)
		return err_set(e, -ENOMEM, "no memory for the packed kernel");
	r = fd_pread_all(fd, in, len, (off_t)off);
	if (r < 0)
		err_set(e, r, "the packed kernel cannot be read: %s", strerror(-r));
	else if (!f->unpack((struct bytes){ in, len }, out, size))
		r = err_set(e, -EBADMSG, "its %s payload is damaged", f->name);
	free(in);
	return r;
}

/* Unpacks into a memfd, gives the cache a copy, and prefers that: it is no memory of ours. */
static int unpack_new(int fd, uint64_t off, uint64_t len, const struct unpack_format *f,
		      const struct cache *c, struct unpacked *ret, struct err *e)
{
	autoclose int kernel = memfd_create("minivmm-kernel", MFD_CLOEXEC);
	uint64_t size = ret->size;
	uint8_t *map;
	int r, entry;

	if (kernel < 0 || ftruncate(kernel, (off_t)size) < 0)
		return err_sys(e, "no memory for the unpacked kernel");
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, kernel, 0);
	if (map == MAP_FAILED)
		return err_sys(e, "no memory for the unpacked kernel");
	r = unpack_into(fd, off, len, f, map, size, e);
	if (r == 0 && c->dir >= 0)
		cache_store(c, map, size);
	munmap(map, size);
	if (r < 0)
		return r;
	entry = c->dir >= 0 ? cache_lookup(c, size) : -1;
	ret->fd = entry >= 0 ? entry : fd_take(&kernel);
	return 0;
}

/* Looks at both ends of the payload: what it is, and how much is in it. */
static int unpack_probe(int fd, uint64_t off, uint64_t len, const struct unpack_format **ret_format,
			uint64_t *ret_size, struct err *e)
{
	const struct unpack_format *f;
	uint8_t head[8];
	uint32_t size;

	if (len < sizeof(head) + sizeof(size) || len > UNPACK_SIZE_MAX)
		return err_set(e, -EBADMSG, "its payload is 0x%" PRIx64 " bytes, which no kernel is",
			       len);
	if (fd_pread_all(fd, head, sizeof(head), (off_t)off) < 0 ||
	    fd_pread_all(fd, &size, sizeof(size), (off_t)(off + len - sizeof(size))) < 0)
		return err_set(e, -EBADMSG, "its payload cannot be read: the file is cut off");
	f = format_of((struct bytes){ head, sizeof(head) });
	if (!f)
		return err_set(e, -ENOTSUP, "its payload is packed in no known format");
	if (!f->unpack)
		return err_set(e, -ENOTSUP, "this minivmm is built without %s", f->name);
	if (size == 0 || size > UNPACK_SIZE_MAX)
		return err_set(e, -EBADMSG, "its payload claims to unpack to %" PRIu32 " bytes", size);
	*ret_format = f;
	*ret_size = size;
	return 0;
}

int unpack_payload(int fd, uint64_t off, uint64_t len, struct unpacked *ret, struct err *e)
{
	const struct unpack_format *f = NULL;
	struct unpacked got = { .fd = -1 };
	struct cache c = { .dir = -1 };
	int r = unpack_probe(fd, off, len, &f, &got.size, e);

	if (r < 0)
		return r;
	got.format = f->name;
	c.dir = cache_open_dir();
	if (c.dir >= 0 && (!cache_read_key(&c) || cache_name(&c, fd, off, len) < 0))
		fd_close(&c.dir);
	if (c.dir < 0)
		log_debug("the cache of unpacked kernels cannot be used");
	else
		got.fd = cache_lookup(&c, got.size);
	got.cached = got.fd >= 0;
	if (!got.cached)
		r = unpack_new(fd, off, len, f, &c, &got, e);
	fd_close(&c.dir);
	if (r == 0)
		*ret = got;
	return r;
}
