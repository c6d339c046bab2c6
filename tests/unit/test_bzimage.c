/* SPDX-License-Identifier: Apache-2.0 */
/* bzImages: payloads of every format, the cache of unpacked kernels, the fallback. */
#include <asm/bootparam.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "minivmm_config.h"
#include "tests/unit/boot_guest.h"
#include "vmm/loader.h"
#include "vmm/unpack.h"

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

struct fixture {
	struct boot_guest g;
	struct loader l;
	struct image kernel;
	_Alignas(8) uint8_t elf[ELF_SIZE];
	uint8_t bz[BZ_MAX], packed[BZ_MAX];
	char cache[64];			/* XDG_CACHE_HOME */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	boot_guest_init(&f->g, MIB(64), 1, false);
	elf_image(f->elf);
	f->l = (struct loader){ .kernel.fd = -1, .staging.fd = -1 };
	f->kernel.fd = -1;
	strcpy(f->cache, "/tmp/minivmm-test-XXXXXX");
	assert_non_null(mkdtemp(f->cache));
	setenv("XDG_CACHE_HOME", f->cache, 1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[400];
	DIR *d;

	loader_fini(&f->l);
	image_fini(&f->kernel);
	boot_guest_fini(&f->g);
	snprintf(path, sizeof(path), "%s/minivmm", f->cache);
	d = opendir(path);
	for (struct dirent *de; d && (de = readdir(d));) {
		snprintf(path, sizeof(path), "%s/minivmm/%s", f->cache, de->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
	snprintf(path, sizeof(path), "%s/minivmm", f->cache);
	rmdir(path);
	rmdir(f->cache);
	free(f);
	return 0;
}

/* Packers: @out gets the stream without Linux' size behind it. 0: this build has no library. */

static size_t pack_zstd(uint8_t *out, const uint8_t *in, size_t len)
{
#if HAVE_ZSTD
	size_t n = ZSTD_compress(out, BZ_MAX, in, len, 3);

	assert_false(ZSTD_isError(n));
	return n;
#else
	(void)out, (void)in, (void)len;
	return 0;
#endif
}

static size_t pack_lz4(uint8_t *out, const uint8_t *in, size_t len)
{
#if HAVE_LZ4
	uint32_t magic = 0x184c2102, block;

	block = (uint32_t)LZ4_compress_default((const char *)in, (char *)out + 8, (int)len,
					       BZ_MAX - 8);
	assert_true(block > 0);
	memcpy(out, &magic, 4);
	memcpy(out + 4, &block, 4);
	return block + 8;
#else
	(void)out, (void)in, (void)len;
	return 0;
#endif
}

static size_t pack_xz(uint8_t *out, const uint8_t *in, size_t len)
{
#if HAVE_XZ
	size_t at = 0;

	assert_int_equal(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, in, len, out, &at,
						 BZ_MAX),
			 LZMA_OK);
	return at;
#else
	(void)out, (void)in, (void)len;
	return 0;
#endif
}

/* gzip ends with the size itself, which Linux takes for the one behind the stream. */
static size_t pack_gzip(uint8_t *out, const uint8_t *in, size_t len)
{
#if HAVE_GZIP
	z_stream z = { .next_in = (uint8_t *)in, .avail_in = (uInt)len, .next_out = out,
		       .avail_out = BZ_MAX };

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out - 4;
#else
	(void)out, (void)in, (void)len;
	return 0;
#endif
}

static const struct packer {
	const char *name;
	size_t (*pack)(uint8_t *out, const uint8_t *in, size_t len);
} packers[] = {
	{ "zstd", pack_zstd }, { "lz4", pack_lz4 }, { "xz", pack_xz }, { "gzip", pack_gzip },
};

static const bool have[] = { HAVE_ZSTD, HAVE_LZ4, HAVE_XZ, HAVE_GZIP };

/* The first format this build has, or a skipped test. */
static const struct packer *any_packer(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(packers); i++)
		if (have[i])
			return &packers[i];
	skip();
	return NULL;
}

/* A bzImage of the small ELF, in f->bz; returns its size. */
static size_t make(struct fixture *f, const struct packer *p, unsigned sects)
{
	size_t n = p->pack(f->packed, f->elf, ELF_SIZE);
	uint32_t size = ELF_SIZE;

	memcpy(f->packed + n, &size, sizeof(size));
	return bzimage(f->bz, sects, f->packed, n + sizeof(size));
}

static struct setup_header *header(struct fixture *f)
{
	return (struct setup_header *)(f->bz + 0x1f1);
}

static int open_bz(struct fixture *f, size_t len)
{
	loader_fini(&f->l);
	image_fini(&f->kernel);
	image_init(&f->kernel, f->bz, len);
	return loader_open(&f->l, f->kernel.path, NULL, 0, &f->g.err);
}

static void assert_ok(struct fixture *f, int r)
{
	if (r < 0)
		fail_msg("%s", f->g.err.msg);
}

static void assert_said(const struct fixture *f, const char *part)
{
	if (!strstr(f->g.err.msg, part))
		fail_msg("\"%s\" does not say \"%s\"", f->g.err.msg, part);
}

static void assert_is_our_elf(struct fixture *f)
{
	assert_ok(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));
	assert_false(f->l.in_guest);
	assert_int_equal(f->l.entry, ELF_GPA);
	assert_memory_equal(boot_guest_at(&f->g, ELF_GPA, ELF_FILESZ), f->elf + ELF_OFFSET,
			    ELF_FILESZ);
}

