/* SPDX-License-Identifier: Apache-2.0 */
/* RAM as memfds: bounded by no mount, sealed so that no daemon can resize them under the guest. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keyval.h"
#include "memory/backend.h"
#include "memory/hugetlb.h"

#ifndef MFD_NOEXEC_SEAL	/* Linux 6.3 */
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

static unsigned hugetlb_flags(const struct mem_options *o)
{
	if (!o->hugetlb)
		return 0;
	if (!o->hugetlbsize)
		return MFD_HUGETLB;
	return MFD_HUGETLB | (unsigned)__builtin_ctzll(o->hugetlbsize) << MFD_HUGE_SHIFT;
}

static int open_memfd(const struct mem_options *o, int *ret_fd, struct err *e)
{
	unsigned flags = MFD_CLOEXEC | hugetlb_flags(o) | (o->seal ? MFD_ALLOW_SEALING : 0);
	char size[24];
	int fd = -1;

	/* Not executable, where the kernel knows it; hosts may refuse a memfd that is. */
	if (o->seal)
		fd = memfd_create("minivmm-ram", flags | MFD_NOEXEC_SEAL);
	if (fd < 0)
		fd = memfd_create("minivmm-ram", flags);
	if (fd < 0 && o->hugetlb)
		return err_sys(e,
			       "guest RAM: a memfd with hugetlb=on and hugetlbsize=%s (the host's "
			       "sizes are listed in /sys/kernel/mm/hugepages)",
			       o->hugetlbsize ? size_format(o->hugetlbsize, size) : "default");
	if (fd < 0)
		return err_sys(e, "guest RAM: memfd_create");
	*ret_fd = fd;
	return 0;
}

static int make_object(const struct mem_options *o, uint64_t size, int *ret_fd, struct err *e)
{
	autoclose int fd = -1;
	int r = open_memfd(o, &fd, e);
	char buf[24];

	if (r)
		return r;
	if (ftruncate(fd, (off_t)size) < 0)
		return err_sys(e, "guest RAM: a memfd of %s", size_format(size, buf));
	if (o->seal && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return err_sys(e, "guest RAM: sealing a memfd (seal=off goes without)");
	*ret_fd = fd_take(&fd);
	return 0;
}

static int check_size(const struct mem_options *o, const uint64_t *sizes, unsigned count,
		      struct mem_backing *b, struct err *e)
{
	autoclose int probe = -1;
	uint64_t total = 0;
	int r = 0;

	b->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	if (o->hugetlb) {
		r = open_memfd(o, &probe, e);
		if (r == 0 && !hugetlb_is(probe, &b->page_size))
			r = err_set(e, -ENOTSUP,
				    "guest RAM: the host gave hugetlb=on no huge pages");
	}
	r = r ? r : mem_backend_check_pages(sizes, count, b->page_size, e);
	for (unsigned i = 0; i < count && r == 0; i++) {
		total += sizes[i];
		r = mem_backend_check_fsize(sizes[i], e);
	}
	return r || !o->hugetlb ? r : hugetlb_check(b->page_size, total, e);
}

int mem_memfd_create(const struct mem_options *o, const uint64_t *sizes, unsigned count,
		     int *ret_fds, struct mem_backing *b, struct err *e)
{
	int r = check_size(o, sizes, count, b, e);

	if (r)
		return r;
	b->kind = o->hugetlb ? "memfd (hugetlb)" : "memfd";
	for (unsigned i = 0; i < count; i++)
		ret_fds[i] = -1;
	for (unsigned i = 0; i < count && r == 0; i++)
		r = make_object(o, sizes[i], &ret_fds[i], e);
	for (unsigned i = 0; r && i < count; i++)
		fd_close(&ret_fds[i]);
	return r;
}
