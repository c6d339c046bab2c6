/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache of the device's config space ("Virtio device config space", GET_CONFIG, SET_CONFIG).
 *
 * One config message is unanswered at a time. What the guest writes meanwhile is marked byte by
 * byte and sent as it is by then; what the daemon changed meanwhile is read again. So neither side
 * can make the other queue up.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/range.h"
#include "vhost/frontend_private.h"

static bool is_dirty(const struct vu_frontend *f, unsigned at)
{
	return f->config_dirty[at / 64] & BIT64(at % 64);
}

int vu_config_fill(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	(void)e;
	m->header.size = (uint32_t)sizeof(struct vu_config) + f->params.config_size;
	m->payload.config.head = (struct vu_config){ .size = f->params.config_size };
	return f->params.config_size > 0;
}

/* Bytes the guest wrote and the daemon has not seen yet stay the guest's. */
static void store(struct vu_frontend *f, const uint8_t *bytes)
{
	for (unsigned i = 0; i < f->params.config_size; i++)
		if (!is_dirty(f, i))
			f->config[i] = bytes[i];
}

/* 1: the config is here; 0: the daemon could not read it. */
static int check_config(const struct vu_frontend *f, const struct vu_msg *m, struct err *e)
{
	const struct vu_config *c = &m->payload.config.head;

	if (m->header.size == 0)
		return 0;
	if (m->header.size != sizeof(*c) + f->params.config_size ||
	    c->size != f->params.config_size || c->offset != 0)
		return err_set(e, -EPROTO, "the answer to GET_CONFIG of %u bytes at 0 has %u bytes "
			       "of payload for %u bytes at %u", f->params.config_size,
			       m->header.size, c->size, c->offset);
	return 1;
}

int vu_config_first(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		    struct err *e)
{
	int r = check_config(f, m, e);

	(void)p;
	if (r < 0)
		return r;
	if (r == 0 && f->params.config_optional)
		return 0;
	if (r == 0)
		return err_set(e, -EPROTO, "the daemon cannot give %u bytes of config space; use "
			       "another daemon or device type", f->params.config_size);
	store(f, m->payload.config.data);
	f->has_config = true;
	return 0;
}

static int got_config(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		      struct err *e)
{
	int r = check_config(f, m, e);

	(void)p;
	f->config_busy = false;
	if (r < 0)
		return r;
	if (f->config_owed)
		vu_frontend_notify(f, VU_NOTICE_CONFIG_READ);
	if (r == 0) {
		if (misuse_first(&f->config_refused))
			log_warn("%s (socket %s): the daemon cannot read its config space; what "
				 "was read before stays", f->params.name, f->params.socket);
		return 0;
	}
	store(f, m->payload.config.data);
	if (f->config_news)
		vu_frontend_notify(f, VU_NOTICE_CONFIG);
	return 0;
}

/* A refused write is an outcome: what the daemon has instead is read and shown to the guest. */
static int config_written(struct vu_frontend *f, const struct vu_pending *p,
			  const struct vu_msg *m, struct err *e)
{
	(void)e;
	f->config_busy = false;
	if (p->request != VU_SET_CONFIG || m->payload.u64 == 0)
		return 0;
	if (misuse_first(&f->config_refused))
		log_warn("%s (socket %s): the daemon refused config bytes %u to %u the guest wrote",
			 f->params.name, f->params.socket, p->at, p->at + p->len - 1);
	f->config_stale = true;
	return 0;
}

/* Sends the first run of bytes the guest wrote. */
static bool send_dirty(struct vu_frontend *f)
{
	struct vu_msg m = { .header.request = VU_SET_CONFIG };
	unsigned at = 0, len = 0;

	while (at < f->params.config_size && !is_dirty(f, at))
		at++;
	while (at + len < f->params.config_size && is_dirty(f, at + len)) {
		f->config_dirty[(at + len) / 64] &= ~BIT64((at + len) % 64);
		m.payload.config.data[len] = f->config[at + len];
		len++;
	}
	if (!len)
		return false;
	m.payload.config.head = (struct vu_config){ .offset = at, .size = len };
	m.header.size = (uint32_t)sizeof(struct vu_config) + len;
	f->config_busy = true;
	vu_engine_request(f, &m, at, len, config_written);
	if (!vu_has(f, VU_PF_REPLY_ACK)) {
		struct vu_msg barrier = { .header.request = VU_GET_FEATURES };

		vu_engine_request(f, &barrier, at, len, config_written);
	}
	return true;
}

void vu_config_pump(struct vu_frontend *f)
{
	struct vu_msg m = { .header.request = VU_GET_CONFIG };
	struct err e;

	if (f->state == VU_CONNECTING || f->state == VU_GONE || f->config_busy ||
	    vu_channel_pending(&f->channel))
		return;
	/* The back channel's answer goes first, see vu_back. */
	if (send_dirty(f) || !(f->config_stale || f->config_wanted) || vu_channel_pending(&f->back))
		return;
	f->config_news = f->config_stale;
	f->config_owed = f->config_wanted;
	f->config_stale = f->config_wanted = false;
	if (!vu_has(f, VU_PF_CONFIG) || !vu_config_fill(f, 0, &m, &e))
		return;
	f->config_busy = true;
	vu_engine_request(f, &m, 0, f->params.config_size, got_config);
}

void vu_frontend_config_read(struct vu_frontend *f)
{
	f->config_wanted = true;
	vu_engine_pump(f);
}

bool vu_config_is_owed(const struct vu_frontend *f)
{
	uint64_t dirty = 0;

	for (size_t i = 0; i < ARRAY_SIZE(f->config_dirty); i++)
		dirty |= f->config_dirty[i];
	return dirty;
}

void vu_frontend_config_keep(struct vu_frontend *f, unsigned off, unsigned len)
{
	if (f->state == VU_CONNECTING || f->state == VU_GONE || !vu_has(f, VU_PF_CONFIG) ||
	    !range_ok(off, len, f->params.config_size))
		return;
	for (unsigned i = off; i < off + len; i++)
		f->config_dirty[i / 64] |= BIT64(i % 64);
}

void vu_frontend_config_write(struct vu_frontend *f, unsigned off, unsigned len)
{
	vu_frontend_config_keep(f, off, len);
	vu_engine_pump(f);
}