static void every_format_of_this_build_is_unpacked_on_the_host(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(packers); i++) {
		assert_int_equal(have[i], packers[i].pack(f->packed, f->elf, ELF_SIZE) > 0);
		if (!have[i])
			continue;
		assert_ok(f, open_bz(f, make(f, &packers[i], 4)));
		assert_string_equal(f->l.packing, packers[i].name);
		assert_is_our_elf(f);
	}
}

static void the_setup_header_is_kept_for_the_zero_page(void **state)
{
	struct fixture *f = *state;

	assert_ok(f, open_bz(f, make(f, any_packer(), 4)));
	assert_int_equal(f->l.header_len, 0x202 + 0x6a - 0x1f1);
	assert_memory_equal(f->l.header, f->bz + 0x1f1, f->l.header_len);
	assert_int_equal(f->l.initrd_limit, 0x80000000);
}

static void no_setup_sectors_means_four(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 4);

	header(f)->setup_sects = 0;
	assert_ok(f, open_bz(f, len));
	assert_is_our_elf(f);
}

static void two_hundred_and_fifty_five_setup_sectors_are_taken_or_found_missing(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 255);

	assert_ok(f, open_bz(f, len));
	assert_is_our_elf(f);

	len = make(f, any_packer(), 4);
	header(f)->setup_sects = 255;
	assert_int_equal(open_bz(f, len), -ENOEXEC);
	assert_said(f, "255 setup sectors");
}

static void malformed_headers_get_their_sentence(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 4);
	struct setup_header good = *header(f);

	header(f)->payload_offset = UINT32_MAX;
	assert_int_equal(open_bz(f, len), -ENOEXEC);
	assert_said(f, "payload");
	*header(f) = good;
	header(f)->payload_length = UINT32_MAX;
	assert_int_equal(open_bz(f, len), -ENOEXEC);
	*header(f) = good;
	header(f)->version = 0x0206;
	assert_int_equal(open_bz(f, len), -ENOEXEC);
	assert_said(f, "boot protocol 2.6");
	*header(f) = good;
	header(f)->xloadflags = 0;
	assert_int_equal(open_bz(f, len), -ENOEXEC);
	assert_said(f, "64-bit entry");
	*header(f) = good;
	assert_int_equal(open_bz(f, 0x250), -ENOEXEC);
	assert_said(f, "setup header");
}

/* The fallback */

static void a_payload_nobody_can_unpack_is_left_to_the_guest(void **state)
{
	static const uint8_t bzip2[64] = "BZh9", unknown[64] = "????";
	const uint8_t *payloads[] = { bzip2, unknown };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(payloads); i++) {
		size_t len = bzimage(f->bz, 4, payloads[i], sizeof(bzip2)), code = 5 * 512;

		assert_ok(f, open_bz(f, len));
		assert_true(f->l.in_guest);
		assert_null(f->l.packing);
		assert_int_equal(f->l.protocol, LOADER_LINUX64);
		assert_int_equal(f->l.entry, (16 << 20) + 0x200);
		assert_int_equal(f->l.end, 17 << 20);
		assert_ok(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));
		assert_memory_equal(boot_guest_at(&f->g, 16 << 20, len - code), f->bz + code,
				    len - code);
	}
}

