/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keyval.h"
#include "base/log.h"

enum { NAME_BYTES_MAX = 255, TRIES = 64 };

int shm_object_check_name(const char *name, struct err *e)
{
	if (name[0] != '/' || !name[1] || strchr(name + 1, '/') || !strcmp(name, "/.") ||
	    !strcmp(name, "/.."))
		return err_set(e, -EINVAL,
			       "--mem-backend: name: \"%s\" is not a shm object's name: write one "
			       "slash and then a word, as in /ram1",
			       name);
	if (strlen(name + 1) > NAME_BYTES_MAX)
		return err_set(e, -EINVAL, "--mem-backend: name: longer than %d bytes",
			       NAME_BYTES_MAX);
	if (!strncmp(name, SHM_OBJECT_PREFIX, strlen(SHM_OBJECT_PREFIX)))
		return err_set(e, -EINVAL,
			       "--mem-backend: name: names that begin with " SHM_OBJECT_PREFIX
			       " are kept for RAM without a name; choose another");
	return 0;
}

/* A name of our own until it is unlinked; signals wait so that none ends the process in between. */
static int open_unnamed(int *ret_fd, struct err *e)
{
	char name[64];
	sigset_t all, old;
	int fd = -1;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < TRIES && fd < 0; i++) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		snprintf(name, sizeof(name), SHM_OBJECT_PREFIX "%ld-%lx-%u", (long)getpid(),
			 (unsigned long)now.tv_nsec, i);
		fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0);
		if (fd < 0 && errno != EEXIST)
			break;
	}
	if (fd >= 0)
		shm_unlink(name);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (fd < 0)
		return err_sys(
			e,
			"guest RAM: cannot create a shm object; is /dev/shm mounted and writable? "
			"--mem-backend=memfd needs neither");
	*ret_fd = fd;
	return 0;
}

static int check_room(int fd, uint64_t total, struct err *e)
{
	struct statvfs v;
	char need[24], have[24];
	uint64_t size, available;

	if (total == 0 || fstatvfs(fd, &v) < 0 || v.f_blocks == 0) /* 0: a mount without a limit */
		return 0;
	size = (uint64_t)v.f_blocks * v.f_frsize;
	available = (uint64_t)v.f_bavail * v.f_frsize;
	if (total > size)
		return err_set(e, -ENOSPC,
			       "guest RAM needs %s, but /dev/shm holds %s at most; make it larger "
			       "(mount -o remount,size=%s /dev/shm) or use --mem-backend=memfd, "
			       "which that mount does not bound",
			       size_format(total, need), size_format(size, have), need);
	if (total > available)
		log_warn("guest RAM needs %s, but only %s of /dev/shm is free now: the machine "
			 "ends when the guest uses more",
			 size_format(total, need), size_format(available, have));
	return 0;
}

int shm_object_set_size(int fd, uint64_t size, uint64_t total, struct err *e)
{
	int r = check_room(fd, total, e);

	if (r == 0 && ftruncate(fd, (off_t)size) < 0)
		r = err_sys(e,
			    "guest RAM: cannot give the shm object its size of %" PRIu64 " bytes",
			    size);
	return r;
}

int shm_object_create(uint64_t size, uint64_t total, int *ret_fd, struct err *e)
{
	autoclose int fd = -1;
	int r = open_unnamed(&fd, e);

	r = r ? r : shm_object_set_size(fd, size, total, e);
	if (r == 0)
		*ret_fd = fd_take(&fd);
	return r;
}
