/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM of every kind: objects, layout, limits, and nothing left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "memory/guest_mem.h"
#include "memory/hugetlb.h"
#include "memory/prealloc.h"
#include "memory/shm.h"
#include "memory/thp.h"

#define PAGE ((uint64_t)sysconf(_SC_PAGESIZE))

/* --- helpers --- */

static int try_ram(struct guest_mem *m, const char *option, uint64_t size, struct err *e)
{
	struct mem_options o = MEM_OPTIONS_DEFAULT;
	int r;

	*e = (struct err){ "" };
	r = mem_options_parse(&o, option, e);
	if (r)
		fail_msg("%s: %s", option, e->msg);
	r = guest_mem_init(m, &o, size, e);
	mem_options_fini(&o);
	return r;
}

static struct guest_mem ram(const char *option, uint64_t size)
{
	struct guest_mem m;
	struct err e;

	if (try_ram(&m, option, size, &e))
		fail_msg("%s: %s", option, e.msg);
	return m;
}

static void assert_refused(const char *option, uint64_t size, int code, const char *sentence)
{
	struct guest_mem m;
	struct err e;
	int r = try_ram(&m, option, size, &e);

	if (r != code || !strstr(e.msg, sentence))
		fail_msg("%s: %d \"%s\" is not %d \"%s\"", option, r, e.msg, code, sentence);
	assert_int_equal(m.count, 0);
}

static unsigned count_entries(const char *dir, const char *prefix)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	assert_non_null(d);
	for (struct dirent *entry = readdir(d); entry; entry = readdir(d))
		n += !strncmp(entry->d_name, prefix, strlen(prefix));
	closedir(d);
	return n;
}

static unsigned own_shm_names(void)
{
	char prefix[64];

	snprintf(prefix, sizeof(prefix), "%s%d-", &SHM_OBJECT_PREFIX[1], (int)getpid());
	return count_entries("/dev/shm", prefix);
}

static unsigned open_fds(void)
{
	return count_entries("/proc/self/fd", "");
}

/* The VmFlags line of the area that begins at @host. */
static void vm_flags(const void *host, char flags[256])
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[256], start[32];
	bool inside = false;

	flags[0] = '\0';
	snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)host);
	assert_non_null(f);
	while (!flags[0] && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, start, strlen(start)))
			inside = true;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			snprintf(flags, 256, "%s", line);
	}
	fclose(f);
	assert_true(flags[0]);
}

static struct stat status_of(const struct guest_mem *m, unsigned region)
{
	struct stat st;

	assert_int_equal(fstat(m->regions[region].fd, &st), 0);
	return st;
}

/* A file of @size bytes with a name that *@ret_path (freed by remove_file) holds. */
static char *make_file(uint64_t size)
{
	const char *dir = getenv("TMPDIR");
	char *path = NULL;
	int fd;

	assert_true(asprintf(&path, "%s/minivmm-ram-XXXXXX", dir ? dir : "/tmp") > 0);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	return path;
}

static void remove_file(char *path)
{
	unlink(path);
	free(path);
}

static char *option_of(const char *format, const char *value)
{
	static char text[512];

	snprintf(text, sizeof(text), format, value);
	return text;
}

static void reset_limit(int resource)
{
	struct rlimit limit;

	assert_int_equal(getrlimit((__rlimit_resource_t)resource, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit((__rlimit_resource_t)resource, &limit), 0);
}

static void set_limit(int resource, uint64_t value)
{
	struct rlimit limit;

	assert_int_equal(getrlimit((__rlimit_resource_t)resource, &limit), 0);
	limit.rlim_cur = value;
	assert_int_equal(setrlimit((__rlimit_resource_t)resource, &limit), 0);
}

/* --- shm --- */

static void anonymous_shm_is_a_deleted_inode_of_mode_0(void **state)
{
	static const char *const options[] = { "shm,thp=off", "shm,thp=auto" };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		struct guest_mem m = ram(options[i], MIB(4));
		struct stat st = status_of(&m, 0);

		assert_int_equal(st.st_mode, S_IFREG);
		assert_int_equal(st.st_nlink, 0);
		assert_int_equal(st.st_size, MIB(4));
		assert_int_equal(fcntl(m.regions[0].fd, F_GETFD), FD_CLOEXEC);
		assert_int_equal(own_shm_names(), 0);
		assert_null(m.backing.unlink_name);
		guest_mem_fini(&m);
	}
}

