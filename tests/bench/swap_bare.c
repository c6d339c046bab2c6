/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to do at least: an object appears in a memory slot by mmap and mremap. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/bench/swap.h"
#include "tests/bench/touch.h"

#define WINDOW_GPA	GIB(256)

struct bare {
	uint8_t *window;		/* of TOUCH_WINDOW bytes, a memory slot */
};

struct request {
	uint64_t at, len;		/* with an fd: map it; without: unmap */
};

/* A machine whose only memory is the window; it stays open until the program's end. */
static void bare_init(struct bare *b)
{
	struct kvm_userspace_memory_region slot = { .guest_phys_addr = WINDOW_GPA,
						    .memory_size = TOUCH_WINDOW };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;
	uint8_t *p = mmap(NULL, TOUCH_WINDOW + GIB(1), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (kvm < 0)
		swap_fail("/dev/kvm");
	if (p == MAP_FAILED)
		swap_fail("a window");
	b->window = (uint8_t *)align_up((uintptr_t)p, GIB(1));
	slot.userspace_addr = (uintptr_t)b->window;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0 || ioctl(vm, KVM_CREATE_VCPU, 0) < 0 ||
	    ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		swap_fail("a machine");
}

static void move(struct bare *b, uint64_t at, uint64_t len, int flags, int fd)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED || mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, b->window + at) ==
				       MAP_FAILED)
		swap_fail("a mapping");
}

static void bare_map(void *arg, uint64_t at, uint64_t len, int fd)
{
	move(arg, at, len, MAP_SHARED, fd);
}

static void bare_unmap(void *arg, uint64_t at, uint64_t len)
{
	move(arg, at, len, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

void swap_bare(void)
{
	struct bare b;

	bare_init(&b);
	swap_measure(&(struct swapper){ bare_map, bare_unmap, &b });
}

/* --- another process --- */

static void ask(void *arg, uint64_t at, uint64_t len, int fd)
{
	const struct request r = { at, len };
	int sock = *(int *)arg;
	char done;

	if (fd_send(sock, &r, sizeof(r), &fd, fd >= 0) != sizeof(r) ||
	    read(sock, &done, 1) != 1)
		swap_fail("asking");
}

static void ask_to_map(void *arg, uint64_t at, uint64_t len, int fd)
{
	ask(arg, at, len, fd);
}

static void ask_to_unmap(void *arg, uint64_t at, uint64_t len)
{
	ask(arg, at, len, -1);
}

/* Until the other end is closed. */
static void obey(int sock)
{
	int fds[FD_PASS_MAX];
	struct request r;
	struct bare b;
	size_t n;

	bare_init(&b);
	while (fd_recv(sock, &r, sizeof(r), fds, &n) == sizeof(r)) {
		if (n)
			bare_map(&b, r.at, r.len, fds[0]);
		else
			bare_unmap(&b, r.at, r.len);
		while (n)
			fd_close(&fds[--n]);
		if (write(sock, "", 1) != 1)
			swap_fail("answering");
	}
}

void swap_asked(void)
{
	int pair[2], status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		swap_fail("a socket");
	pid = fork();
	if (pid < 0)
		swap_fail("fork");
	if (pid == 0) {
		fd_close(&pair[0]);
		obey(pair[1]);
		_exit(0);
	}
	fd_close(&pair[1]);
	swap_measure(&(struct swapper){ ask_to_map, ask_to_unmap, &pair[0] });
	fd_close(&pair[0]);
	if (waitpid(pid, &status, 0) < 0 || status)
		exit(1);
}
