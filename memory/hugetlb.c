/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/hugetlb.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keyval.h"

#define POOLS "/sys/kernel/mm/hugepages"

bool hugetlb_is(int fd, uint64_t *ret_page)
{
	struct statfs s;

	if (fstatfs(fd, &s) < 0 || s.f_type != HUGETLBFS_MAGIC)
		return false;
	*ret_page = (uint64_t)s.f_bsize;
	return true;
}

static int open_count(uint64_t page, const char *file)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), POOLS "/hugepages-%" PRIu64 "kB/%s", page / 1024, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int read_count(int fd, uint64_t *ret)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	*ret = strtoull(text, NULL, 10);
	return 0;
}

int hugetlb_check(uint64_t page, uint64_t need, struct err *e)
{
	static const char *const files[] = {
		"free_hugepages", "resv_hugepages", "nr_overcommit_hugepages", "surplus_hugepages"
	};
	uint64_t counts[4], have, pages = (need + page - 1) / page;
	char size[24];

	for (unsigned i = 0; i < 4; i++) {
		autoclose int fd = open_count(page, files[i]);

		if (fd < 0 || read_count(fd, &counts[i]))
			return 0;
	}
	have = counts[0] > counts[1] ? counts[0] - counts[1] : 0;
	have += counts[2] > counts[3] ? counts[2] - counts[3] : 0;
	if (pages <= have)
		return 0;
	size_format(page, size);
	return err_set(e, -ENOMEM,
		       "guest RAM needs %" PRIu64 " huge pages of %s, but the host has %" PRIu64
		       " to give; raise " POOLS "/hugepages-%" PRIu64
		       "kB/nr_hugepages, or use shm (thp=on), which needs no pool",
		       pages, size, have, page / 1024);
}

int hugetlb_open_pool(uint64_t page)
{
	return open_count(page, "free_hugepages");
}

bool hugetlb_is_empty(int pool_fd)
{
	uint64_t free_pages;

	return read_count(pool_fd, &free_pages) == 0 && free_pages == 0;
}