static void ram_is_shared_with_whoever_maps_the_fd(void **state)
{
	struct guest_mem m = ram("shm", MIB(4));
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

static void a_named_object_has_its_name_and_mode_0600_until_the_end(void **state)
{
	char name[64], path[128];
	struct guest_mem m;
	struct stat st;
	mode_t mask = umask(0777);

	(void)state;
	snprintf(name, sizeof(name), "/test-guest-mem-%d", (int)getpid());
	snprintf(path, sizeof(path), "/dev/shm%s", name);
	m = ram(option_of("shm,name=%s", name), MIB(2));
	umask(mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_size, MIB(2));
	assert_string_equal(m.backing.unlink_name, name);
	assert_string_equal(m.backing.kind, "shm (named)");

	guest_mem_fini(&m);
	assert_int_equal(stat(path, &st), -1);
	guest_mem_fini(&m);
}

static void a_name_in_use_is_refused_and_stays(void **state)
{
	char name[64], path[128], sentence[512];
	struct guest_mem m;
	struct stat st;

	(void)state;
	snprintf(name, sizeof(name), "/test-guest-mem-%d", (int)getpid());
	snprintf(path, sizeof(path), "/dev/shm%s", name);
	snprintf(sentence, sizeof(sentence),
		 "%s exists already; choose another name= or, when no machine uses it any "
		 "more, remove it (rm %s)",
		 name, path);
	m = ram(option_of("shm,name=%s", name), MIB(2));
	assert_refused(option_of("shm,name=%s", name), MIB(2), -EEXIST, sentence);
	assert_int_equal(stat(path, &st), 0);
	guest_mem_fini(&m);
}

static void a_process_forked_before_the_end_can_remove_the_name(void **state)
{
	char name[64], path[128];
	struct guest_mem m;
	int status;
	pid_t supervisor;

	(void)state;
	snprintf(name, sizeof(name), "/test-guest-mem-%d", (int)getpid());
	snprintf(path, sizeof(path), "/dev/shm%s", name);
	m = ram(option_of("shm,name=%s", name), MIB(2));
	supervisor = fork();
	if (supervisor == 0) {
		guest_mem_unlink(&m);
		_exit(0);
	}
	assert_int_equal(waitpid(supervisor, &status, 0), supervisor);
	assert_int_equal(access(path, F_OK), -1);
	guest_mem_fini(&m);
}

static void a_name_that_became_another_s_is_left_alone(void **state)
{
	char name[64];
	struct guest_mem first, second;

	(void)state;
	snprintf(name, sizeof(name), "/test-guest-mem-%d", (int)getpid());
	first = ram(option_of("shm,name=%s", name), MIB(2));
	assert_int_equal(shm_unlink(name), 0);
	second = ram(option_of("shm,name=%s", name), MIB(2));

	guest_mem_fini(&first);

	assert_int_equal(status_of(&second, 0).st_nlink, 1);
	guest_mem_fini(&second);
}

static void a_named_object_that_fails_later_leaves_no_name(void **state)
{
	char name[64], path[128], option[256];

	(void)state;
	snprintf(name, sizeof(name), "/test-guest-mem-%d", (int)getpid());
	snprintf(path, sizeof(path), "/dev/shm%s", name);
	snprintf(option, sizeof(option), "shm,name=%s,policy=bind,host-nodes=1023", name);
	assert_refused(option, MIB(2), -EINVAL, "cannot be bound to host-nodes=1023");
	assert_int_equal(access(path, F_OK), -1);
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
	if (try_ram(&m, "shm,thp=on", MIB(64), &e)) {
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
	assert_int_equal(m.backing.page_size, PAGE);
	assert_true(m.backing.huge_size > PAGE);
	/* One touch brought a whole huge page. */
	assert_true((uint64_t)status_of(&m, 0).st_blocks * 512 >= m.backing.huge_size);
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
	    huge <= PAGE)
		return 4;
	/* The helper is gone and reaped, and left no fd. */
	if (waitpid(-1, NULL, __WALL) != -1 || errno != ECHILD)
		return 5;
	return 0;
}

static void thp_needs_no_privilege(void **state)
{
	unsigned fds = open_fds();
	int status;
	pid_t child;

	(void)state;
	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(create_unprivileged());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(open_fds(), fds);
	if (WEXITSTATUS(status) == 1) {
		print_message("SKIPPED: no user namespace with a tmpfs for an ordinary user here "
			      "(see above)\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void ram_smaller_than_a_huge_page_says_so(void **state)
{
	struct guest_mem m = ram("shm,thp=auto", MIB(1));

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
	struct guest_mem m = ram("shm,thp=off", MIB(4));
	struct stat ram_st = status_of(&m, 0), mount_st;

	(void)state;
	assert_int_equal(stat("/dev/shm", &mount_st), 0);
	assert_int_equal(ram_st.st_dev, mount_st.st_dev);
	assert_string_equal(m.backing.kind, "shm");
	assert_int_equal(m.backing.huge_size, 0);
	guest_mem_fini(&m);
}

/* --- memfd --- */

static void a_memfd_is_sealed_against_resizing(void **state)
{
	struct guest_mem m = ram("memfd", MIB(4));
	int fd = m.regions[0].fd, seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	(void)state;
	assert_int_equal(fcntl(fd, F_GET_SEALS) & seals, seals);
	assert_int_equal(fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE, 0);
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_string_equal(m.backing.kind, "memfd");
	guest_mem_fini(&m);
}

static void seal_off_leaves_a_memfd_that_can_be_resized(void **state)
{
	struct guest_mem m = ram("memfd,seal=off", MIB(4));

	(void)state;
	assert_int_equal(fcntl(m.regions[0].fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(ftruncate(m.regions[0].fd, (off_t)MIB(8)), 0);
	guest_mem_fini(&m);
}

static void more_huge_pages_than_the_pool_has_are_refused(void **state)
{
	autoclose int probe = memfd_create("probe", MFD_CLOEXEC | MFD_HUGETLB);

	(void)state;
	if (probe < 0) {
		print_message("SKIPPED: this kernel has no hugetlb\n");
		skip();
	}
	assert_refused("memfd,hugetlb=on", GIB(8192), -ENOMEM, "nr_hugepages");
	assert_refused("memfd,hugetlb=on", MIB(2) + PAGE, -EINVAL, "is not a multiple of");
	assert_refused("memfd,hugetlb=on,hugetlbsize=8M", MIB(8), -ENODEV,
		       "hugetlbsize=8M (the host's sizes are listed");
}

/* Adds @more pages (or takes them back) to the host's pool of 2 MiB pages. */
static bool change_pool(int more)
{
	autoclose int fd = open("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
				O_RDWR | O_CLOEXEC);
	char text[32] = "";
	int n;

	if (fd < 0 || pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return false;
	n = snprintf(text, sizeof(text), "%ld", strtol(text, NULL, 10) + more);
	return pwrite(fd, text, (size_t)n, 0) == n;
}

static void pages_of_the_huge_page_pool_hold_ram(void **state)
{
	struct guest_mem m;
	struct err e;
	uint64_t page;
	bool has_pool;
	int r;

	(void)state;
	if (!change_pool(4)) {
		print_message("SKIPPED: the pool of 2 MiB pages cannot be changed here\n");
		skip();
	}
	r = try_ram(&m, "memfd,hugetlb=on,hugetlbsize=2M", MIB(4), &e);
	if (r == 0)
		*(uint8_t *)mem_ptr(&m, MIB(2), 1) = 1;
	has_pool = m.has_pool;
	page = m.backing.page_size;
	guest_mem_fini(&m);
	change_pool(-4);
	if (r == -ENOMEM) {
		print_message("SKIPPED: the host cannot put 4 pages in its pool: %s\n", e.msg);
		skip();
	}
	assert_int_equal(r, 0);
	assert_true(has_pool);
	assert_int_equal(page, MIB(2));
}

/* --- file --- */

static void a_file_is_mapped_at_its_offset_and_keeps_its_size(void **state)
{
	char *path = make_file(MIB(4) + 4 * PAGE);
	char option[256];
	struct guest_mem m;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint32_t word = 0x12345678;

	(void)state;
	assert_int_equal(pwrite(fd, &word, 4, (off_t)(3 * PAGE)), 4);
	snprintf(option, sizeof(option), "file,mem-path=%s,offset=%uB,align=1G", path,
		 (unsigned)(2 * PAGE));
	m = ram(option, MIB(4));
	assert_int_equal(*(uint32_t *)mem_ptr(&m, PAGE, 4), word);
	assert_int_equal(m.regions[0].fd_offset, 2 * PAGE);
	assert_int_equal((uintptr_t)m.regions[0].host % GIB(1), 0);
	assert_int_equal(status_of(&m, 0).st_size, MIB(4) + 4 * PAGE);
	assert_string_equal(m.backing.kind, "file");
	word = 0;
	assert_int_equal(guest_mem_pread(&m, PAGE, &word, 4), 0);
	assert_int_equal(word, 0x12345678);
	guest_mem_fini(&m);
	assert_int_equal(access(path, F_OK), 0);
	close(fd);
	remove_file(path);
}

static void a_file_too_short_is_refused_and_not_resized(void **state)
{
	char *path = make_file(MIB(2));
	struct stat st;

	(void)state;
	assert_refused(option_of("file,path=%s", path), MIB(4), -EINVAL,
		       "a file that exists is never resized");
	assert_refused(option_of("file,path=%s,offset=4K", path), MIB(2), -EINVAL,
		       "truncate -s 2052K");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, MIB(2));
	remove_file(path);
}

static void a_missing_file_is_made_and_stays(void **state)
{
	char *path = make_file(0);
	struct guest_mem m;
	struct stat st;

	(void)state;
	unlink(path);
	m = ram(option_of("file,path=%s", path), MIB(2));
	guest_mem_fini(&m);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, MIB(2));
	assert_int_equal(st.st_mode & 077, 0);
	remove_file(path);
}

static void a_file_made_for_ram_that_fails_is_gone(void **state)
{
	char *path = make_file(0);

	(void)state;
	unlink(path);
	assert_refused(option_of("file,path=%s,policy=bind,host-nodes=1023", path), MIB(2), -EINVAL,
		       "host-nodes=1023");
	assert_int_equal(access(path, F_OK), -1);
	set_limit(RLIMIT_FSIZE, MIB(1));
	assert_refused(option_of("file,path=%s", path), MIB(2), -EFBIG, "RLIMIT_FSIZE");
	reset_limit(RLIMIT_FSIZE);
	assert_int_equal(access(path, F_OK), -1);
	remove_file(path);
}

static void a_directory_holds_an_unnamed_file(void **state)
{
	struct guest_mem m = ram("file,path=/dev/shm", MIB(2));

	(void)state;
	assert_int_equal(status_of(&m, 0).st_nlink, 0);
	assert_int_equal(status_of(&m, 0).st_mode, S_IFREG);
	guest_mem_fini(&m);
}

static void what_is_no_file_is_refused(void **state)
{
	(void)state;
	assert_refused("file,path=/dev/null", MIB(2), -EINVAL, "/dev/null is not a regular file");
	assert_refused("file,path=/nowhere/ram", MIB(2), -ENOENT,
		       "cannot open the file /nowhere/ram");
	assert_refused("file,path=/proc", MIB(2), -EOPNOTSUPP, "no unnamed file can be made");
}

static void discard_data_frees_the_blocks_at_the_end(void **state)
{
	char *path = make_file(MIB(2));
	struct guest_mem m =
		ram(option_of("file,path=%s,discard-data=on,prealloc=on", path), MIB(2));
	struct stat st;

	(void)state;
	assert_true(status_of(&m, 0).st_blocks * 512 >= (blkcnt_t)MIB(2));
	guest_mem_fini(&m);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, MIB(2));
	assert_true(st.st_blocks * 512 < (blkcnt_t)MIB(1));
	remove_file(path);
}

/* --- sizes and limits --- */

static void sizes_that_cannot_be_are_refused(void **state)
{
	static const char *const options[] = { "shm", "shm,thp=off", "memfd",
					       "file,path=/dev/shm" };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		assert_refused(options[i], 0, -EINVAL, "--memory is 0");
		assert_refused(options[i], MIB(1) + 1, -EINVAL, "is not a multiple of");
		assert_refused(options[i], MEM_SIZE_MAX + PAGE, -EINVAL, "is too large");
		assert_refused(options[i], UINT64_MAX - PAGE + 1, -EINVAL, "is too large");
	}
	assert_refused("file,path=/dev/shm,offset=8388607T", GIB(1024), -EINVAL,
		       "larger than a file can be");
	assert_int_equal(own_shm_names(), 0);
}

static void a_limit_on_file_size_is_named_before_it_kills(void **state)
{
	static const char *const options[] = { "shm,thp=on", "shm,thp=off", "memfd",
					       "file,path=/dev/shm" };

	(void)state;
	set_limit(RLIMIT_FSIZE, MIB(1));
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		assert_refused(options[i], MIB(2), -EFBIG, "RLIMIT_FSIZE");
	reset_limit(RLIMIT_FSIZE);
}

static void a_limit_on_address_space_is_named(void **state)
{
	(void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	print_message("SKIPPED: sanitizers need more address space than any limit\n");
	skip();
#endif
	set_limit(RLIMIT_AS, GIB(1));
	assert_refused("memfd", GIB(2), -ENOMEM, "RLIMIT_AS");
	assert_refused("memfd", GIB(1), -ENOMEM, "RLIMIT_AS");
	reset_limit(RLIMIT_AS);
}

static void ram_larger_than_the_host_is_warned_of(void **state)
{
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
	struct guest_mem m;
	char text[512] = "";

	(void)state;
	dup2(log, STDERR_FILENO);
	m = ram("memfd", GIB(16384));
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_true(pread(log, text, sizeof(text) - 1, 0) > 0);
	close(log);
	assert_non_null(strstr(text, "guest RAM of 16T is more than the host has"));
	guest_mem_fini(&m);
}

/* --- what mapping and allocation obey --- */

static void ram_stays_out_of_core_files_unless_asked_for(void **state)
{
	struct guest_mem m = ram("memfd", MIB(2));
	char flags[256];

	(void)state;
	vm_flags(m.regions[0].host, flags);
	assert_non_null(strstr(flags, " dd"));
	assert_non_null(strstr(flags, " sh"));
	assert_null(strstr(flags, " nr"));
	guest_mem_fini(&m);

	m = ram("memfd,dump=on,reserve=off", MIB(2));
	vm_flags(m.regions[0].host, flags);
	assert_null(strstr(flags, " dd"));
	assert_non_null(strstr(flags, " nr"));
	guest_mem_fini(&m);
}

static void prealloc_allocates_every_page(void **state)
{
	static const char *const options[] = {
		"memfd,prealloc=on",
		"memfd,prealloc=on,prealloc-threads=3",
		"shm,thp=off,prealloc=on",
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		struct guest_mem m = ram(options[i], MIB(192) + PAGE);

		assert_int_equal(status_of(&m, 0).st_blocks * 512, MIB(192) + PAGE);
		guest_mem_fini(&m);
	}
}

static void without_prealloc_nothing_is_allocated(void **state)
{
	struct guest_mem m = ram("memfd", GIB(1));

	(void)state;
	assert_int_equal(status_of(&m, 0).st_blocks, 0);
	guest_mem_fini(&m);
}

static void policy_bind_reaches_the_kernel(void **state)
{
	struct guest_mem m;
	struct err e;
	int mode = -1;

	(void)state;
	if (try_ram(&m, "memfd,policy=bind,host-nodes=0", MIB(2), &e)) {
		print_message("SKIPPED: %s\n", e.msg);
		assert_non_null(strstr(e.msg, "knows no NUMA policy"));
		skip();
	}
	assert_int_equal(
		syscall(SYS_get_mempolicy, &mode, NULL, 0ul, m.regions[0].host, MPOL_F_ADDR), 0);
	assert_int_equal(mode, MPOL_BIND);
	guest_mem_fini(&m);
	m = ram("memfd", MIB(2));
	assert_int_equal(
		syscall(SYS_get_mempolicy, &mode, NULL, 0ul, m.regions[0].host, MPOL_F_ADDR), 0);
	assert_int_equal(mode, MPOL_DEFAULT);
	guest_mem_fini(&m);
}

/* --- layout --- */

static const struct {
	uint64_t size, low, high;	/* in pages */
} layouts[] = {
	{ 16, 16, 0 },
	{ GIB(3) / 4096 - 1, GIB(3) / 4096 - 1, 0 },
	{ GIB(3) / 4096, GIB(3) / 4096, 0 },
	{ GIB(3) / 4096 + 1, GIB(3) / 4096, 1 },
	{ GIB(5) / 4096, GIB(3) / 4096, GIB(2) / 4096 },
};

static void check_layout(const struct guest_mem *m, unsigned i, bool one_object)
{
	const struct mem_region *low = &m->regions[0], *high = &m->regions[1];

	assert_int_equal(m->size, layouts[i].size * 4096);
	assert_int_equal(m->count, layouts[i].high ? 2 : 1);
	assert_int_equal(low->gpa, 0);
	assert_int_equal(low->size, layouts[i].low * 4096);
	assert_int_equal(low->slot, 0);
	assert_non_null(mem_ptr(m, low->size - 1, 1));
	assert_null(mem_ptr(m, low->size, 1));
	assert_null(mem_ptr(m, low->size - 1, 2));
	if (low->size >= MIB(2))
		assert_int_equal((uintptr_t)low->host % MIB(2), 0);
	if (!layouts[i].high)
		return;
	assert_int_equal(high->gpa, GIB(4));
	assert_int_equal(high->size, layouts[i].high * 4096);
	assert_int_equal(high->slot, 1);
	assert_int_equal(high->fd_offset, one_object ? GIB(3) : 0);
	assert_int_not_equal(high->fd, low->fd);
	assert_int_equal(status_of(m, 0).st_ino == status_of(m, 1).st_ino, one_object);
	assert_ptr_equal(mem_ptr(m, GIB(4), 1), high->host);
	assert_null(mem_ptr(m, GIB(4) - 1, 1));
	assert_null(mem_ptr(m, GIB(4) + high->size, 1));
}

static void ram_lies_below_3_gib_and_above_4_gib(void **state)
{
	static const char *const options[] = { "memfd", "shm" };

	(void)state;
	for (unsigned o = 0; o < ARRAY_SIZE(options); o++) {
		for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
			struct guest_mem m = ram(options[o], layouts[i].size * 4096);

			check_layout(&m, i, false);
			guest_mem_fini(&m);
		}
	}
}

static void a_file_is_one_object_with_the_high_part_at_3_gib(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
		char *path = make_file(layouts[i].size * 4096);
		struct guest_mem m = ram(option_of("file,path=%s", path), layouts[i].size * 4096);

		check_layout(&m, i, true);
		if (m.count == 2) {
			*(uint8_t *)mem_ptr(&m, GIB(4), 1) = 0x5a;
			uint8_t byte = 0;

			assert_int_equal(pread(m.regions[0].fd, &byte, 1, (off_t)GIB(3)), 1);
			assert_int_equal(byte, 0x5a);
		}
		guest_mem_fini(&m);
		remove_file(path);
	}
}

static void pread_reaches_both_regions_and_nothing_else(void **state)
{
	struct guest_mem m = ram("memfd", GIB(3) + PAGE);
	uint16_t value = 0;

	(void)state;
	*(uint16_t *)mem_ptr(&m, GIB(3) - 2, 2) = 0x1122;
	*(uint16_t *)mem_ptr(&m, GIB(4) + PAGE - 2, 2) = 0x3344;
	assert_int_equal(guest_mem_pread(&m, GIB(3) - 2, &value, 2), 0);
	assert_int_equal(value, 0x1122);
	assert_int_equal(guest_mem_pread(&m, GIB(4) + PAGE - 2, &value, 2), 0);
	assert_int_equal(value, 0x3344);
	assert_int_equal(guest_mem_pread(&m, GIB(3) - 1, &value, 2), -EFAULT);
	assert_int_equal(guest_mem_pread(&m, GIB(4) - 1, &value, 2), -EFAULT);
	assert_int_equal(guest_mem_pread(&m, UINT64_MAX, &value, 2), -EFAULT);
	guest_mem_fini(&m);
}

/* --- trouble while running --- */

static void an_object_cut_off_is_told_from_other_trouble(void **state)
{
	struct guest_mem m = ram("shm,thp=off", MIB(4));
	struct err e = { "" };
	uint8_t byte;

	(void)state;
	assert_int_equal(guest_mem_trouble(&m, &e), 0);
	assert_string_equal(e.msg, "");
	assert_int_equal(ftruncate(m.regions[0].fd, (off_t)MIB(1)), 0);
	assert_int_equal(guest_mem_trouble(&m, &e), -EFAULT);
	assert_non_null(strstr(e.msg, "cut it off"));
	/* Reading it is an error, not a signal. */
	assert_int_equal(guest_mem_pread(&m, MIB(2), &byte, 1), -ENODATA);
	guest_mem_fini(&m);
}

static void fini_works_on_zeroed_failed_and_finished_ones(void **state)
{
	struct guest_mem m = { .count = 0 };
	unsigned fds = open_fds();
	struct err e;

	(void)state;
	guest_mem_fini(&m);
	guest_mem_fini(&m);
	assert_int_equal(open_fds(), fds);
	assert_int_not_equal(try_ram(&m, "memfd", 0, &e), 0);
	guest_mem_fini(&m);
	assert_int_equal(guest_mem_trouble(&m, &e), 0);
	assert_null(mem_ptr(&m, 0, 0));
}

static void a_thousand_machines_leave_no_fd_and_no_name(void **state)
{
	static const char *const options[] = { "shm", "shm,thp=off", "memfd",
					       "file,path=/dev/shm" };
	unsigned fds = open_fds();
	struct err e;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		struct guest_mem m = ram(options[i % ARRAY_SIZE(options)], MIB(2));

		guest_mem_fini(&m);
		assert_int_equal(try_ram(&m, options[i % ARRAY_SIZE(options)], MIB(2) + 1, &e),
				 -EINVAL);
	}
	assert_int_equal(open_fds(), fds);
	assert_int_equal(own_shm_names(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous_shm_is_a_deleted_inode_of_mode_0),
		cmocka_unit_test(ram_is_shared_with_whoever_maps_the_fd),
		cmocka_unit_test(a_named_object_has_its_name_and_mode_0600_until_the_end),
		cmocka_unit_test(a_name_in_use_is_refused_and_stays),
		cmocka_unit_test(a_process_forked_before_the_end_can_remove_the_name),
		cmocka_unit_test(a_name_that_became_another_s_is_left_alone),
		cmocka_unit_test(a_named_object_that_fails_later_leaves_no_name),
		cmocka_unit_test(thp_is_measured_and_leaves_us_in_our_namespaces),
		cmocka_unit_test(thp_needs_no_privilege),
		cmocka_unit_test(ram_smaller_than_a_huge_page_says_so),
		cmocka_unit_test(thp_off_takes_the_ordinary_shm_mount),
		cmocka_unit_test(a_memfd_is_sealed_against_resizing),
		cmocka_unit_test(seal_off_leaves_a_memfd_that_can_be_resized),
		cmocka_unit_test(more_huge_pages_than_the_pool_has_are_refused),
		cmocka_unit_test(pages_of_the_huge_page_pool_hold_ram),
		cmocka_unit_test(a_file_is_mapped_at_its_offset_and_keeps_its_size),
		cmocka_unit_test(a_file_too_short_is_refused_and_not_resized),
		cmocka_unit_test(a_missing_file_is_made_and_stays),
		cmocka_unit_test(a_file_made_for_ram_that_fails_is_gone),
		cmocka_unit_test(a_directory_holds_an_unnamed_file),
		cmocka_unit_test(what_is_no_file_is_refused),
		cmocka_unit_test(discard_data_frees_the_blocks_at_the_end),
		cmocka_unit_test(sizes_that_cannot_be_are_refused),
		cmocka_unit_test(a_limit_on_file_size_is_named_before_it_kills),
		cmocka_unit_test(a_limit_on_address_space_is_named),
		cmocka_unit_test(ram_larger_than_the_host_is_warned_of),
		cmocka_unit_test(ram_stays_out_of_core_files_unless_asked_for),
		cmocka_unit_test(prealloc_allocates_every_page),
		cmocka_unit_test(without_prealloc_nothing_is_allocated),
		cmocka_unit_test(policy_bind_reaches_the_kernel),
		cmocka_unit_test(ram_lies_below_3_gib_and_above_4_gib),
		cmocka_unit_test(a_file_is_one_object_with_the_high_part_at_3_gib),
		cmocka_unit_test(pread_reaches_both_regions_and_nothing_else),
		cmocka_unit_test(an_object_cut_off_is_told_from_other_trouble),
		cmocka_unit_test(fini_works_on_zeroed_failed_and_finished_ones),
		cmocka_unit_test(a_thousand_machines_leave_no_fd_and_no_name),
	};

	return cmocka_run_group_tests_name("guest_mem", tests, NULL, NULL);
}
