/* SPDX-License-Identifier: Apache-2.0 */
/* Shared memory regions ("VIRTIO Shared Memory Region configuration", GET_SHMEM_CONFIG, SHMEM_MAP,
 * SHMEM_UNMAP): what can be judged without the owner. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/range.h"
#include "vhost/frontend_private.h"

int vu_shmem_config(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		    struct err *e)
{
	const struct vu_shmem_config *c = &m->payload.shmem;
	uint64_t sum = 0;
	unsigned there = 0;

	(void)p;
	for (unsigned i = 0; i < VU_SHMEM_REGIONS; i++) {
		if (c->sizes[i] % VU_SHMEM_PAGE)
			return err_set(e, -EPROTO, "the daemon's shared memory region %u has %" PRIu64
				       " bytes, which is no multiple of %d", i, c->sizes[i],
				       VU_SHMEM_PAGE);
		if (__builtin_add_overflow(sum, c->sizes[i], &sum))
			return err_set(e, -EPROTO, "the daemon's shared memory region %u of %" PRIu64
				       " bytes does not fit beside the others", i, c->sizes[i]);
		there += c->sizes[i] != 0;
	}
	if (c->nregions != there)
		return err_set(e, -EPROTO, "the daemon announces %u shared memory regions and gives "
			       "%u sizes", c->nregions, there);
	memcpy(f->shmem, c->sizes, sizeof(f->shmem));
	return 0;
}

/* The bytes that must be zero, and flags nobody has defined. */
static int check_form(const struct vu_mmap *w, const char *name, struct err *e)
{
	for (size_t i = 0; i < sizeof(w->padding); i++)
		if (w->padding[i])
			return err_set(e, -EINVAL, "%s has bytes in its padding", name);
	if (w->flags & ~(uint64_t)VU_SHMEM_RW)
		return err_set(e, -EINVAL, "%s has unknown flags 0x%" PRIx64, name,
			       w->flags & ~(uint64_t)VU_SHMEM_RW);
	return 0;
}

static int check_range(const struct vu_frontend *f, const struct vu_shmem_map *m, const char *name,
		       struct err *e)
{
	uint64_t size = f->shmem[m->shmid];

	if (!size)
		return err_set(e, -ENXIO, "%s of shared memory region %u, which the daemon does not "
			       "have", name, m->shmid);
	if (!m->len)
		return err_set(e, -EINVAL, "%s of no bytes", name);
	if (!range_ok(m->shm_offset, m->len, size))
		return err_set(e, -EINVAL, "%s of 0x%" PRIx64 " bytes at 0x%" PRIx64 " of shared "
			       "memory region %u, which ends at 0x%" PRIx64, name, m->len,
			       m->shm_offset, m->shmid, size);
	if (!range_ok(m->fd_offset, m->len, INT64_MAX))
		return err_set(e, -EOVERFLOW, "%s of 0x%" PRIx64 " bytes at 0x%" PRIx64
			       " of its file, where no file can be", name, m->len, m->fd_offset);
	return 0;
}

int vu_shmem_serve(struct vu_frontend *f, struct vu_msg *m, struct err *e)
{
	const struct vu_mmap *w = &m->payload.mmap;
	const char *name = vu_backend_request_name(m->header.request);
	bool map = m->header.request == VU_BACKEND_SHMEM_MAP;
	struct vu_shmem_map want = { .shmid = w->shmid, .shm_offset = w->shm_offset,
				     .len = w->len };
	int r;

	/* UNMAP names a mapping by its place alone. */
	if (map) {
		want.fd_offset = w->fd_offset;
		want.rw = w->flags & VU_SHMEM_RW;
	}
	if (f->state == VU_CONNECTING)
		return err_set(e, -EBUSY, "%s before the device is negotiated", name);
	r = check_form(w, name, e);
	if (r == 0)
		r = check_range(f, &want, name, e);
	if (r == 0)
		r = map ? f->ops->shmem_map(f->arg, &want, m->fds[0], e) :
			  f->ops->shmem_unmap(f->arg, &want, e);
	if (r < 0)
		return r;
	f->back_obeyed = m->header.request;
	f->back_map = want;
	return 0;
}

void vu_shmem_undo(struct vu_frontend *f)
{
	struct err e;

	if (f->back_obeyed == VU_BACKEND_SHMEM_MAP &&
	    f->ops->shmem_unmap(f->arg, &f->back_map, &e) < 0)
		log_warn("%s (socket %s): %s", f->params.name, f->params.socket, e.msg);
	f->back_obeyed = 0;
}
