/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/shm_named.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define SHM_DIR "/dev/shm"

struct shm_path {
	char text[sizeof(SHM_DIR) + 1 + NAME_MAX];
};

static struct shm_path path_of(const char *name)
{
	struct shm_path path;

	snprintf(path.text, sizeof(path.text), SHM_DIR "%s", name);
	return path;
}

int shm_named_create(int *ret_fd, struct err *e)
{
	autoclose int fd = open(SHM_DIR, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);

	if (fd < 0)
		return err_sys(e, "guest RAM: cannot create a shm object; is " SHM_DIR
			       " a tmpfs that is mounted and writable? --mem-backend=memfd needs "
			       "neither");
	if (fchmod(fd, S_IRUSR | S_IWUSR) < 0)	/* whatever the umask says */
		return err_sys(e, "guest RAM: cannot set the mode of the shm object");
	*ret_fd = fd_take(&fd);
	return 0;
}

static int link_at(int fd, const char *path)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	return errno == ENOENT ? linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) : -1;
}

int shm_named_link(int fd, const char *name, struct err *e)
{
	struct shm_path path = path_of(name);

	if (link_at(fd, path.text) == 0)
		return 0;
	if (errno == EEXIST)
		return err_set(
			e, -EEXIST,
			"guest RAM: the shm object %s exists already; choose another name= or, "
			"when no machine uses it any more, remove it (rm %s)",
			name, path.text);
	return err_sys(e, "guest RAM: cannot give the shm object the name %s; is /proc mounted?",
		       name);
}

void shm_named_unlink(int fd, const char *name)
{
	struct shm_path path = path_of(name);
	struct stat found;

	if (lstat(path.text, &found) == 0 && fd_is_of(fd, &found))
		unlink(path.text);
}

bool shm_named_is_left(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}
