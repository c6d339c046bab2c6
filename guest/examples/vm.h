/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bell of a channel (ring.h) whose other end is in a guest, from the socket of --vmshm
 * events=SOCKET: event 0 both ways. Notices when the VM ends, or releases the object.
 */
#ifndef GUEST_EXAMPLES_VM_H
#define GUEST_EXAMPLES_VM_H

#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../vmshm/vmshm_host.h"

struct vm {
	struct vmshm_host host;
	int epoll;		/* its doorbell and its socket: readable when either is */
	bool opened;		/* the guest had the object open */
};

#define VM_NONE { .host = { .sock = -1 }, .epoll = -1 }

/* Works on VM_NONE, and after vm_connect failed. */
static inline void vm_close(struct vm *vm)
{
	vmshm_host_close(&vm->host);
	if (vm->epoll >= 0)
		close(vm->epoll);
	*vm = (struct vm)VM_NONE;
}

static inline int vm_watch(struct vm *vm, int fd)
{
	struct epoll_event e = { .events = EPOLLIN };

	return epoll_ctl(vm->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

/* @path: of --vmshm events=SOCKET; waits @ms milliseconds for the VM. -ENOTSUP: no events. */
static inline int vm_connect(struct vm *vm, const char *path, int ms)
{
	int rc = vmshm_host_connect(&vm->host, path, ms);

	if (rc)
		return rc;
	if (!vm->host.events)
		return -ENOTSUP;
	vm->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (vm->epoll < 0)
		return -errno;
	rc = vm_watch(vm, vm->host.wait[0]);
	return rc ? rc : vm_watch(vm, vm->host.sock);
}

/* The two halves of a bell of ring.h. */
static inline int vm_ring(void *arg)
{
	return vmshm_host_ring(&((struct vm *)arg)->host, 0);
}

/* Something is there to be read: -ECONNRESET when that is the VM's end, or when the guest released
 * the object and everything that it said before was heard. */
static inline int vm_taken(void *arg)
{
	struct vm *vm = arg;
	int rc = vmshm_host_wait(&vm->host, 0, 0), fd = -1;
	struct vmshm_msg m;

	if (rc)
		return rc < 0 ? rc : 0;
	rc = vmshm_host_news(&vm->host, 0, &m, &fd);
	if (rc)
		return rc == -ETIMEDOUT ? 0 : rc;
	if (fd >= 0)
		close(fd);
	/* from now on the socket is at its end: the next sleep notices, if there is one */
	if (m.kind == VMSHM_MSG_CLOSED && vm->opened)
		shutdown(vm->host.sock, SHUT_RDWR);
	vm->opened |= m.kind == VMSHM_MSG_OPEN;
	return 0;
}

static inline int vm_sleep(void *arg, int ms)
{
	struct vm *vm = arg;
	struct epoll_event e;
	int n = epoll_wait(vm->epoll, &e, 1, ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n ? vm_taken(vm) : 0;
}

#endif
