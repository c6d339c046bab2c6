/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File descriptors: who owns one is seen in the type. A struct that stores an fd owns it; a
 * parameter `int fd` is borrowed; `int *fd` is taken and set to -1. All are O_CLOEXEC.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Closes *@fd if it is open and sets it to -1. Keeps errno. */
void fd_close(int *fd);

/* Moves ownership out of *@fd. */
static inline int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* A local fd that closes itself unless fd_take moved it on. */
#define autoclose __attribute__((cleanup(fd_close)))

/* Whether @fd, which may be -1, is of the file that @st is about. */
bool fd_is_of(int fd, const struct stat *st);

/* Puts /dev/null where standard input, output or error is not open: else the next file opened
 * would be taken for it. Before anything is opened. 0 or -errno. */
int fd_fill_standard(void);

/* Closes the descriptors @first to @last, open or not. While there is one thread. */
void fd_close_range(unsigned first, unsigned last);
/* Closes every descriptor but the standard three and those kept: @next_kept gives the lowest of
 * them from @from on, or UINT_MAX. While there is one thread. */
void fd_close_others(unsigned (*next_kept)(const void *arg, unsigned from), const void *arg);

/* A non-blocking eventfd, or -errno. The caller owns it. */
int fd_eventfd(void);
/* Adds one to an eventfd. A full counter counts as signalled. */
void fd_signal(int eventfd);
/* Empties an eventfd; returns what it held, 0 for nothing. */
unsigned long long fd_drain(int eventfd);
/* The same where others hold it, too: whether a read waits is said of all that share it by any one
 * of them, and here it never does. */
unsigned long long fd_drain_shared(int eventfd);

/*
 * Reads or writes exactly @len bytes (at @offset), retrying after short transfers and EINTR.
 * 0, or -errno; -ENODATA when the file ends before.
 */
int fd_read_all(int fd, void *buf, size_t len);
int fd_write_all(int fd, const void *buf, size_t len);
int fd_pread_all(int fd, void *buf, size_t len, off_t offset);

enum { FD_PASS_MAX = 16 };	/* most fds one message may carry to us */

/*
 * One sendmsg with @nfds borrowed fds attached to its first byte. Returns bytes sent, or -errno
 * (-EAGAIN on a non-blocking socket). Never raises SIGPIPE.
 */
ssize_t fd_send(int sock, const void *buf, size_t len, const int *fds, size_t nfds);
/*
 * One recvmsg. Received fds (close-on-exec) go to @ret_fds, which has room for FD_PASS_MAX, and
 * their number to *@ret_nfds; the caller owns them. Returns bytes, 0 at the end, or -errno; -EPROTO
 * when the peer attached more fds than fit, or than this process may still have: all are closed,
 * and the bytes are in @buf nevertheless.
 */
ssize_t fd_recv(int sock, void *buf, size_t len, int *ret_fds, size_t *ret_nfds);

#endif
