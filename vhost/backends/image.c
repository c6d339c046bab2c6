/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backends/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

enum { BETWEEN_MS = 100 };

static const unsigned tries[] = { [IMAGE_SERVED] = 10, [IMAGE_MAPPED] = 30 };

/* 0 or an errno. Nothing tells when a lock is let go of: to wait for it has no limit. */
static int try_lock(int fd, bool readonly, unsigned left)
{
	const struct timespec between = { .tv_nsec = (long)MS_TO_NS(BETWEEN_MS) };
	struct flock l = { .l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	while (fcntl(fd, F_OFD_SETLK, &l)) {
		if ((errno != EAGAIN && errno != EACCES) || !--left)
			return errno;
		nanosleep(&between, NULL);
	}
	return 0;
}

/* Two writers, or a writer beside readers, would destroy what is on the disk. */
static int lock(int fd, const char *path, bool readonly, enum image_use use, struct err *e)
{
	int error = try_lock(fd, readonly, tries[use]);

	if (!error)
		return 0;
	if (error == EAGAIN || error == EACCES)
		return err_set(e, -EBUSY, "disk %s is in use by another program: end that, or use readonly on both sides",
			       path);
	log_warn("disk %s: no lock (%s): two daemons could write it", path, strerror(error));
	return 0;
}

int image_open(const char *path, bool readonly, enum image_use use, struct err *e)
{
	bool blocks = use == IMAGE_SERVED;
	int access_mode = readonly ? O_RDONLY : O_RDWR, r;
	autoclose int fd = open(path, access_mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0 && (errno == EROFS || errno == EACCES) && !readonly)
		return err_sys(e, "disk %s cannot be opened for writing (readonly serves it all the same)", path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "disk %s", path);
	if (!S_ISREG(st.st_mode) && !(blocks && S_ISBLK(st.st_mode)))
		return err_set(e, -EINVAL, "disk %s is %s", path, blocks ? "neither a file nor a block device" :
			       "no regular file, which it must be to be mapped (blk serves block devices)");
	r = lock(fd, path, readonly, use, e);
	return r ? r : fd_take(&fd);
}

int image_size(int fd, const char *path, uint64_t *ret, struct err *e)
{
	off_t end = lseek(fd, 0, SEEK_END);

	if (end < 0)
		return err_sys(e, "disk %s: its size", path);
	if (end == 0)
		return err_set(e, -EINVAL, "disk %s is empty: give it a size first, as truncate -s 1G does", path);
	*ret = (uint64_t)end;
	return 0;
}
