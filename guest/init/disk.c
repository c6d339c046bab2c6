/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verbs that prove that a disk works: known files are read and compared, a stream that both sides
 * can compute is written through the file system.
 */
#include "sha256.h"
#include "sys.h"
#include "text.h"
#include "verb.h"

#define MANIFEST "/data/manifest"
#define WRITTEN	 "/data/written"
#define DISK	 "/dev/vda"
#define CHUNK	 65536

/* Aligned for O_DIRECT */
static _Alignas(4096) uint8_t chunk[CHUNK], expected[CHUNK];

struct stream {
	uint64_t state;
	uint64_t left;
};

/* SplitMix64: any seed gives a stream without patterns that a disk or cache could shorten */
static uint64_t stream_word(struct stream *s)
{
	uint64_t z = s->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* Fills buf (CHUNK bytes) and returns how much of it still belongs to the stream */
static size_t stream_next(struct stream *s, uint8_t *buf)
{
	size_t n = s->left < CHUNK ? (size_t)s->left : CHUNK;

	for (size_t i = 0; i < n; i += 8) {
		uint64_t word = stream_word(s);

		memcpy(buf + i, &word, 8);
	}
	s->left -= n;
	return n;
}

/* SIZE[,SEED] */
static int parse_stream(const struct call *c, struct stream *ret_stream)
{
	const char *p = c->value;
	struct stream s = { .state = 1 };

	if (!text_number(&p, &s.left) || (*p == ',' && (p++, !text_number(&p, &s.state))) || *p)
		return verb_fail(c, "'%s' is not SIZE[,SEED]", c->value);
	*ret_stream = s;
	return 0;
}

static int write_all(int fd, const uint8_t *p, size_t len)
{
	while (len) {
		long n = sys_write(fd, p, len);

		if (n <= 0)
			return n ? (int)n : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Reads until the buffer is full or the file ends */
static long read_all(int fd, uint8_t *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		long n = sys_read(fd, buf + got, len - got);

		if (n < 0)
			return n;
		if (!n)
			break;
		got += (size_t)n;
	}
	return (long)got;
}

static int hash_file(const char *path, char *hex, uint64_t *ret_size)
{
	struct sha256 h;
	int fd = sys_open(path, O_RDONLY);
	long n;

	if (fd < 0)
		return fd;
	sha256_init(&h);
	while ((n = sys_read(fd, chunk, CHUNK)) > 0)
		sha256_add(&h, chunk, (size_t)n);
	sys_close(fd);
	if (n < 0)
		return (int)n;
	*ret_size = h.bytes;
	sha256_hex(&h, hex);
	return 0;
}

/* One line of the manifest: 64 hexadecimal digits, two spaces, a name below /data */
static int verify_line(const struct call *c, const char *line, uint64_t *size)
{
	char path[256], hex[SHA256_HEX];
	int err;

	if (strlen(line) < SHA256_HEX + 1 || line[64] != ' ')
		return verb_fail(c, "a line of " MANIFEST " is not HASH  NAME: %s", line);
	text_format(path, sizeof(path), "/data/%s", line + SHA256_HEX + 1);
	err = hash_file(path, hex, size);
	if (err)
		return verb_fail(c, "%s: %e", path, err);
	if (memcmp(hex, line, 64))
		return verb_fail(c, "%s has hash %s, the manifest another", path, hex);
	return 0;
}

static int verify(const struct call *c)
{
	static char manifest[16384];
	int fd = sys_open(MANIFEST, O_RDONLY);
	unsigned long files = 0;
	uint64_t bytes = 0, size;
	char *line, *end;
	long n;

	if (fd < 0)
		return verb_fail(c, MANIFEST ": %e", fd);
	n = read_all(fd, (uint8_t *)manifest, sizeof(manifest) - 1);
	sys_close(fd);
	if (n < 0)
		return verb_fail(c, MANIFEST ": %e", (int)n);
	manifest[n] = 0;

	for (line = manifest; *line; line = end + 1) {
		for (end = line; *end && *end != '\n'; end++)
			;
		if (!*end)
			return verb_fail(c, MANIFEST " is cut off");
		*end = 0;
		if (verify_line(c, line, &size))
			return -1;
		files++;
		bytes += size;
	}
	if (!files)
		return verb_fail(c, MANIFEST " names no file");
	verb_say(c, "%u files, %u bytes", files, bytes);
	return 0;
}

static int write_stream(const struct call *c)
{
	char hex[SHA256_HEX];
	struct sha256 h;
	struct stream s;
	int fd, err = 0;
	size_t n;

	if (parse_stream(c, &s))
		return -1;
	fd = sys_open(WRITTEN, O_WRONLY | O_CREAT | O_TRUNC);
	if (fd < 0)
		return verb_fail(c, WRITTEN ": %e", fd);
	sha256_init(&h);
	while (!err && (n = stream_next(&s, chunk))) {
		sha256_add(&h, chunk, n);
		err = write_all(fd, chunk, n);
	}
	if (!err)
		err = (int)SYS(__NR_fsync, fd);
	sys_close(fd);
	if (err)
		return verb_fail(c, WRITTEN ": %e", err);
	n = h.bytes;
	sha256_hex(&h, hex);
	verb_say(c, "%u bytes, sha256 %s", n, hex);
	return 0;
}

static int check_written(const struct call *c)
{
	struct stream s;
	uint64_t done = 0;
	long got = 0;
	size_t n = 0;
	int fd;

	if (parse_stream(c, &s))
		return -1;
	fd = sys_open(WRITTEN, O_RDONLY);
	if (fd < 0)
		return verb_fail(c, WRITTEN ": %e", fd);
	do {
		n = stream_next(&s, expected);
		got = read_all(fd, chunk, CHUNK);
		if (got != (long)n || memcmp(chunk, expected, n))
			break;
		done += n;
	} while (n);
	sys_close(fd);
	if (got < 0)
		return verb_fail(c, WRITTEN ": %e", (int)got);
	if (n)
		return verb_fail(c, WRITTEN " differs in the %u bytes from %u on", n, done);
	verb_say(c, "%u bytes as written", done);
	return 0;
}

static int print_stream(const struct call *c)
{
	struct stream s;
	int err = 0;
	size_t n;

	if (parse_stream(c, &s))
		return -1;
	while (!err && (n = stream_next(&s, chunk)))
		err = write_all(1, chunk, n);
	return err ? verb_fail(c, "%e", err) : 0;
}

static int print_hash(const struct call *c)
{
	char hex[SHA256_HEX];
	uint64_t size;
	int err = hash_file(c->value, hex, &size);

	if (err)
		return verb_fail(c, "%s: %e", c->value, err);
	verb_say(c, "%s %u bytes, sha256 %s", c->value, size, hex);
	return 0;
}

/* O_DIRECT: each read becomes a request of the device, whatever the caches hold */
static int read_device(const struct call *c)
{
	const char *path = *c->value ? c->value : DISK;
	int fd = sys_open(path, O_RDONLY | O_DIRECT);
	uint64_t bytes = 0;
	long n;

	if (fd < 0)
		return verb_fail(c, "%s: %e", path, fd);
	while ((n = sys_read(fd, chunk, CHUNK)) > 0)
		bytes += (uint64_t)n;
	sys_close(fd);
	if (n < 0)
		return verb_fail(c, "%s at %u: %e", path, bytes, (int)n);
	verb_say(c, "%s %u bytes", path, bytes);
	return 0;
}

/* Has the disk read straight into a file's own pages, as a DAX file system has them: O_DIRECT into
 * a mapping of it. Whether that works is the caller's to judge. */
static int direct_read(const struct call *c, const char *path, uint8_t *to, uint64_t size)
{
	int disk = sys_open(DISK, O_RDONLY | O_DIRECT);
	char hex[SHA256_HEX];
	struct sha256 h;
	uint64_t done = 0;
	long n = disk;

	if (disk < 0)
		return verb_fail(c, DISK ": %e", disk);
	while (done < size && (n = sys_read(disk, to + done, size - done)) > 0)
		done += (uint64_t)n;
	sys_close(disk);
	if (n < 0) {
		verb_say(c, "%u bytes, then %e", done, (int)n);
		return 0;
	}
	sha256_init(&h);
	sha256_add(&h, to, done);
	n = (long)done;
	sha256_hex(&h, hex);
	verb_say(c, "%s %u bytes, sha256 %s", path, n, hex);
	return 0;
}

static int read_into(const struct call *c)
{
	const char *path = c->value;
	uint64_t size;
	long at;
	int fd, r;

	if (!text_number(&path, &size) || !size || *path++ != ',' || !*path)
		return verb_fail(c, "'%s' is not SIZE,FILE", c->value);
	fd = sys_open(path, O_RDWR | O_CREAT);
	r = fd < 0 ? fd : (int)SYS(__NR_ftruncate, fd, size);
	if (r < 0)
		return verb_fail(c, "%s: %e", path, r);
	at = SYS(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at < 0 && at > -4096)
		return verb_fail(c, "mapping %s: %e", path, (int)at);
	r = direct_read(c, path, (uint8_t *)at, size);
	SYS(__NR_munmap, at, size);
	SYS(__NR_fsync, fd);
	sys_close(fd);
	return r;
}

static int drop_caches(const struct call *c)
{
	int fd = sys_open("/proc/sys/vm/drop_caches", O_WRONLY);
	long n = fd;

	if (fd >= 0) {
		SYS(__NR_sync);
		n = sys_write(fd, "3", 1);
		sys_close(fd);
	}
	return n < 0 ? verb_fail(c, "%e", (int)n) : 0;
}

static int sync_all(const struct call *c)
{
	(void)c;
	SYS(__NR_sync);
	return 0;
}

const struct verb disk_verbs[] = {
	{ "verify", NULL, VERB_PLAIN, verify, "compare the files of " MANIFEST },
	{ "write", "SIZE[,SEED]", VERB_PLAIN, write_stream,
	  "write a known stream to " WRITTEN ", fsync" },
	{ "check-written", "SIZE[,SEED]", VERB_PLAIN, check_written,
	  "compare " WRITTEN " with that stream" },
	{ "read-all", "[DEVICE]", VERB_PLAIN, read_device,
	  "read all of the disk, past the caches" },
	{ "read-into", "SIZE,FILE", VERB_PLAIN, read_into,
	  "read the disk past the caches, into the mapped pages of a file" },
	{ "drop-caches", NULL, VERB_MACHINE, drop_caches, "sync and forget what was read" },
	{ "sync", NULL, VERB_PLAIN, sync_all, "flush all file systems" },
	{ "stream", "SIZE[,SEED]", VERB_PLAIN, print_stream,
	  "the stream on standard output, for the outside" },
	{ "sha256", "FILE", VERB_PLAIN, print_hash, "the hash of a file" },
	{ 0 },
};
