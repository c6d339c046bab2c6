/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/frontend_inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/frontend_private.h"

int vu_inflight_take(struct vu_inflight_buffer *b, const struct vu_inflight *asked,
		     const struct vu_inflight *answer, int fd, struct err *e)
{
	struct stat st;
	int copy;

	if (!answer->mmap_size)
		return 0;
	if (fd < 0)
		return err_set(e, -EPROTO, "the daemon gives an in-flight buffer of %" PRIu64
			       " bytes without its file", answer->mmap_size);
	if (answer->num_queues != asked->num_queues || answer->queue_size != asked->queue_size)
		return err_set(e, -EPROTO, "the daemon's in-flight buffer is for %u queues of %u"
			       " entries, asked for were %u of %u", answer->num_queues,
			       answer->queue_size, asked->num_queues, asked->queue_size);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return err_set(e, -EPROTO, "the daemon's in-flight buffer is not a file");
	if (answer->mmap_offset % 4096 ||
	    !range_ok(answer->mmap_offset, answer->mmap_size, (uint64_t)st.st_size))
		return err_set(e, -EPROTO, "the daemon's in-flight buffer, %" PRIu64 " bytes at %"
			       PRIu64 ", does not lie in its file of %lld bytes", answer->mmap_size,
			       answer->mmap_offset, (long long)st.st_size);
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return err_sys(e, "the in-flight buffer cannot be kept");
	vu_inflight_drop(b);
	*b = (struct vu_inflight_buffer){ .fd = copy, .shape = *answer };
	b->shape.padding = 0;
	return 0;
}

void vu_inflight_drop(struct vu_inflight_buffer *b)
{
	fd_close(&b->fd);
	b->shape = (struct vu_inflight){ 0 };
}

/* What to ask for: room for every ring there is, at the largest of this life's sizes. */
static struct vu_inflight wanted(const struct vu_frontend *f)
{
	struct vu_inflight want = { .num_queues = (uint16_t)f->n_rings };

	for (unsigned i = 0; i < f->n_rings; i++)
		if (f->rings[i].enabled && f->rings[i].size > want.queue_size)
			want.queue_size = f->rings[i].size;
	return want;
}

int vu_inflight_fill_get(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	(void)e;
	m->header.size = sizeof(m->payload.inflight);
	m->payload.inflight = wanted(f);
	return f->params.inflight->fd < 0 && m->payload.inflight.queue_size;
}

int vu_inflight_got(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		    struct err *e)
{
	const struct vu_inflight asked = wanted(f);

	(void)p;
	return vu_inflight_take(f->params.inflight, &asked, &m->payload.inflight,
				m->nfds ? m->fds[0] : -1, e);
}

int vu_inflight_fill_set(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	const struct vu_inflight_buffer *b = f->params.inflight;

	(void)ring;
	(void)e;
	m->header.size = sizeof(m->payload.inflight);
	m->payload.inflight = b->shape;
	m->fds[0] = b->fd;
	m->nfds = 1;
	return b->fd >= 0;
}
