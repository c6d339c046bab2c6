/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM on the shm mount or a private huge one: modes, names, huge pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "memory/shm_named.h"
#include "memory/thp.h"
#include "tests/unit/process.h"
#include "tests/unit/ram.h"

/* A name that no other process's test has. */
struct name {
	char name[64], path[128];
};

static struct name own_name(void)
{
	struct name n;

	snprintf(n.name, sizeof(n.name), "/test-guest-mem-%d", (int)getpid());
	snprintf(n.path, sizeof(n.path), "/dev/shm%s", n.name);
	return n;
}

/* --- the ordinary mount --- */

static void anonymous_shm_is_a_deleted_inode_of_mode_0(void **state)
{
	static const char *const options[] = { "shm,thp=off", "shm,thp=auto" };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		struct guest_mem m = ram_new(options[i], MIB(4));
		struct stat st = ram_status(&m, 0);

		assert_int_equal(st.st_mode, S_IFREG);
		assert_int_equal(st.st_nlink, 0);
		assert_int_equal(st.st_size, MIB(4));
		assert_int_equal(fcntl(m.regions[0].fd, F_GETFD), FD_CLOEXEC);
		assert_int_equal(ram_shm_names(), 0);
		guest_mem_fini(&m);
	}
}

static void ram_is_shared_with_whoever_maps_the_fd(void **state)
{
	struct guest_mem m = ram_new("shm", MIB(4));
	uint32_t *daemon =
		mmap(NULL, MIB(4), PROT_READ | PROT_WRITE, MAP_SHARED, m.regions[0].fd, 0);

	(void)state;
	assert_ptr_not_equal(daemon, MAP_FAILED);
	*(uint32_t *)mem_ptr(&m, MIB(1), 4) = 0xfeed;
	assert_int_equal(daemon[MIB(1) / 4], 0xfeed);
	daemon[0] = 7;
	assert_int_equal(*(uint32_t *)mem_ptr(&m, 0, 4), 7);
	munmap(daemon, MIB(4));
	guest_mem_fini(&m);
}

