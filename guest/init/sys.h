/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's interface and nothing between: init has no C library. A static one costs some
 * hundred KiB of initrd and, on x86, dozens of CPUID exits before main, which would be measured as
 * the VMM's. Calls return a value or -errno. Types and constants are the kernel's own (linux/...,
 * asm/...).
 */
#ifndef SYS_H
#define SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/ioctls.h>
#include <asm/signal.h>
#include <asm/statfs.h>
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/poll.h>
#include <linux/reboot.h>
#include <linux/time_types.h>

#ifdef __x86_64__
static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
#else
#error "init: this architecture needs its system call and its way to tell the VMM"
#endif

#define SYS_(nr, a, b, c, d, e, f, ...) \
	sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define SYS(...) SYS_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* What linux/ headers leave to a C library */
struct sys_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t size;
	uint8_t type;
	char name[];
};

#define SYS_AF_NETLINK	 16
#define SYS_SOCK_DGRAM	 2
#define SYS_SOCK_CLOEXEC O_CLOEXEC

static inline int sys_open(const char *path, int flags)
{
	return (int)SYS(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0644);
}

static inline int sys_close(int fd)
{
	return (int)SYS(__NR_close, fd);
}

static inline long sys_read(int fd, void *buf, size_t len)
{
	return SYS(__NR_read, fd, buf, len);
}

static inline long sys_write(int fd, const void *buf, size_t len)
{
	return SYS(__NR_write, fd, buf, len);
}

static inline bool sys_exists(const char *path)
{
	return SYS(__NR_faccessat, AT_FDCWD, path, 0) == 0;
}

static inline int sys_mkdir(const char *path)
{
	return (int)SYS(__NR_mkdirat, AT_FDCWD, path, 0755);
}

static inline int sys_unlink(const char *path)
{
	return (int)SYS(__NR_unlinkat, AT_FDCWD, path, 0);
}

static inline int sys_mount(const char *what, const char *where, const char *type,
			    unsigned long flags)
{
	return (int)SYS(__NR_mount, what, where, type, flags, 0);
}

static inline int sys_statfs(const char *path, struct statfs *fs)
{
	return (int)SYS(__NR_statfs, path, fs);
}

static inline int sys_fork(void)
{
	return (int)SYS(__NR_clone, SIGCHLD, 0, 0, 0, 0);
}

static inline int sys_execve(const char *path, char *const argv[], char *const envp[])
{
	return (int)SYS(__NR_execve, path, argv, envp);
}

static inline int sys_wait(int pid, int *status)
{
	return (int)SYS(__NR_wait4, pid, status, 0, 0);
}

static inline int sys_getpid(void)
{
	return (int)SYS(__NR_getpid);
}

static inline void __attribute__((noreturn)) sys_exit(int code)
{
	for (;;)
		SYS(__NR_exit_group, code);
}

/* timeout_ms < 0: no limit */
static inline int sys_poll(struct pollfd *fds, unsigned n, long timeout_ms)
{
	struct __kernel_timespec ts = { timeout_ms / 1000, timeout_ms % 1000 * 1000000 };

	return (int)SYS(__NR_ppoll, fds, n, timeout_ms < 0 ? NULL : &ts, 0, 8);
}

static inline uint64_t sys_now_ms(void)
{
	struct __kernel_timespec ts = { 0 };

	SYS(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline int sys_ioperm(unsigned long port, unsigned long count)
{
	return (int)SYS(__NR_ioperm, port, count, 1);
}

static inline int sys_reboot(unsigned cmd)
{
	return (int)SYS(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, cmd, 0);
}

/* The compiler calls these even in a freestanding program */
void *memcpy(void *dst, const void *src, size_t len);
void *memmove(void *dst, const void *src, size_t len);
void *memset(void *dst, int value, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t len);

#endif
