/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/sandbox.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#include "base/range.h"

#define ANY SECCOMP_ANY, 0
#define IOCTL(request)                            \
	{                                         \
		SYS_ioctl, 1, (uint32_t)(request) \
	}

/* A vCPU runs the guest, takes the device lock, signals eventfds, logs. base/seccomp.c adds
 * sigreturn and exit. */
static const struct seccomp_rule vcpu_rules[] = {
	IOCTL(KVM_RUN),
	{ SYS_write, ANY },
	{ SYS_io_submit, 1, 1 }, /* base/bell.c */
	{ SYS_io_getevents, 1, 0 },
	{ SYS_futex, ANY },
	{ SYS_clock_gettime, ANY }, /* hosts whose clock has no vDSO */
};

/* The loop: sockets and fds it has, the VM's ioctls, memory for windows; no path, no exec, no new
 * socket but a pair. */
static const struct seccomp_rule loop_rules[] = {
	{ SYS_epoll_wait, ANY },
	{ SYS_epoll_pwait, ANY },
	{ SYS_epoll_ctl, ANY },
	{ SYS_read, ANY },
	{ SYS_pread64, ANY },
	{ SYS_readv, ANY },
	{ SYS_preadv2, 5, RWF_NOWAIT }, /* eventfds that daemons have, too */
	{ SYS_write, ANY },
	{ SYS_writev, ANY },
	{ SYS_io_submit, 1, 1 }, /* base/bell.c */
	{ SYS_io_getevents, 1, 0 },
	{ SYS_io_destroy, ANY },
	{ SYS_lseek, ANY },
	{ SYS_recvmsg, ANY },
	{ SYS_sendmsg, ANY },
	{ SYS_shutdown, ANY },
	{ SYS_accept4, ANY }, /* who takes events of a VMShm device; a daemon of server=on */
	{ SYS_setsockopt, 2, SO_SNDBUF }, /* ... to whom not much is sent before he reads */
	{ SYS_socketpair, 0, AF_UNIX }, /* the back channel of a connection made again */
	{ SYS_poll, ANY },
	{ SYS_close, ANY },
	{ SYS_eventfd2, ANY },
	{ SYS_fcntl, 1, F_DUPFD_CLOEXEC },
	{ SYS_fcntl, 1, F_SETFL },
	{ SYS_fcntl, 1, F_GETFL },
	{ SYS_fcntl, 1, F_SETFD },
	{ SYS_fstat, ANY },
	{ SYS_newfstatat, 3, AT_EMPTY_PATH },
	{ SYS_fstatfs, ANY },
	{ SYS_futex, ANY },
	{ SYS_clock_gettime, ANY },
	{ SYS_mmap, ANY },
	{ SYS_mremap, ANY },
	{ SYS_munmap, ANY },
	{ SYS_mprotect, ANY },
	{ SYS_madvise, ANY },
	{ SYS_brk, ANY },
	{ SYS_fallocate, ANY },
	{ SYS_getrandom, ANY },
	{ SYS_wait4, ANY },
	{ SYS_tgkill, ANY },
	{ SYS_kill, 1, SIGSTOP },
	{ SYS_getpid, ANY },
	{ SYS_rt_sigprocmask, ANY },
	{ SYS_rt_sigaction, ANY },
	IOCTL(TCGETS),
	IOCTL(SECCOMP_TCGETS2),
	IOCTL(TCSETS),
	IOCTL(SECCOMP_TCSETS2),
	IOCTL(FIONREAD),
	IOCTL(KVM_IRQFD),
	IOCTL(KVM_IOEVENTFD),
	IOCTL(KVM_SET_GSI_ROUTING),
	IOCTL(KVM_SET_USER_MEMORY_REGION),
	IOCTL(KVM_SET_IRQCHIP),
	IOCTL(KVM_GET_REGS),
	IOCTL(KVM_SET_REGS),
	IOCTL(KVM_GET_SREGS),
	IOCTL(KVM_SET_SREGS),
	IOCTL(KVM_SET_FPU),
	IOCTL(KVM_SET_XSAVE),
	IOCTL(KVM_SET_XCRS),
	IOCTL(KVM_SET_MSRS),
	IOCTL(KVM_GET_LAPIC),
	IOCTL(KVM_SET_LAPIC),
	IOCTL(KVM_SET_VCPU_EVENTS),
	IOCTL(KVM_SET_DEBUGREGS),
	IOCTL(KVM_SET_MP_STATE),
};

int sandbox_init(struct sandbox *s, enum seccomp_mode mode, struct err *e)
{
	int r;

	*s = (struct sandbox){ NULL, NULL };
	r = seccomp_filter_new("vCPU", vcpu_rules, ARRAY_SIZE(vcpu_rules), mode, &s->vcpu, e);
	if (r == 0)
		r = seccomp_filter_new("loop", loop_rules, ARRAY_SIZE(loop_rules), mode, &s->loop,
				       e);
	if (r)
		sandbox_fini(s);
	return r;
}

void sandbox_fini(struct sandbox *s)
{
	seccomp_filter_free(s->vcpu);
	seccomp_filter_free(s->loop);
	*s = (struct sandbox){ NULL, NULL };
}

int sandbox_enter_loop(struct sandbox *s, struct err *e)
{
	return seccomp_filter_install(s->loop, e);
}
