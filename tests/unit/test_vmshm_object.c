/* SPDX-License-Identifier: Apache-2.0 */
/* What is opened for a guest, and what is not: objects of every kind in /dev/shm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/range.h"
#include "devices/vmshm_object.h"
#include "guest/vmshm/vmshm_regs.h"
#include "tests/unit/process.h"

enum { STRANGER = 54321 };		/* a user who is nobody here */

struct place {
	char prefix[32];		/* of all names that a case makes */
	struct vmshm_options options;
	struct vmshm_object_opener opener;
	struct vmshm_answer a;		/* the last one */
	int fd;
	unsigned fds;			/* open before the case */
};

static char *path_of(const struct place *p, const char *name)
{
	static char path[96];

	snprintf(path, sizeof(path), "/dev/shm/%s%s", p->prefix, name);
	return path;
}

static void place_rules(struct place *p, const char *more)
{
	char text[256];
	struct err e = { "" };

	snprintf(text, sizeof(text), "id=v,prefix=%s%s%s", p->prefix, *more ? "," : "", more);
	vmshm_options_free(&p->options);
	if (vmshm_options_parse(&p->options, text, &e))
		fail_msg("%s: %s", text, e.msg);
}

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	struct err e = { "" };

	p->fds = process_fds();
	p->fd = -1;
	snprintf(p->prefix, sizeof(p->prefix), "test-vmshm-%d-", (int)getpid());
	p->opener = (struct vmshm_object_opener){ .options = &p->options, .never = -1 };
	p->opener.dir = vmshm_object_dir(&e);
	assert_true(p->opener.dir >= 0);
	place_rules(p, "allow=/test-vmshm-*");
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	char command[96];

	close(p->fd);
	close(p->opener.dir);
	vmshm_options_free(&p->options);
	assert_int_equal(process_fds(), p->fds);
	snprintf(command, sizeof(command), "rm -rf /dev/shm/%s*", p->prefix);
	assert_int_equal(system(command), 0);
	free(p);
	return 0;
}

