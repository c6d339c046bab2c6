/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vmshm_object.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "devices/vmshm_name.h"
#include "devices/vmshm_policy.h"
#include "guest/vmshm/vmshm_regs.h"

#define SHM_DIR "/dev/shm"

/* A fd, or -errno. */
static int open_beneath(int dir, const char *name, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV,
	};
	long fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int vmshm_object_dir(struct err *e)
{
	autoclose int fd = open(SHM_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC), self;

	if (fd < 0)
		return err_sys(e, "--vmshm: " SHM_DIR ", where objects are");
	self = open_beneath(fd, ".", O_RDONLY | O_DIRECTORY);
	if (self == -ENOSYS)
		return err_set(e, -ENOSYS, "--vmshm: this host cannot open objects safely: allow="
			       " needs Linux 5.6 (openat2); give descriptors by map=");
	fd_close(&self);
	return fd_take(&fd);
}

static int check_map(const struct vmshm_map *m, struct err *e)
{
	int flags = fcntl(m->fd, F_GETFL);
	struct statfs fs;
	struct stat st;

	if (flags < 0 || fstat(m->fd, &st) || fstatfs(m->fd, &fs))
		return err_set(e, -EBADF, "fd=%d is not open: start minivmm with it, as a shell does"
			       " with %d<>" SHM_DIR "/NAME", m->fd, m->fd);
	if (!S_ISREG(st.st_mode) || fs.f_type == HUGETLBFS_MAGIC)
		return err_set(e, -EINVAL, "fd=%d is neither a regular file nor a memfd, or one of"
			       " huge pages; give one of normal pages", m->fd);
	if ((flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY)
		return err_set(e, -EACCES, "fd=%d is not open for reading; open it for reading%s",
			       m->fd, m->ro ? "" : " and writing");
	if (!m->ro && (flags & O_ACCMODE) != O_RDWR)
		return err_set(e, -EACCES, "fd=%d is open for reading only: add :ro, or open it for"
			       " writing, too", m->fd);
	return 0;
}

int vmshm_object_check_maps(const struct vmshm_options *o, struct err *e)
{
	for (unsigned i = 0; i < o->n_maps; i++) {
		int r = check_map(&o->maps[i], e);

		if (r)
			return err_prefix(e, r, "--vmshm: map: /%s: ", o->maps[i].name);
	}
	return 0;
}

/* An object that is allowed, and is not what it has to be. Says so once. */
static uint32_t unfit(struct vmshm_object_opener *p, const char *name, uint32_t status,
		      const char *why)
{
	char shown[VMSHM_NAME_MAX + 1];

	vmshm_name_show(name, shown);
	if (misuse_first(&p->unfit))
		log_warn("device %s: " SHM_DIR "/%s is allowed, but not opened: %s (told once)",
			 p->options->id, shown, why);
	return status;
}

/* What to answer for an open that failed. Who may not open it gets the answer of an absent one. */
static uint32_t status_of(struct vmshm_object_opener *p, const char *name, int error)
{
	switch (error) {
	case -ENOENT:
		return VMSHM_ENOENT;
	case -EACCES:
	case -EPERM:
		return unfit(p, name, VMSHM_ENOENT, "its mode does not let minivmm read it");
	case -ELOOP:
	case -EISDIR:
	case -ENXIO:
	case -EXDEV:
	case -ENODEV:
		return unfit(p, name, VMSHM_EBADTYPE, "it is a link, directory, socket, mount or"
			     " device");
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
		return VMSHM_ENOMEM;
	}
	return VMSHM_ENOENT;
}

static bool is_writable(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) == O_RDWR;
}

/* Of an object that is open; @name is for messages. */
static uint32_t check_object(struct vmshm_object_opener *p, int fd, const char *name,
			     struct stat *ret)
{
	struct statfs fs;