static void a_damaged_payload_is_left_to_the_guest(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(packers); i++) {
		size_t n = packers[i].pack(f->packed, f->elf, ELF_SIZE), len;

		if (n == 0)
			continue;
		len = make(f, &packers[i], 4);
		for (size_t at = 8; at < n; at++)
			f->bz[5 * 512 + BZ_PAYLOAD_AT + at] ^= 0x55;
		assert_ok(f, open_bz(f, len));
		assert_true(f->l.in_guest);
	}
}

static void a_size_that_is_not_the_payloads_is_left_to_the_guest(void **state)
{
	static const uint32_t sizes[] = { 0, 1, ELF_SIZE - 1, ELF_SIZE + 1, UINT32_MAX };
	struct fixture *f = *state;
	const struct packer *p = any_packer();

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t len = make(f, p, 4);

		memcpy(f->bz + len - 4, &sizes[i], 4);
		assert_ok(f, open_bz(f, len));
		assert_true(f->l.in_guest);
	}
}

static void a_payload_that_is_no_elf_is_left_to_the_guest(void **state)
{
	struct fixture *f = *state;

	memset(f->elf, 'x', 64);
	assert_ok(f, open_bz(f, make(f, any_packer(), 4)));
	assert_true(f->l.in_guest);
	assert_int_equal(f->l.n_segments, 1);
}

static void an_in_guest_kernel_that_wants_too_much_is_refused(void **state)
{
	static const uint8_t payload[64] = "BZh9";
	struct fixture *f = *state;
	size_t len = bzimage(f->bz, 4, payload, sizeof(payload));

	header(f)->init_size = UINT32_MAX;
	assert_int_equal(open_bz(f, len), -ENOEXEC);
	header(f)->init_size = 1 << 20;
	header(f)->pref_address = UINT64_MAX;
	assert_int_equal(open_bz(f, len), -ENOEXEC);
	assert_said(f, "below 3 GiB");
	header(f)->pref_address = 64 << 20;
	assert_ok(f, open_bz(f, len));
	assert_int_equal(loader_load(&f->l, &f->g.mem, false, &f->g.err), -ENOSPC);
	assert_said(f, "--memory");
}

/* The cache */

/* The one entry's path. Fails the test when there is none. */
static void find_entry(const struct fixture *f, char path[400])
{
	DIR *d;
	bool found = false;

	snprintf(path, 400, "%s/minivmm", f->cache);
	d = opendir(path);
	assert_non_null(d);
	for (struct dirent *de; (de = readdir(d));)
		if (!strncmp(de->d_name, "vmlinux-", 8)) {
			snprintf(path, 400, "%s/minivmm/%s", f->cache, de->d_name);
			found = true;
		}
	closedir(d);
	assert_true(found);
}

static void the_second_time_it_comes_from_the_cache(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 4);
	char path[400];
	struct stat st;

	assert_ok(f, open_bz(f, len));
	assert_false(f->l.cached);
	assert_ok(f, open_bz(f, len));
	assert_true(f->l.cached);
	assert_is_our_elf(f);
	find_entry(f, path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void another_kernel_is_another_entry(void **state)
{
	struct fixture *f = *state;
	const struct packer *p = any_packer();

	assert_ok(f, open_bz(f, make(f, p, 4)));
	f->elf[ELF_OFFSET] ^= 0xff;
	assert_ok(f, open_bz(f, make(f, p, 4)));
	assert_false(f->l.cached);
	assert_is_our_elf(f);
}

static void a_changed_entry_is_not_believed(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 4);
	char path[400];
	int fd;

	assert_ok(f, open_bz(f, len));
	find_entry(f, path);
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "evil", 4, ELF_OFFSET), 4);
	close(fd);
	assert_ok(f, open_bz(f, len));
	assert_false(f->l.cached);
	assert_is_our_elf(f);
	assert_ok(f, open_bz(f, len));
	assert_true(f->l.cached);
}

