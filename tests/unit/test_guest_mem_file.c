/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM in a file: made or found, mapped at an offset, kept or discarded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/unit/ram.h"

static void a_file_is_mapped_at_its_offset_and_keeps_its_size(void **state)
{
	struct ram_file file = ram_file_new(MIB(4) + 4 * RAM_PAGE);
	struct guest_mem m;
	int fd = open(file.path, O_RDWR | O_CLOEXEC);
	uint32_t word = 0x12345678;

	(void)state;
	assert_int_equal(pwrite(fd, &word, 4, (off_t)(3 * RAM_PAGE)), 4);
	m = ram_new(ram_option("file,mem-path=%s,offset=%uB,align=1G", file.path,
			       (unsigned)(2 * RAM_PAGE)),
		    MIB(4));
	assert_int_equal(*(uint32_t *)mem_ptr(&m, RAM_PAGE, 4), word);
	assert_int_equal(m.regions[0].fd_offset, 2 * RAM_PAGE);
	assert_int_equal((uintptr_t)m.regions[0].host % GIB(1), 0);
	assert_int_equal(ram_status(&m, 0).st_size, MIB(4) + 4 * RAM_PAGE);
	assert_string_equal(m.backing.kind, "file");
	word = 0;
	assert_int_equal(guest_mem_pread(&m, RAM_PAGE, &word, 4), 0);
	assert_int_equal(word, 0x12345678);
	guest_mem_fini(&m);
	assert_int_equal(access(file.path, F_OK), 0);
	close(fd);
	ram_file_fini(&file);
}

static void a_file_too_short_is_refused_and_not_resized(void **state)
{
	struct ram_file file = ram_file_new(MIB(2));
	struct stat st;

	(void)state;
	ram_assert_refused(ram_option("file,path=%s", file.path), MIB(4), -EINVAL,
			   "a file that exists is never resized");
	ram_assert_refused(ram_option("file,path=%s,offset=4K", file.path), MIB(2), -EINVAL,
			   "truncate -s 2052K");
	assert_int_equal(stat(file.path, &st), 0);
	assert_int_equal(st.st_size, MIB(2));
	ram_file_fini(&file);
}

static void a_missing_file_is_made_and_stays(void **state)
{
	struct ram_file file = ram_file_new(0);
	struct guest_mem m;
	struct stat st;

	(void)state;
	unlink(file.path);
	m = ram_new(ram_option("file,path=%s", file.path), MIB(2));
	guest_mem_fini(&m);
	assert_int_equal(stat(file.path, &st), 0);
	assert_int_equal(st.st_size, MIB(2));
	assert_int_equal(st.st_mode & 077, 0);
	ram_file_fini(&file);
}

static void a_file_made_for_ram_that_fails_is_gone(void **state)
{
	struct ram_file file = ram_file_new(0);

	(void)state;
	unlink(file.path);
	ram_assert_refused(ram_option("file,path=%s,policy=bind,host-nodes=1023", file.path),
			   MIB(2), -EINVAL, "host-nodes=1023");
	assert_int_equal(access(file.path, F_OK), -1);
	ram_limit_set(RLIMIT_FSIZE, MIB(1));
	ram_assert_refused(ram_option("file,path=%s", file.path), MIB(2), -EFBIG, "RLIMIT_FSIZE");
	ram_limit_reset(RLIMIT_FSIZE);
	assert_int_equal(access(file.path, F_OK), -1);
	ram_file_fini(&file);
}

static void a_directory_holds_an_unnamed_file(void **state)
{
	struct guest_mem m = ram_new("file,path=/dev/shm", MIB(2));

	(void)state;
	assert_int_equal(ram_status(&m, 0).st_nlink, 0);
	assert_int_equal(ram_status(&m, 0).st_mode, S_IFREG);
	guest_mem_fini(&m);
}

static void what_is_no_file_is_refused(void **state)
{
	(void)state;
	ram_assert_refused("file,path=/dev/null", MIB(2), -EINVAL,
			   "/dev/null is not a regular file");
	ram_assert_refused("file,path=/nowhere/ram", MIB(2), -ENOENT,
			   "cannot open the file /nowhere/ram");
	ram_assert_refused("file,path=/proc", MIB(2), -EOPNOTSUPP, "no unnamed file can be made");
}

static void discard_data_frees_the_blocks_at_the_end(void **state)
{
	struct ram_file file = ram_file_new(MIB(2));
	struct guest_mem m =
		ram_new(ram_option("file,path=%s,discard-data=on,prealloc=on", file.path), MIB(2));
	struct stat st;

	(void)state;
	assert_true(ram_status(&m, 0).st_blocks * 512 >= (blkcnt_t)MIB(2));
	guest_mem_fini(&m);
	assert_int_equal(stat(file.path, &st), 0);
	assert_int_equal(st.st_size, MIB(2));
	assert_true(st.st_blocks * 512 < (blkcnt_t)MIB(1));
	ram_file_fini(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_mapped_at_its_offset_and_keeps_its_size),
		cmocka_unit_test(a_file_too_short_is_refused_and_not_resized),
		cmocka_unit_test(a_missing_file_is_made_and_stays),
		cmocka_unit_test(a_file_made_for_ram_that_fails_is_gone),
		cmocka_unit_test(a_directory_holds_an_unnamed_file),
		cmocka_unit_test(what_is_no_file_is_refused),
		cmocka_unit_test(discard_data_frees_the_blocks_at_the_end),
	};

	return cmocka_run_group_tests_name("guest_mem_file", tests, NULL, NULL);
}
