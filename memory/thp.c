/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/thp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"

#ifndef MADV_POPULATE_WRITE	/* glibc before 2.35 */
#define MADV_POPULATE_WRITE 23
#endif

enum { CHILD_STACK = 64 * 1024, HUGE_PAGES_MAX = 8192 };

/* Shared with the child, which runs while we wait. */
struct job {
	unsigned count;
	int *fds;
	char size[32], uid_map[64], gid_map[64];
	const char *failed;	/* the step that failed, NULL for none */
	int error;
};

static int fail_step(struct job *j, const char *step)
{
	j->error = errno;
	j->failed = step;
	return 1;
}

static int make_objects(struct job *j)
{
	autoclose int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	autoclose int mount = -1;

	if (fs < 0)
		return fail_step(j, "fsopen of a tmpfs");
	if (fsconfig(fs, FSCONFIG_SET_STRING, "huge", "always", 0) < 0)
		return fail_step(j, "huge=always of a tmpfs");
	if (fsconfig(fs, FSCONFIG_SET_STRING, "size", j->size, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fail_step(j, "making a tmpfs");
	mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mount < 0)
		return fail_step(j, "fsmount of a tmpfs");
	for (unsigned i = 0; i < j->count; i++) {
		j->fds[i] = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0);
		if (j->fds[i] < 0)
			return fail_step(j, "a file in a tmpfs");
	}
	j->failed = NULL;
	return 0;
}

static bool write_proc(const char *path, const char *text)
{
	autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static int child_main(void *arg)
{
	struct job *j = arg;

	if (!write_proc("/proc/self/uid_map", j->uid_map) ||
	    !write_proc("/proc/self/setgroups", "deny") ||
	    !write_proc("/proc/self/gid_map", j->gid_map))
		return fail_step(j, "mapping the user in a user namespace");
	return make_objects(j);
}

/* As vfork does: one memory, one fd table, signals wait, and we run on when the child has gone. */
static void make_in_namespace(struct job *j)
{
	_Alignas(64) char stack[CHILD_STACK];
	sigset_t all, old;
	pid_t child;

	snprintf(j->uid_map, sizeof(j->uid_map), "%u %u 1", (unsigned)geteuid(),
		 (unsigned)geteuid());
	snprintf(j->gid_map, sizeof(j->gid_map), "%u %u 1", (unsigned)getegid(),
		 (unsigned)getegid());
	j->failed = "the helper process for a user namespace";
	j->error = ECHILD;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	child = clone(child_main, stack + sizeof(stack),
		      CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWUSER | CLONE_NEWNS, j);
	if (child < 0)
		fail_step(j, "a user namespace");
	else
		while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
			;
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static int give_sizes(struct job *j, const uint64_t *sizes, uint64_t *ret_huge, struct err *e)
{
	struct stat st;

	for (unsigned i = 0; i < j->count; i++) {
		if (ftruncate(j->fds[i], (off_t)sizes[i]) < 0)
			return err_sys(e, "a tmpfs file of %" PRIu64 " bytes", sizes[i]);
	}
	/* A tmpfs that may use huge pages says so in st_blksize. */
	if (fstat(j->fds[0], &st) < 0)
		return err_sys(e, "fstat of a tmpfs file");
	if (st.st_blksize <= sysconf(_SC_PAGESIZE))
		return err_set(e, -ENOTSUP, "the kernel gives no huge pages to any tmpfs "
			       "(/sys/kernel/mm/transparent_hugepage/shmem_enabled is deny)");
	*ret_huge = (uint64_t)st.st_blksize;
	return 0;
}

int thp_create(const uint64_t *sizes, unsigned count, int *ret_fds, uint64_t *ret_huge,
	       struct err *e)
{
	struct job j = { .count = count, .fds = ret_fds };
	uint64_t total = 0;
	int r;

	for (unsigned i = 0; i < count; i++) {
		ret_fds[i] = -1;
		total += align_up(sizes[i], MIB(2));
	}
	snprintf(j.size, sizeof(j.size), "%" PRIu64, total);
	make_objects(&j);
	if (j.failed && j.error == EPERM)
		make_in_namespace(&j);
	if (j.failed)
		r = err_set(e, -j.error, "%s failed: %s", j.failed, strerror(j.error));
	else
		r = give_sizes(&j, sizes, ret_huge, e);
	for (unsigned i = 0; r && i < count; i++)
		fd_close(&ret_fds[i]);
	return r;
}

bool thp_is_huge(void *host, uint64_t huge)
{
	unsigned char resident[HUGE_PAGES_MAX];
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), pages = huge / page;

	if (pages > HUGE_PAGES_MAX)
		return false;
	if (madvise(host, page, MADV_POPULATE_WRITE) < 0) {
		if (errno != EINVAL)
			return false;
		/* Linux before 5.14. The object is new, so the byte is 0 already. */
		*(volatile uint8_t *)host = 0;
	}
	if (mincore(host, huge, resident) < 0)
		return false;
	for (uint64_t i = 0; i < pages; i++) {
		if (!(resident[i] & 1))
			return false;
	}
	return true;
}