/* An object of a page, and an fd of it. */
static int make(const struct place *p, const char *name, mode_t mode)
{
	int fd = open(path_of(p, name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	return fd;
}

/* Asks, holding @held; the status. p->fd is what came. */
static uint32_t ask_holding(struct place *p, const char *name, bool ro, int held)
{
	struct vmshm_question q = { .device = 3, .serial = 7, .ro = ro };

	snprintf(q.name, sizeof(q.name), "%s", name);
	close(p->fd);
	vmshm_object_open(&p->opener, &q, &held, &p->a, &p->fd);
	assert_int_equal(held, -1);
	assert_int_equal(p->a.device, 3);
	assert_int_equal(p->a.serial, 7);
	assert_int_equal(p->fd >= 0, p->a.status == VMSHM_OK);
	if (p->fd < 0)
		assert_int_equal(p->a.rw + p->a.sealed, 0);
	return p->a.status;
}

static uint32_t ask(struct place *p, const char *name)
{
	return ask_holding(p, name, false, -1);
}

static bool is_of(int fd, int other)
{
	struct stat a, b;

	assert_int_equal(fstat(fd, &a) + fstat(other, &b), 0);
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int mode_of(int fd)
{
	return fcntl(fd, F_GETFL) & O_ACCMODE;
}

static void an_object_is_opened_as_far_as_it_may_be(void **state)
{
	struct place *p = *state;
	int fd = make(p, "a", 0600);

	assert_int_equal(ask(p, "a"), VMSHM_OK);
	assert_true(is_of(p->fd, fd) && p->a.rw && mode_of(p->fd) == O_RDWR);
	assert_false(p->a.sealed);
	assert_int_equal(fcntl(p->fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(ask_holding(p, "a", true, -1), VMSHM_OK);
	assert_true(!p->a.rw && mode_of(p->fd) == O_RDONLY);
	place_rules(p, "allow=/*:ro");
	assert_int_equal(ask(p, "a"), VMSHM_OK);
	assert_true(!p->a.rw && mode_of(p->fd) == O_RDONLY);
	close(fd);
}

static void what_is_absent_or_not_allowed_looks_the_same_and_is_not_made(void **state)
{
	struct place *p = *state;
	struct vmshm_answer absent;
	int fd = make(p, "b", 0600);

	assert_int_equal(ask(p, "a"), VMSHM_ENOENT);
	assert_int_equal(access(path_of(p, "a"), F_OK), -1);
	absent = p->a;
	place_rules(p, "allow=/other");
	assert_int_equal(ask(p, "b"), VMSHM_ENOENT);
	assert_memory_equal(&p->a, &absent, sizeof(absent));
	assert_int_equal(p->opener.refused.count, 1);
	assert_int_equal(p->opener.unfit.count, 0);
	close(fd);
}

/* Whoever asks may have been taken over. */
static void what_is_no_name_is_refused(void **state)
{
	static const char *const names[] = { "", ".", "..", "/", "a/../b", "../../etc/passwd", "a\n" };
	struct vmshm_question q = { .device = 3 };
	struct place *p = *state;
	int fd = make(p, "a", 0600), held = -1;

	place_rules(p, "allow=/*");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(ask(p, names[i]), VMSHM_ENOENT);
	memset(q.name, 'a', sizeof(q.name));
	vmshm_object_open(&p->opener, &q, &held, &p->a, &p->fd);
	assert_int_equal(p->a.status, VMSHM_ENOENT);
	close(fd);
}

static void what_is_no_regular_file_of_this_tmpfs_is_refused(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct place *p = *state;
	int fd = make(p, "file", 0600);
	static const char *const names[] = { "link", "absolute", "self", "fifo", "dir", "sock" };

	assert_int_equal(symlinkat("file", p->opener.dir, path_of(p, "link") + 9), 0);
	assert_int_equal(symlink("/etc/passwd", path_of(p, "absolute")), 0);
	assert_int_equal(symlink("/proc/self/fd/0", path_of(p, "self")), 0);
	assert_int_equal(mkfifo(path_of(p, "fifo"), 0600), 0);
	assert_int_equal(mkdir(path_of(p, "dir"), 0700), 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path_of(p, "sock"));
	assert_int_equal(bind(sock, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	for (unsigned ro = 0; ro < 2; ro++)
		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			if (ask_holding(p, names[i], ro, -1) != VMSHM_EBADTYPE)
				fail_msg("%s: %u", names[i], p->a.status);
	assert_int_equal(p->opener.unfit.count, 2 * ARRAY_SIZE(names));
	close(sock);
	close(fd);
}

/* The /dev/shm of the namespace that this process is in by now. */
static void look_again(struct place *p)
{
	struct err e;

	close(p->opener.dir);
	p->opener.dir = vmshm_object_dir(&e);
}

/* In a mount namespace of its own: a child's exit code, 0 when it saw what it should have. */
static int among_other_mounts(struct place *p)
{
	static const char *const types[] = { "ramfs", "hugetlbfs" };
	char over[96];
	int fd = make(p, "mount", 0600);

	snprintf(over, sizeof(over), "%s", path_of(p, "mount"));
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("/dev/null", over, NULL, MS_BIND, NULL))
		return 77;
	look_again(p);
	if (ask(p, "mount") != VMSHM_EBADTYPE)
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		/* There may be no huge pages here. */
		if (mount("none", "/dev/shm", types[i], 0, NULL))
			continue;
		close(fd);
		fd = open(over, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		look_again(p);
		if (fd < 0 || ask(p, "mount") != VMSHM_EBADTYPE)
			return 2;
	}
	return 0;
}

static void what_is_mounted_there_is_refused(void **state)
{
	struct place *p = *state;
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(among_other_mounts(p));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void an_object_of_another_user_is_absent(void **state)
{
	struct place *p = *state;
	int fd = make(p, "a", 0666);

	place_rules(p, "allow=/*,owner=54321");
	assert_int_equal(ask(p, "a"), VMSHM_ENOENT);
	if (fchown(fd, STRANGER, (gid_t)-1)) {
		close(fd);
		skip();
	}
	assert_int_equal(ask(p, "a"), VMSHM_OK);
	place_rules(p, "allow=/*");
	assert_int_equal(ask(p, "a"), VMSHM_ENOENT);
	close(fd);
}

/* As a user whom modes bind. */
static void what_may_only_be_read_is_opened_so_and_what_may_not_is_absent(void **state)
{
	struct place *p = *state;
	bool is_root = geteuid() == 0;
	int ro, none;

	if (is_root)
		assert_int_equal(seteuid(STRANGER), 0);
	place_rules(p, "allow=/*");
	ro = make(p, "ro", 0400);
	none = make(p, "none", 0);
	assert_int_equal(ask(p, "ro"), VMSHM_OK);
	assert_true(!p->a.rw && mode_of(p->fd) == O_RDONLY);
	assert_int_equal(ask(p, "none"), VMSHM_ENOENT);
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	close(ro);
	close(none);
}

static void the_machine_s_own_ram_is_not_opened_by_any_name(void **state)
{
	struct place *p = *state;
	char other[128];
	int fd = make(p, "ram", 0600);

	snprintf(other, sizeof(other), "%s", path_of(p, "also"));
	assert_int_equal(link(path_of(p, "ram"), other), 0);
	assert_int_equal(ask(p, "ram"), VMSHM_OK);
	p->opener.never = fd;
	assert_int_equal(ask(p, "ram"), VMSHM_ENOENT);
	assert_int_equal(ask(p, "also"), VMSHM_ENOENT);
	close(fd);
}

static int memfd(const char *text)
{
	int fd = memfd_create(text, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	return fd;
}

static void map_rules(struct place *p, int fd, const char *more)
{
	char text[64];

	snprintf(text, sizeof(text), "map=/m:fd=%d%s", fd, more);
	place_rules(p, text);
}

static void a_mapped_descriptor_is_handed_over_with_its_rights_and_seals(void **state)
{
	struct place *p = *state;
	int fd = memfd("plain"), sealed = memfd("sealed"), ro;
	char path[64];

	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	map_rules(p, fd, "");
	for (unsigned times = 0; times < 2; times++) {
		assert_int_equal(ask(p, "m"), VMSHM_OK);
		assert_true(is_of(p->fd, fd) && p->fd != fd && p->a.rw && !p->a.sealed);
	}
	assert_int_equal(ask_holding(p, "m", true, -1), VMSHM_OK);
	assert_false(p->a.rw);
	map_rules(p, fd, ":ro");
	assert_int_equal(ask(p, "m"), VMSHM_OK);
	assert_false(p->a.rw);
	map_rules(p, ro, "");
	assert_int_equal(ask(p, "m"), VMSHM_OK);
	assert_false(p->a.rw);
	map_rules(p, sealed, "");
	assert_int_equal(ask(p, "m"), VMSHM_OK);
	assert_true(p->a.sealed);
	assert_int_equal(ask(p, "n"), VMSHM_ENOENT);
	close(fd);
	close(sealed);
	close(ro);
}

static void descriptors_that_cannot_be_mapped_are_refused_at_the_start(void **state)
{
	struct place *p = *state;
	int fd = memfd("plain"), pipes[2], ro, wo, by_path, huge;
	char path[64];
	const struct {
		const int *fd;
		const char *more, *sentence;
	} cases[] = {
		{ &fd, "", NULL },
		{ &ro, ":ro", NULL },
		{ &ro, "", "is open for reading only: add :ro" },
		{ &wo, ":ro", "is not open for reading; open it for reading" },
		{ &by_path, ":ro", "is not open for reading" },
		{ &pipes[0], ":ro", "is neither a regular file nor a memfd" },
		{ &p->opener.dir, ":ro", "is neither a regular file nor a memfd" },
		{ &huge, "", "or one of huge pages" },
		{ &(const int){ 1000 }, "", "fd=1000 is not open" },
	};

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	wo = open(path, O_WRONLY | O_CLOEXEC);
	by_path = open(path, O_PATH | O_CLOEXEC);
	huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err e = { "" };
		int r;

		if (*cases[i].fd < 0)
			continue;	/* no huge pages here */
		map_rules(p, *cases[i].fd, cases[i].more);
		r = vmshm_object_check_maps(&p->options, &e);
		assert_int_equal(r < 0, cases[i].sentence != NULL);
		if (r && (!strstr(e.msg, cases[i].sentence) || !strstr(e.msg, "map: /m: ")))
			fail_msg("%s", e.msg);
	}
	close(fd);
	close(ro);
	close(wo);
	close(by_path);
	close(huge);
	close(pipes[0]);
	close(pipes[1]);
}

/* Another machine's process, which asks for the same. Its status. */
static uint32_t asked_by_another(struct place *p, const char *name)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct vmshm_question q = { .device = 0 };
		int held = -1, fd;

		snprintf(q.name, sizeof(q.name), "%s", name);
		vmshm_object_open(&p->opener, &q, &held, &p->a, &fd);
		_exit((int)p->a.status);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return (uint32_t)WEXITSTATUS(status);
}

static void what_is_exclusive_is_had_by_one_for_as_long_as_he_has_it(void **state)
{
	struct place *p = *state;
	int fd = make(p, "a", 0600);

	assert_int_equal(ask(p, "a"), VMSHM_OK);
	place_rules(p, "allow=/*,exclusive=on");
	/* Who does not ask is not kept out, and keeps nobody out. */
	assert_int_equal(ask(p, "a"), VMSHM_OK);
	assert_true(p->a.rw);
	assert_int_equal(asked_by_another(p, "a"), VMSHM_EBUSY);
	close(p->fd);
	p->fd = -1;
	assert_int_equal(asked_by_another(p, "a"), VMSHM_OK);
	assert_int_equal(ask(p, "a"), VMSHM_OK);
	close(fd);
}

/* As window objects do: a duplicate of what was handed over stays with the mapping. */
static void a_device_is_not_kept_out_by_its_own_lock(void **state)
{
	struct place *p = *state;
	int fd = make(p, "a", 0600), other = make(p, "b", 0600), mine;

	place_rules(p, "allow=/*,exclusive=on");
	assert_int_equal(ask(p, "a"), VMSHM_OK);
	mine = dup(p->fd);
	for (unsigned ro = 0; ro < 2; ro++) {
		assert_int_equal(ask_holding(p, "a", ro, dup(mine)), VMSHM_OK);
		assert_true(is_of(p->fd, fd));
		assert_int_equal(p->a.rw, !ro);
		assert_int_equal(asked_by_another(p, "a"), VMSHM_EBUSY);
	}
	/* What it does not say it holds, is another's. */
	assert_int_equal(ask(p, "a"), VMSHM_EBUSY);
	assert_int_equal(ask_holding(p, "a", false, dup(other)), VMSHM_EBUSY);
	assert_int_equal(ask_holding(p, "a", false, dup(fd)), VMSHM_EBUSY);
	assert_int_equal(ask_holding(p, "b", false, dup(mine)), VMSHM_OK);
	assert_true(is_of(p->fd, other));
	/* Both, until it lets go of one. */
	assert_int_equal(asked_by_another(p, "a"), VMSHM_EBUSY);
	assert_int_equal(asked_by_another(p, "b"), VMSHM_EBUSY);
	close(mine);
	assert_int_equal(asked_by_another(p, "a"), VMSHM_OK);
	close(fd);
	close(other);
}

/* A device that holds what it may read only cannot come to write by it. */
static void what_is_held_for_reading_is_not_handed_over_for_writing(void **state)
{
	struct place *p = *state;
	int fd = make(p, "a", 0600), mine;

	place_rules(p, "allow=/*:ro,exclusive=on");
	assert_int_equal(ask(p, "a"), VMSHM_OK);
	mine = dup(p->fd);
	place_rules(p, "allow=/*,exclusive=on");
	assert_int_equal(ask_holding(p, "a", false, mine), VMSHM_EBUSY);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		CASE(an_object_is_opened_as_far_as_it_may_be),
		CASE(what_is_absent_or_not_allowed_looks_the_same_and_is_not_made),
		CASE(what_is_no_name_is_refused),
		CASE(what_is_no_regular_file_of_this_tmpfs_is_refused),
		CASE(what_is_mounted_there_is_refused),
		CASE(an_object_of_another_user_is_absent),
		CASE(what_may_only_be_read_is_opened_so_and_what_may_not_is_absent),
		CASE(the_machine_s_own_ram_is_not_opened_by_any_name),
		CASE(a_mapped_descriptor_is_handed_over_with_its_rights_and_seals),
		CASE(descriptors_that_cannot_be_mapped_are_refused_at_the_start),
		CASE(what_is_exclusive_is_had_by_one_for_as_long_as_he_has_it),
		CASE(a_device_is_not_kept_out_by_its_own_lock),
		CASE(what_is_held_for_reading_is_not_handed_over_for_writing),
#undef CASE
	};

	log_setup("test", LOG_ERROR);
	return cmocka_run_group_tests_name("vmshm_object", tests, NULL, NULL);
}
