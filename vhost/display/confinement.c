/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/display/confinement.h"

#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/range.h"

#define ANY SECCOMP_ANY, 0

static const struct seccomp_rule rules[] = {
#ifdef SYS_epoll_wait			/* newer architectures have only the other */
	{ SYS_epoll_wait, ANY },
#endif
	{ SYS_epoll_pwait, ANY },
	{ SYS_epoll_ctl, ANY },
	{ SYS_read, ANY },		/* signals */
	{ SYS_accept4, ANY },
	{ SYS_recvmsg, ANY },
	{ SYS_sendmsg, ANY },
	{ SYS_close, ANY },
	/* the screen, and dma-bufs, which are read only */
	{ SYS_memfd_create, ANY },
	{ SYS_ftruncate, ANY },
	{ SYS_lseek, ANY },
	{ SYS_pwrite64, ANY },
	{ SYS_ioctl, 1, (uint32_t)DMA_BUF_IOCTL_SYNC },
	{ SYS_mmap, 2, PROT_READ | PROT_WRITE },
	{ SYS_mmap, 2, PROT_READ },
	{ SYS_munmap, ANY },
	{ SYS_mremap, ANY },
	{ SYS_madvise, ANY },
	{ SYS_brk, ANY },
	{ SYS_futex, ANY },
	{ SYS_clock_gettime, ANY },	/* hosts whose clock has no vDSO */
	/* pictures, and lines of the log */
	{ SYS_write, ANY },
};

/* What has to do with a directory, by its fd. */
#define DIR_RULES 7

static size_t add_dir_rules(struct seccomp_rule *r, int pictures, int socket)
{
	size_t n = 0;

	r[n++] = (struct seccomp_rule){ SYS_openat, 0, (uint32_t)pictures };
#ifdef SYS_renameat
	r[n++] = (struct seccomp_rule){ SYS_renameat, 0, (uint32_t)pictures };
#endif
	r[n++] = (struct seccomp_rule){ SYS_renameat2, 0, (uint32_t)pictures };
	r[n++] = (struct seccomp_rule){ SYS_unlinkat, 0, (uint32_t)pictures };
	r[n++] = (struct seccomp_rule){ SYS_unlinkat, 0, (uint32_t)socket };
	r[n++] = (struct seccomp_rule){ SYS_newfstatat, 0, (uint32_t)socket };
	return n;
}

int confinement_enter(int pictures, int socket, enum seccomp_mode mode, struct err *e)
{
	const struct confine_dir dirs[] = {
		{ pictures, LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
			    LANDLOCK_ACCESS_FS_REMOVE_FILE },
		{ socket, LANDLOCK_ACCESS_FS_REMOVE_FILE },
	};
	struct seccomp_rule all[ARRAY_SIZE(rules) + DIR_RULES];
	size_t n = ARRAY_SIZE(rules);

	memcpy(all, rules, sizeof(rules));
	n += add_dir_rules(all + n, pictures, socket);
	if (chdir("/") < 0)
		return err_sys(e, "sandbox: chdir");
	return confine_enter("display", dirs, ARRAY_SIZE(dirs), all, n, mode, e);
}
