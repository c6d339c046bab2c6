/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bell.h"

#include <linux/aio_abi.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

enum { READS_MAX = 64, TAKEN_MAX = 8 };

bool bell_init(struct bell *b)
{
	aio_context_t context = 0;

	*b = (struct bell){ .file = memfd_create("bell", MFD_CLOEXEC) };
	if (b->file < 0 || syscall(SYS_io_setup, READS_MAX, &context) < 0) {
		fd_close(&b->file);
		return false;
	}
	b->context = context;
	return true;
}

void bell_fini(struct bell *b)
{
	if (!b->context)
		return;
	syscall(SYS_io_destroy, b->context);
	fd_close(&b->file);
	b->context = 0;
}

void bell_ring(const struct bell *b, int eventfd)
{
	struct iocb nothing = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)b->file,
				.aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (uint32_t)eventfd };
	struct iocb *reads[] = { &nothing };
	struct io_event taken[TAKEN_MAX];
	struct timespec at_once = { 0 };

	/* A memfd is read within the call. */
	if (!b->context || syscall(SYS_io_submit, b->context, 1, reads) != 1) {
		fd_signal(eventfd);
		return;
	}
	syscall(SYS_io_getevents, b->context, 0, TAKEN_MAX, taken, &at_once);
}
