/* SPDX-License-Identifier: Apache-2.0 */
/* From the first message to READY ("Communication", and the order daemons are used to). */
#include <errno.h>
#include <string.h>

#include "base/range.h"
#include "vhost/frontend_private.h"

/* "MQ, CONFIG" for a mask; returns @buf. */
static const char *feature_names(uint64_t mask, char buf[VU_NAMES])
{
	buf[0] = '\0';
	for (unsigned i = 0; i < VU_PF_END; i++)
		if (mask & BIT64(i))
			err_list_add(buf, VU_NAMES, vu_features[i].name);
	return buf;
}

static int got_features(struct vu_frontend *f, const struct vu_pending *p,
			const struct vu_msg *m, struct err *e)
{
	(void)p;
	(void)e;
	f->has_protocol = m->payload.u64 & BIT64(VU_F_PROTOCOL_FEATURES);
	f->features = m->payload.u64 & ~VU_F_HIDDEN;
	return 0;
}

/* The offer may depend on the protocol features; what allowed those must still stand. */
static int got_features_again(struct vu_frontend *f, const struct vu_pending *p,
			      const struct vu_msg *m, struct err *e)
{
	bool had_protocol = f->has_protocol;

	got_features(f, p, m, e);
	if (f->has_protocol == had_protocol)
		return 0;
	return err_set(e, -EPROTO, "the daemon changed its mind about protocol features (bit 30)");
}

/* Before anything else depends on it: can this daemon serve this device at all? */
static int check_required(const struct vu_frontend *f, struct err *e)
{
	uint64_t required = f->params.required |
			    (f->params.config_size && !f->params.config_optional ?
			     BIT64(VU_PF_CONFIG) : 0);
	uint64_t missing = required & ~f->protocol;
	const struct vu_quirk *q = vu_quirk_to_get(missing, f->protocol_offered);
	char names[VU_NAMES];

	if (!missing)
		return 0;
	feature_names(missing, names);
	if (q)
		return err_set(e, -EPROTO, "the daemon does not offer the protocol feature this "
			       "device cannot work without (%s); use another daemon or device type. "
			       "It offers bit %u, by which %s mean it: for one of those add "
			       "quirk=%s", names, q->bit, q->who, q->name);
	return err_set(e, -EPROTO, "the daemon does not offer the protocol features this device "
		       "cannot work without (%s); use another daemon or device type", names);
}

/*
 * To release 0.16 of the Rust crate vhost GPA_ADDRESSES' bit is SHMEM's, which is of no use without
 * BACKEND_SEND_FD: acked, such a daemon would map what it was not asked to. With user addresses
 * every daemon works.
 */
static bool may_mean_shmem(uint64_t offered)
{
	return offered & BIT64(VU_PF_BACKEND_SEND_FD) && !(offered & BIT64(VU_PF_SHMEM));
}

static int got_protocol_features(struct vu_frontend *f, const struct vu_pending *p,
				 const struct vu_msg *m, struct err *e)
{
	uint64_t withheld = f->ops->shmem_map && f->ops->shmem_unmap ? 0 : BIT64(VU_PF_SHMEM);

	if (!f->params.inflight)
		withheld |= BIT64(VU_PF_INFLIGHT_SHMFD);
	(void)p;
	f->protocol_offered = m->payload.u64;
	if (may_mean_shmem(f->protocol_offered))
		withheld |= BIT64(VU_PF_GPA_ADDRESSES);
	f->protocol = vu_features_ack(vu_quirk_read(f->params.quirk, f->protocol_offered) &
				      ~withheld);
	return check_required(f, e);
}

static int fill_get_protocol(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	(void)m;
	if (!f->has_protocol) {
		int r = check_required(f, e);

		return r < 0 ? r : 0;
	}
	return 1;
}

static int fill_set_protocol(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	(void)e;
	m->header.size = sizeof(m->payload.u64);
	m->payload.u64 = vu_quirk_write(f->params.quirk, f->protocol_offered, f->protocol);
	return f->has_protocol;
}

static int got_queue_num(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
			 struct err *e)
{
	(void)p;
	if (!m->payload.u64)
		return err_set(e, -EPROTO, "the daemon says it has no queue at all");
	f->queues_max = (unsigned)min_u64(m->payload.u64, UINT32_MAX - 1);
	return 0;
}

static int got_slots(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		     struct err *e)
{
	(void)p;
	f->slots_max = m->payload.u64;
	if (f->slots_max >= f->mem->count)
		return 0;
	return err_set(e, -EPROTO, "the daemon takes %llu memory regions, the guest's RAM has %u",
		       (unsigned long long)f->slots_max, f->mem->count);
}

static int fill_mtu(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	(void)e;
	m->header.size = sizeof(m->payload.u64);
	m->payload.u64 = f->params.mtu;
	return f->params.mtu > 0;
}

/* Once a connection: there are daemons that take one in their life. */
static int fill_display(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	(void)e;
	m->fds[0] = f->display;
	m->nfds = 1;
	return f->display >= 0;
}

#define NEEDS(name) .needs = BIT64(VU_PF_##name)

/*
 * SET_BACKEND_REQ_FD comes after SET_PROTOCOL_FEATURES: some daemons look at what was negotiated
 * when it arrives, and never again. The second GET_FEATURES has an answer also where SET_OWNER has
 * none.
 */
static const struct vu_step connect_steps[] = {
	{ VU_GET_FEATURES, .hold = true, .answer = got_features },
	{ VU_GET_PROTOCOL_FEATURES, .fill = fill_get_protocol, .hold = true,
	  .answer = got_protocol_features },
	{ VU_SET_PROTOCOL_FEATURES, .fill = fill_set_protocol },
	{ VU_GET_QUEUE_NUM, NEEDS(MQ), .answer = got_queue_num },
	{ VU_GET_MAX_MEM_SLOTS, NEEDS(CONFIGURE_MEM_SLOTS), .answer = got_slots },
	{ VU_SET_BACKEND_REQ_FD, NEEDS(BACKEND_REQ), .fill = vu_back_fill },
	{ VU_SET_OWNER },
	{ VU_GPU_SET_SOCKET, .fill = fill_display },
	{ VU_NET_SET_MTU, NEEDS(MTU), .fill = fill_mtu },
	{ VU_GET_FEATURES, .answer = got_features_again },
	{ VU_GET_SHMEM_CONFIG, NEEDS(SHMEM), .answer = vu_shmem_config },
	{ VU_GET_CONFIG, NEEDS(CONFIG), .fill = vu_config_fill, .answer = vu_config_first },
	{ 0 },
};

static void connected(struct vu_frontend *f)
{
	/* A daemon without BACKEND_REQ got no back channel: both ends go. */
	if (!vu_has(f, VU_PF_BACKEND_REQ))
		vu_back_fini(f);
	f->state = VU_READY;
	vu_frontend_notify(f, VU_NOTICE_READY);
}

void vu_connect_begin(struct vu_frontend *f)
{
	vu_engine_script(f, connect_steps, 0, connected);
}
