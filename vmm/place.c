/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/place.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/fd.h"

/* The hole costs no memory. */
#define STAGING_DATA   KIB(128)
#define STAGING_ZEROES MIB(2)

int place_staging_init(struct place_staging *s, struct err *e)
{
	void *map;

	*s = (struct place_staging){ .fd = memfd_create("minivmm-staging", MFD_CLOEXEC) };
	if (s->fd < 0 || ftruncate(s->fd, (off_t)(STAGING_DATA + STAGING_ZEROES)) < 0)
		return err_sys(e, "cannot create the file that tables are staged in");
	map = mmap(NULL, STAGING_DATA, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	if (map == MAP_FAILED)
		return err_sys(e, "cannot map the file that tables are staged in");
	s->map = map;
	return 0;
}

void place_staging_fini(struct place_staging *s)
{
	if (s->map)
		munmap(s->map, STAGING_DATA);
	s->map = NULL;
	fd_close(&s->fd);
}

static void *place_target(const struct place *p, uint64_t gpa, uint64_t len, const char *what,
			  struct err *e)
{
	void *host = mem_ptr(p->mem, gpa, len);

	if (!host)
		err_set(e, -EFAULT,
			"%s (0x%" PRIx64 " bytes at 0x%" PRIx64 ") do not fit the guest's RAM of "
			"%" PRIu64 " KiB: give more with --memory",
			what, len, gpa, p->mem->size >> 10);
	return host;
}

/* Reads through the kernel into the mapping. The file may have shrunk, and so may RAM's object. */
static int place_read(void *host, int fd, uint64_t off, uint64_t len, const char *what,
		      struct err *e)
{
	int r = fd_pread_all(fd, host, len, (off_t)off);

	if (r == -ENODATA)
		return err_set(e, r, "%s became shorter while minivmm had the file open: start it "
			       "again with the whole file", what);
	if (r == -EFAULT)
		return err_set(e, r, "%s cannot be written: somebody truncated the guest's RAM; "
			       "use --mem-backend=memfd, which is sealed against that", what);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "%s cannot be read", what);
	}
	return 0;
}

int place_bytes(const struct place *p, uint64_t gpa, const void *data, size_t len,
		const char *what, struct err *e)
{
	void *host = place_target(p, gpa, len, what, e);

	if (!host)
		return -EFAULT;
	if (len > STAGING_DATA)
		return err_set(e, -E2BIG, "%s are longer than any table of this machine", what);
	memcpy(p->staging->map, data, len);
	return place_read(host, p->staging->fd, 0, len, what, e);
}

int place_zeroes(const struct place *p, uint64_t gpa, uint64_t len, const char *what,
		 struct err *e)
{
	uint8_t *host = place_target(p, gpa, len, what, e);

	if (!host)
		return -EFAULT;
	for (uint64_t done = 0, n; done < len; done += n) {
		n = min_u64(len - done, STAGING_ZEROES);

		int r = place_read(host + done, p->staging->fd, STAGING_DATA, n, what, e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Bytes copied into the RAM object itself; what this cannot do (hugetlb), place_read does. */
static uint64_t place_send(const struct place *p, uint64_t gpa, int fd, uint64_t off, uint64_t len)
{
	const struct mem_region *r = p->mem->regions;
	off_t in = (off_t)off;
	uint64_t left = len;

	while (!range_ok(gpa - r->gpa, len, r->size))
		r++;
	if (lseek(r->fd, (off_t)(r->fd_offset + gpa - r->gpa), SEEK_SET) < 0)
		return 0;
	while (left > 0) {
		ssize_t n = sendfile(r->fd, fd, &in, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		left -= (uint64_t)n;
	}
	return len - left;
}

int place_file(const struct place *p, uint64_t gpa, int fd, uint64_t off, uint64_t len, bool fresh,
	       const char *what, struct err *e)
{
	uint8_t *host = place_target(p, gpa, len, what, e);
	uint64_t sent = 0;

	if (!host)
		return -EFAULT;
	if (fresh && p->mem->backing.page_size < MIB(2) && !p->mem->backing.huge_size)
		sent = place_send(p, gpa, fd, off, len);
	return place_read(host + sent, fd, off + sent, len - sent, what, e);
}