	if (fstat(fd, ret) || fstatfs(fd, &fs))
		return VMSHM_ENOENT;
	if (fd_is_of(p->never, ret))
		return unfit(p, name, VMSHM_ENOENT, "it is this machine's RAM");
	if (ret->st_uid != p->options->owner)
		return unfit(p, name, VMSHM_ENOENT, "it belongs to another user than owner=");
	if (!S_ISREG(ret->st_mode) || fs.f_type != TMPFS_MAGIC)
		return unfit(p, name, VMSHM_EBADTYPE, "it is not a regular file of a tmpfs");
	return VMSHM_OK;
}

/* Makes the lock this device's: that of *@fd, or of *@held, which comes to *@fd then. */
static uint32_t lock(int *fd, int *held, const struct stat *st, bool rw)
{
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
		return VMSHM_OK;
	if (errno != EWOULDBLOCK)
		return VMSHM_ENOMEM;
	if (!fd_is_of(*held, st) || (rw && !is_writable(*held)) ||
	    flock(*held, LOCK_EX | LOCK_NB))
		return VMSHM_EBUSY;
	fd_close(fd);
	*fd = fd_take(held);
	return VMSHM_OK;
}

static uint32_t open_host(struct vmshm_object_opener *p, struct vmshm_verdict *v, int *held,
			  int *ret_fd)
{
	autoclose int fd = open_beneath(p->dir, v->host, v->rw ? O_RDWR : O_RDONLY);
	struct stat st;
	uint32_t status;

	if (v->rw && (fd == -EACCES || fd == -EPERM || fd == -EROFS || fd == -ETXTBSY)) {
		v->rw = false;
		fd = open_beneath(p->dir, v->host, O_RDONLY);
	}
	if (fd < 0)
		return status_of(p, v->host, fd);
	status = check_object(p, fd, v->host, &st);
	if (status == VMSHM_OK && p->options->exclusive)
		status = lock(&fd, held, &st, v->rw);
	if (status == VMSHM_OK)
		*ret_fd = fd_take(&fd);
	return status;
}

static uint32_t open_map(struct vmshm_verdict *v, int *ret_fd)
{
	int fd = fcntl(v->map->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return VMSHM_ENOMEM;
	v->rw = v->rw && is_writable(fd);
	*ret_fd = fd;
	return VMSHM_OK;
}

static uint32_t refuse(struct vmshm_object_opener *p, const char *name)
{
	char shown[VMSHM_NAME_MAX + 1];

	vmshm_name_show(name, shown);
	if (misuse_first(&p->refused))
		log_warn("device %s: the guest asked for /%s%s, which no allow= or map= is about"
			 " (told once)", p->options->id,
			 p->options->prefix ? p->options->prefix : "", shown);
	return VMSHM_ENOENT;
}

static bool is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & F_SEAL_SHRINK);
}

void vmshm_object_open(struct vmshm_object_opener *p, const struct vmshm_question *q, int *held,
		       struct vmshm_answer *ret, int *ret_fd)
{
	struct vmshm_verdict v = { .policy = VMSHM_POLICY_REFUSED };
	char name[VMSHM_NAME_MAX + 1];

	*ret = (struct vmshm_answer){ .device = q->device, .serial = q->serial };
	*ret_fd = -1;
	if (vmshm_name_parse(q->name, sizeof(q->name), name)) {
		ret->status = VMSHM_ENOENT;
		fd_close(held);
		return;
	}
	v = vmshm_policy_judge(p->options, name, q->ro);
	switch (v.policy) {
	case VMSHM_POLICY_REFUSED:
		ret->status = refuse(p, name);
		break;
	case VMSHM_POLICY_MAP:
		ret->status = open_map(&v, ret_fd);
		break;
	case VMSHM_POLICY_HOST:
		ret->status = p->dir < 0 ? VMSHM_ENOENT : open_host(p, &v, held, ret_fd);
		break;
	}
	ret->rw = *ret_fd >= 0 && v.rw;
	ret->sealed = *ret_fd >= 0 && is_sealed(*ret_fd);
	fd_close(held);
}