static void a_named_object_has_mode_0600_and_its_name_until_that_is_removed(void **state)
{
	struct name n = own_name();
	struct guest_mem m;
	struct stat st;
	mode_t mask = umask(0777);

	(void)state;
	m = ram_new(ram_option("shm,name=%s", n.name), MIB(2));
	umask(mask);
	assert_int_equal(stat(n.path, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_size, MIB(2));
	assert_int_equal(st.st_ino, ram_status(&m, 0).st_ino);
	assert_string_equal(m.backing.kind, "shm (named)");
	assert_true(shm_named_is_left(m.regions[0].fd));

	shm_named_unlink(m.regions[0].fd, n.name);
	assert_int_equal(stat(n.path, &st), -1);
	assert_false(shm_named_is_left(m.regions[0].fd));
	shm_named_unlink(m.regions[0].fd, n.name);
	guest_mem_fini(&m);
	guest_mem_fini(&m);
}

static void a_named_object_has_no_name_before_it_has_its_size(void **state)
{
	struct name n = own_name();
	struct stat st;
	struct err e;
	int fd = -1;

	(void)state;
	assert_int_equal(shm_named_create(&fd, &e), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	ram_limit_set(RLIMIT_FSIZE, MIB(1));
	ram_assert_refused(ram_option("shm,name=%s", n.name), MIB(2), -EFBIG, "RLIMIT_FSIZE");
	ram_limit_reset(RLIMIT_FSIZE);
	assert_int_equal(access(n.path, F_OK), -1);
}

/* As root, or with Linux 6.10. */
static void a_name_is_given_without_proc(void **state)
{
	struct name n = own_name();
	pid_t pid = fork();
	struct err e;
	int fd, status;

	(void)state;
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("none", "/proc", "tmpfs", 0, NULL) < 0)
			_exit(77);
		if (shm_named_create(&fd, &e) || shm_named_link(fd, n.name, &e) ||
		    !shm_named_is_left(fd))
			_exit(1);
		shm_named_unlink(fd, n.name);
		_exit(shm_named_is_left(fd));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void a_name_in_use_is_refused_and_stays(void **state)
{
	struct name n = own_name();
	char sentence[512];
	struct guest_mem m;

	(void)state;
	snprintf(sentence, sizeof(sentence),
		 "%s exists already; choose another name= or, when no machine uses it any "
		 "more, remove it (rm %s)",
		 n.name, n.path);
	m = ram_new(ram_option("shm,name=%s", n.name), MIB(2));
	ram_assert_refused(ram_option("shm,name=%s", n.name), MIB(2), -EEXIST, sentence);
	assert_int_equal(ram_status(&m, 0).st_nlink, 1);
	shm_named_unlink(m.regions[0].fd, n.name);
	guest_mem_fini(&m);
}

static void a_name_that_became_another_s_is_left_alone(void **state)
{
	struct name n = own_name();
	struct guest_mem first, second;

	(void)state;
	first = ram_new(ram_option("shm,name=%s", n.name), MIB(2));
	assert_int_equal(shm_unlink(n.name), 0);
	second = ram_new(ram_option("shm,name=%s", n.name), MIB(2));

	shm_named_unlink(first.regions[0].fd, n.name);

	assert_int_equal(ram_status(&second, 0).st_nlink, 1);
	shm_named_unlink(second.regions[0].fd, n.name);
	assert_int_equal(ram_status(&second, 0).st_nlink, 0);
	guest_mem_fini(&first);
	guest_mem_fini(&second);
}

/* --- huge pages through a private tmpfs --- */

static bool host_denies_huge_tmpfs(void)
{
	autoclose int fd =
		open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", O_RDONLY | O_CLOEXEC);
	char text[128] = "";

	return fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 || strstr(text, "[deny]");
}

static void thp_is_measured_and_leaves_us_in_our_namespaces(void **state)
{
	char before[64] = "", after[64] = "";
	struct guest_mem m;
	struct err e;

	(void)state;
	assert_true(readlink("/proc/self/ns/mnt", before, sizeof(before) - 1) > 0);
	if (ram_try(&m, "shm,thp=on", MIB(64), &e)) {
		print_message("SKIPPED: thp=on: %s\n", e.msg);
		assert_non_null(strstr(e.msg, "thp=auto goes without"));
		if (strstr(e.msg, "shmem_enabled is deny"))
			assert_true(host_denies_huge_tmpfs());
		skip();
	}
	assert_true(readlink("/proc/self/ns/mnt", after, sizeof(after) - 1) > 0);
	assert_string_equal(before, after);
	assert_string_equal(m.backing.kind, "shm (private huge tmpfs)");
	assert_string_equal(m.backing.note, "");
	assert_int_equal(m.backing.page_size, RAM_PAGE);
	assert_true(m.backing.huge_size > RAM_PAGE);
	/* One touch brought a whole huge page. */
	assert_true((uint64_t)ram_status(&m, 0).st_blocks * 512 >= m.backing.huge_size);
	guest_mem_fini(&m);
}

/* Runs as somebody who may not mount; the result is 0, or 1 with the reason on standard output. */
static int create_unprivileged(void)
{
	uint64_t size = MIB(4), huge;
	struct stat st;
	struct err e;
	int fd;

	/* A change of user makes a process undumpable, which denies it its uid_map until exec. */
	if (geteuid() == 0 && (setgid(65534) || setuid(65534) || prctl(PR_SET_DUMPABLE, 1)))
		return 2;
	if (thp_create(&size, 1, &fd, &huge, &e)) {
		printf("%s\n", e.msg);
		fflush(stdout);
		return e.msg[0] ? 1 : 3;
	}
	if (fstat(fd, &st) || st.st_mode != S_IFREG || st.st_nlink || st.st_uid != geteuid() ||
	    huge <= RAM_PAGE)
		return 4;
	/* The helper is gone and reaped, and left no fd. */
	if (waitpid(-1, NULL, __WALL) != -1 || errno != ECHILD)
		return 5;
	return 0;
}

static void thp_needs_no_privilege(void **state)
{
	unsigned fds = process_fds();
	int status;
	pid_t child;

	(void)state;
	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(create_unprivileged());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(process_fds(), fds);
	if (WEXITSTATUS(status) == 1) {
		print_message("SKIPPED: no user namespace with a tmpfs for an ordinary user here "
			      "(see above)\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void ram_smaller_than_a_huge_page_says_so(void **state)
{
	struct guest_mem m = ram_new("shm,thp=auto", MIB(1));

	(void)state;
	assert_int_equal(m.backing.huge_size, 0);
	if (!strcmp(m.backing.kind, "shm (private huge tmpfs)"))
		assert_non_null(strstr(m.backing.note, "RAM is smaller than one huge page"));
	else
		assert_true(m.backing.note[0]);
	guest_mem_fini(&m);
}

static void thp_off_takes_the_ordinary_shm_mount(void **state)
{
	struct guest_mem m = ram_new("shm,thp=off", MIB(4));
	struct stat ram_st = ram_status(&m, 0), mount_st;

	(void)state;
	assert_int_equal(stat("/dev/shm", &mount_st), 0);
	assert_int_equal(ram_st.st_dev, mount_st.st_dev);
	assert_string_equal(m.backing.kind, "shm");
	assert_int_equal(m.backing.huge_size, 0);
	guest_mem_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous_shm_is_a_deleted_inode_of_mode_0),
		cmocka_unit_test(ram_is_shared_with_whoever_maps_the_fd),
		cmocka_unit_test(
			a_named_object_has_mode_0600_and_its_name_until_that_is_removed),
		cmocka_unit_test(a_named_object_has_no_name_before_it_has_its_size),
		cmocka_unit_test(a_name_is_given_without_proc),
		cmocka_unit_test(a_name_in_use_is_refused_and_stays),
		cmocka_unit_test(a_name_that_became_another_s_is_left_alone),
		cmocka_unit_test(thp_is_measured_and_leaves_us_in_our_namespaces),
		cmocka_unit_test(thp_needs_no_privilege),
		cmocka_unit_test(ram_smaller_than_a_huge_page_says_so),
		cmocka_unit_test(thp_off_takes_the_ordinary_shm_mount),
	};

	return cmocka_run_group_tests_name("guest_mem_shm", tests, NULL, NULL);
}