static void a_cut_entry_is_not_believed(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 4);
	char path[400];

	assert_ok(f, open_bz(f, len));
	find_entry(f, path);
	assert_int_equal(truncate(path, 100), 0);
	assert_ok(f, open_bz(f, len));
	assert_false(f->l.cached);
	assert_is_our_elf(f);
}

static void an_entry_others_may_write_is_not_believed(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 4);
	char path[400];

	assert_ok(f, open_bz(f, len));
	find_entry(f, path);
	assert_int_equal(chmod(path, 0666), 0);
	assert_ok(f, open_bz(f, len));
	assert_false(f->l.cached);
}

static void a_symbolic_link_in_the_cache_is_not_followed(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 4);
	char path[400], elsewhere[420];

	assert_ok(f, open_bz(f, len));
	find_entry(f, path);
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", f->cache);
	assert_int_equal(rename(path, elsewhere), 0);
	assert_int_equal(symlink(elsewhere, path), 0);
	assert_ok(f, open_bz(f, len));
	assert_false(f->l.cached);
	unlink(elsewhere);
}

static void a_cache_others_may_write_is_not_used(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 4);
	char path[400];

	snprintf(path, sizeof(path), "%s/minivmm", f->cache);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chmod(path, 0777), 0);
	for (int i = 0; i < 2; i++) {
		assert_ok(f, open_bz(f, len));
		assert_false(f->l.cached);
		assert_is_our_elf(f);
	}
}

static void without_a_cache_it_is_unpacked_every_time(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 4);

	setenv("XDG_CACHE_HOME", "/proc/nothing/here", 1);
	for (int i = 0; i < 2; i++) {
		assert_ok(f, open_bz(f, len));
		assert_false(f->l.cached);
		assert_is_our_elf(f);
	}
}

static void a_short_key_is_made_again(void **state)
{
	struct fixture *f = *state;
	size_t len = make(f, any_packer(), 4);
	char path[400];

	assert_ok(f, open_bz(f, len));
	snprintf(path, sizeof(path), "%s/minivmm/key", f->cache);
	assert_int_equal(truncate(path, 3), 0);
	assert_ok(f, open_bz(f, len));
	assert_false(f->l.cached);
	assert_ok(f, open_bz(f, len));
	assert_true(f->l.cached);
}

static void the_cache_keeps_only_so_many(void **state)
{
	struct fixture *f = *state;
	const struct packer *p = any_packer();
	char path[400];
	int entries = 0;
	DIR *d;

	for (int i = 0; i < UNPACK_CACHE_KEEP + 3; i++) {
		f->elf[ELF_OFFSET + 8] = (uint8_t)i;
		assert_ok(f, open_bz(f, make(f, p, 4)));
	}
	snprintf(path, sizeof(path), "%s/minivmm", f->cache);
	d = opendir(path);
	assert_non_null(d);
	for (struct dirent *de; (de = readdir(d));)
		entries += !strncmp(de->d_name, "vmlinux-", 8);
	closedir(d);
	assert_int_equal(entries, UNPACK_CACHE_KEEP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(every_format_of_this_build_is_unpacked_on_the_host),
		T(the_setup_header_is_kept_for_the_zero_page),
		T(no_setup_sectors_means_four),
		T(two_hundred_and_fifty_five_setup_sectors_are_taken_or_found_missing),
		T(malformed_headers_get_their_sentence),
		T(a_payload_nobody_can_unpack_is_left_to_the_guest),
		T(a_damaged_payload_is_left_to_the_guest),
		T(a_size_that_is_not_the_payloads_is_left_to_the_guest),
		T(a_payload_that_is_no_elf_is_left_to_the_guest),
		T(an_in_guest_kernel_that_wants_too_much_is_refused),
		T(the_second_time_it_comes_from_the_cache),
		T(another_kernel_is_another_entry),
		T(a_changed_entry_is_not_believed),
		T(a_cut_entry_is_not_believed),
		T(an_entry_others_may_write_is_not_believed),
		T(a_symbolic_link_in_the_cache_is_not_followed),
		T(a_cache_others_may_write_is_not_used),
		T(without_a_cache_it_is_unpacked_every_time),
		T(a_short_key_is_made_again),
		T(the_cache_keeps_only_so_many),
#undef T
	};

	log_setup("test_bzimage", LOG_ERROR);
	return cmocka_run_group_tests_name("bzimage", tests, NULL, NULL);
}
