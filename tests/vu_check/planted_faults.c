/* SPDX-License-Identifier: Apache-2.0 */
/* The faults: each a row, with the one rule that has to tell it. */
#include "planted.h"

#include <stddef.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/backend_internal.h"

/* Where vu-check has its RAM, and what of it in which table. */
#define RAM_SIZE	MIB(16)
#define PART		MIB(2)
enum { DATA_PART = 3, STRANGE_BASE = 7, ODD_NUM = 3, LARGE_NUM = 65536 };

/* Most look at the message alone. */
#define HOOK(name) static enum planted_fate \
	name(struct planted *p __attribute__((unused)), struct vu_msg *m)
#define REQUEST(name) HOOK(name)
#define ANSWER(name) HOOK(name)

static bool is(const struct vu_msg *m, uint32_t request)
{
	return m->header.request == request;
}

static bool is_acked(const struct vu_msg *m)
{
	return m->header.flags & VU_FLAG_NEED_REPLY;
}

static enum planted_fate pretend(struct planted *p, const struct vu_msg *m)
{
	return is_acked(m) ? planted_answer(p, m, 0) : SWALLOWED;
}

static struct backend_queue *queue(struct planted *p, unsigned index)
{
	return &p->backend.queues[index < p->backend.dev.queues ? index : 0];
}

/* ---- The form of messages ---- */

ANSWER(need_reply_in_features)
{
	if (is(m, VU_GET_FEATURES))
		m->header.flags |= VU_FLAG_NEED_REPLY;
	return PASS_ON;
}

ANSWER(wrong_id)
{
	if (is(m, VU_GET_QUEUE_NUM))
		m->header.request = VU_GET_FEATURES;
	return PASS_ON;
}

/* Not in the answers that a rule of their own looks at. */
ANSWER(need_reply_in_config)
{
	if (is(m, VU_GET_CONFIG))
		m->header.flags |= VU_FLAG_NEED_REPLY;
	return PASS_ON;
}

REQUEST(reset_of_another)
{
	struct vu_msg other = *m;

	if (!is(m, VU_RESET_DEVICE))
		return PASS_ON;
	other.header.request = VU_SET_OWNER;
	planted_good(p, &(struct vu_msg){ .header = { VU_RESET_DEVICE, VU_FLAG_VERSION, 0 } });
	return pretend(p, &other);
}

ANSWER(no_ack)
{
	return is(m, VU_SET_FEATURES) ? SWALLOWED : PASS_ON;
}

ANSWER(refuses_features)
{
	if (is(m, VU_SET_FEATURES))
		m->payload.u64 = 1;
	return PASS_ON;
}

REQUEST(answers_unasked)
{
	if (is(m, VU_SET_VRING_NUM) && !is_acked(m))
		return planted_answer(p, m, 0);
	return PASS_ON;
}

ANSWER(answers_twice)
{
	/* The second one of a connection asks for a reply, which it gets in any case. */
	if (is(m, VU_GET_FEATURES) && p->seen[VU_SET_VRING_NUM])
		planted_answer(p, m, m->payload.u64);
	return PASS_ON;
}

REQUEST(knows_everything)
{
	return m->header.request >= VU_REQUEST_END ? pretend(p, m) : PASS_ON;
}

REQUEST(dies_of_unknown)
{
	if (m->header.request >= VU_REQUEST_END)
		_exit(1);
	return PASS_ON;
}

REQUEST(dies_of_fds)
{
	if (is(m, VU_GET_FEATURES) && m->nfds > 1)
		_exit(1);
	return PASS_ON;
}

REQUEST(leaks_fd)
{
	if (is(m, VU_GET_FEATURES) && m->nfds == 1) {
		p->leaked = vu_msg_take_fd(m, 0);
		m->nfds = 0;
	}
	return PASS_ON;
}

/* ---- Negotiation ---- */

ANSWER(features_change)
{
	if (is(m, VU_GET_FEATURES) && p->seen[VU_GET_FEATURES] > 1)
		m->payload.u64 ^= BIT64(12);
	return PASS_ON;
}

ANSWER(features_of_second)
{
	if (is(m, VU_GET_FEATURES) && p->connections % 2)
		m->payload.u64 ^= BIT64(12);
	return PASS_ON;
}

ANSWER(protocol_changes)
{
	if (is(m, VU_GET_PROTOCOL_FEATURES) && p->seen[VU_GET_PROTOCOL_FEATURES] > 1)
		m->payload.u64 ^= BIT64(VU_PF_MTU);
	return PASS_ON;
}

ANSWER(skip_drain_alone)
{
	if (is(m, VU_GET_PROTOCOL_FEATURES))
		m->payload.u64 |= BIT64(VU_PF_GET_VRING_BASE_SKIP_DRAIN);
	return PASS_ON;
}

ANSWER(inband_alone)
{
	if (is(m, VU_GET_PROTOCOL_FEATURES))
		m->payload.u64 = (m->payload.u64 | BIT64(VU_PF_INBAND_NOTIFICATIONS)) &
				 ~(BIT64(VU_PF_BACKEND_REQ) | BIT64(VU_PF_BACKEND_SEND_FD) |
				   BIT64(VU_PF_SHMEM));
	return PASS_ON;
}

ANSWER(no_queues)
{
	if (is(m, VU_GET_QUEUE_NUM))
		m->payload.u64 = 0;
	return PASS_ON;
}

REQUEST(sets_gate)
{
	if (is(m, VU_SET_FEATURES))
		m->payload.u64 |= BIT64(VU_F_PROTOCOL_FEATURES);
	return PASS_ON;
}

/* ---- Rings ---- */

ANSWER(refuses_addr)
{
	if (is(m, VU_SET_VRING_ADDR))
		m->payload.u64 = 1;
	return PASS_ON;
}

ANSWER(refuses_enable)
{
	if (is(m, VU_SET_VRING_ENABLE))
		m->payload.u64 = 1;
	return PASS_ON;
}

/* Signals of this call eventfd go nowhere. */
static void deafen(struct vu_msg *m)
{
	fd_close(&m->fds[0]);
	m->fds[0] = fd_eventfd();
}

REQUEST(never_calls)
{
	if (is(m, VU_SET_VRING_CALL) && m->nfds && p->seen[VU_SET_VRING_CALL] == 1)
		deafen(m);
	return PASS_ON;
}

REQUEST(keeps_call)
{
	if (is(m, VU_SET_VRING_CALL) && m->nfds && p->seen[VU_SET_VRING_CALL] > 1)
		deafen(m);
	return PASS_ON;
}

ANSWER(serves_disabled)
{
	if (is(m, VU_SET_VRING_KICK) && !p->seen[VU_SET_VRING_ENABLE]) {
		queue(p, 0)->enabled = true;
		backend_queue_update(queue(p, 0));
	}
	return PASS_ON;
}

REQUEST(loses_kick)
{
	struct backend_queue *q = queue(p, m->payload.state.index);

	if (is(m, VU_SET_VRING_ENABLE) && m->payload.state.num && q->kick >= 0) {
		fd_drain(q->kick);
		p->skip_run = true;
	}
	return PASS_ON;
}

REQUEST(ignores_disable)
{
	if (is(m, VU_SET_VRING_ENABLE) && !m->payload.state.num)
		return pretend(p, m);
	return PASS_ON;
}

REQUEST(enables_once)
{
	if (is(m, VU_SET_VRING_ENABLE) && m->payload.state.num && p->seen[VU_SET_VRING_ENABLE] > 2)
		return pretend(p, m);
	return PASS_ON;
}

REQUEST(forgets_high_base)
{
	if (is(m, VU_SET_VRING_BASE) && m->payload.state.num > INT16_MAX)
		m->payload.state.num = 0;
	return PASS_ON;
}

REQUEST(takes_odd_num)
{
	if (is(m, VU_SET_VRING_NUM) && m->payload.state.num == ODD_NUM)
		return pretend(p, m);
	return PASS_ON;
}

REQUEST(takes_large_num)
{
	if (is(m, VU_SET_VRING_NUM) && m->payload.state.num == LARGE_NUM)
		return pretend(p, m);
	return PASS_ON;
}

REQUEST(takes_any_queue)
{
	if (is(m, VU_SET_VRING_NUM) && m->payload.state.index >= p->backend.dev.queues)
		return pretend(p, m);
	return PASS_ON;
}

REQUEST(dies_of_address)
{
	if (is(m, VU_SET_VRING_ADDR) && (m->payload.addr.desc & (BIT64(44) - 1)) >= RAM_SIZE)
		_exit(1);
	return PASS_ON;
}

/* ---- Stops ---- */

ANSWER(base_forgotten)
{
	if (is(m, VU_GET_VRING_BASE) && m->payload.state.num == STRANGE_BASE)
		m->payload.state.num = 0;
	return PASS_ON;
}

ANSWER(base_of_another)
{
	if (is(m, VU_GET_VRING_BASE))
		m->payload.state.index++;
	return PASS_ON;
}

REQUEST(remembers_base)
{
	if (is(m, VU_SET_VRING_BASE))
		p->base = m->payload.state.num;
	return PASS_ON;
}

ANSWER(base_of_start)
{
	if (is(m, VU_GET_VRING_BASE))
		m->payload.state.num = p->base;
	return PASS_ON;
}

/* Answers as if it stopped; what starts anew is stopped before. */
REQUEST(goes_on)
{
	struct backend_queue *q = queue(p, m->payload.state.index);
	struct vu_msg reply = *m;

	if (is(m, VU_SET_VRING_NUM) && q->started) {
		q->enabled = false;
		backend_queue_stop(q);
	}
	if (!is(m, VU_GET_VRING_BASE) || !q->started)
		return PASS_ON;
	reply.header.flags = VU_FLAG_VERSION | VU_FLAG_REPLY;
	reply.payload.state.num = q->ring.last_avail;
	vu_channel_send(&p->front, &reply);
	return SWALLOWED;
}

REQUEST(restarts_at_zero)
{
	p->stopped |= is(m, VU_GET_VRING_BASE);
	if (is(m, VU_SET_VRING_BASE) && p->stopped)
		m->payload.state.num = 0;
	return PASS_ON;
}

REQUEST(ignores_reset)
{
	return is(m, VU_RESET_DEVICE) ? pretend(p, m) : PASS_ON;
}

/* ---- Memory ---- */

REQUEST(refuses_table)
{
	if (is(m, VU_SET_MEM_TABLE) && m->payload.mem_table.count == 1)
		return planted_answer(p, m, 1);
	return PASS_ON;
}

REQUEST(refuses_eight)
{
	if (is(m, VU_SET_MEM_TABLE) && m->payload.mem_table.count == VU_MEM_TABLE_MAX)
		return planted_answer(p, m, 1);
	return PASS_ON;
}

/* The region that buffers are in gets lost. */
REQUEST(loses_region)
{
	struct vu_mem_table *t = &m->payload.mem_table;

	if (!is(m, VU_SET_MEM_TABLE) || t->count != VU_MEM_TABLE_MAX)
		return PASS_ON;
	t->regions[DATA_PART].gpa += GIB(1);
	t->regions[DATA_PART].user_addr += GIB(1);
	return PASS_ON;
}

REQUEST(keeps_first_table)
{
	if (is(m, VU_SET_MEM_TABLE) && p->seen[VU_SET_MEM_TABLE] > 1)
		return pretend(p, m);
	return PASS_ON;
}

REQUEST(takes_no_fds)
{
	if (is(m, VU_SET_MEM_TABLE) && !m->nfds)
		return pretend(p, m);
	return PASS_ON;
}

REQUEST(takes_nine)
{
	if (is(m, VU_SET_MEM_TABLE) && m->payload.mem_table.count > VU_MEM_TABLE_MAX)
		return pretend(p, m);
	return PASS_ON;
}

REQUEST(refuses_guest_addresses)
{
	if (is(m, VU_SET_MEM_TABLE) && p->protocol & BIT64(VU_PF_GPA_ADDRESSES))
		return planted_answer(p, m, 1);
	return PASS_ON;
}

ANSWER(no_slots)
{
	if (is(m, VU_GET_MAX_MEM_SLOTS))
		m->payload.u64 = 0;
	return PASS_ON;
}

REQUEST(removes_nothing)
{
	if (is(m, VU_REM_MEM_REG) && !m->payload.mem_reg.region.gpa)
		return planted_answer(p, m, 1);
	return PASS_ON;
}

REQUEST(forgets_added)
{
	if (is(m, VU_ADD_MEM_REG) && m->payload.mem_reg.region.gpa == DATA_PART * PART)
		return pretend(p, m);
	return PASS_ON;
}

REQUEST(removes_unknown)
{
	if (is(m, VU_REM_MEM_REG) && m->payload.mem_reg.region.gpa)
		return pretend(p, m);
	return PASS_ON;
}

REQUEST(adds_no_fd)
{
	if (is(m, VU_ADD_MEM_REG) && !m->nfds)
		return pretend(p, m);
	return PASS_ON;
}

/* ---- State ---- */

ANSWER(short_config)
{
	if (is(m, VU_GET_CONFIG) && m->header.size)
		m->header.size--;
	return PASS_ON;
}

REQUEST(config_without_offset)
{
	if (is(m, VU_GET_CONFIG) && m->payload.config.head.offset < VU_CONFIG_MAX)
		m->payload.config.head.offset = 0;
	return PASS_ON;
}

REQUEST(config_everywhere)
{
	if (is(m, VU_GET_CONFIG) && m->payload.config.head.offset >= VU_CONFIG_MAX)
		m->payload.config.head.offset = 0;
	return PASS_ON;
}

ANSWER(region_too_many)
{
	if (is(m, VU_GET_SHMEM_CONFIG))
		m->payload.shmem.nregions++;
	return PASS_ON;
}

ANSWER(region_of_bytes)
{
	if (is(m, VU_GET_SHMEM_CONFIG))
		m->payload.shmem.sizes[0]++;
	return PASS_ON;
}

REQUEST(inflight_without_fd)
{
	struct vu_msg reply = *m;

	if (!is(m, VU_GET_INFLIGHT_FD))
		return PASS_ON;
	reply.header.flags = VU_FLAG_VERSION | VU_FLAG_REPLY;
	reply.payload.inflight.mmap_size = VU_SHMEM_PAGE;
	vu_channel_send(&p->front, &reply);
	return SWALLOWED;
}

REQUEST(inflight_refused)
{
	return is(m, VU_SET_INFLIGHT_FD) ? planted_answer(p, m, 1) : PASS_ON;
}

REQUEST(status_ignored)
{
	return is(m, VU_SET_STATUS) && m->payload.u64 ? pretend(p, m) : PASS_ON;
}

REQUEST(status_stays)
{
	return is(m, VU_SET_STATUS) && !m->payload.u64 ? pretend(p, m) : PASS_ON;
}

const struct planted_fault planted_faults[] = {
	{ "need-reply-in-features", "answer.features", .answer = need_reply_in_features },
	{ "short-features", "answer.features", .shortens = VU_GET_FEATURES },
	{ "wrong-id", "answer.form", .answer = wrong_id },
	{ "short-protocol", "answer.form", .shortens = VU_GET_PROTOCOL_FEATURES },
	{ "need-reply-in-config", "config.size", .answer = need_reply_in_config },
	{ "short-regions", "shmem.config", .shortens = VU_GET_SHMEM_CONFIG },
	{ "reset-of-another", "stop.reset", .request = reset_of_another },
	{ "short-ack", "answer.ack", .shortens = VU_SET_OWNER },
	{ "no-ack", "answer.ack", .answer = no_ack },
	{ "refuses-features", "answer.ack", .answer = refuses_features },
	{ "answers-unasked", "answer.once", .request = answers_unasked },
	{ "answers-twice", "answer.once", .answer = answers_twice },
	{ "knows-everything", "answer.unknown", .request = knows_everything },
	{ "dies-of-unknown", "answer.unknown", .request = dies_of_unknown },
	{ "no-pieces", "wire.pieces", .quirk = QUIRK_NO_PIECES },
	{ "dies-in-header", "wire.half-header", .quirk = QUIRK_DIES_IN_HEADER },
	{ "dies-in-payload", "wire.half-payload", .quirk = QUIRK_DIES_IN_PAYLOAD },
	{ "hangs-oversize", "wire.oversize", .quirk = QUIRK_HANGS_OVERSIZE },
	{ "dies-of-fds", "wire.extra-fds", .request = dies_of_fds },
	{ "leaks-fd", "wire.extra-fds-closed", .request = leaks_fd },
	{ "features-change", "features.stable", .answer = features_change },
	{ "features-of-second", "life.second", .answer = features_of_second },
	{ "protocol-changes", "features.protocol-stable", .answer = protocol_changes },
	{ "skip-drain-alone", "features.protocol-needs", .answer = skip_drain_alone },
	{ "inband-alone", "features.protocol-needs", .answer = inband_alone },
	{ "no-queues", "state.queues", .answer = no_queues },
	{ "sets-gate", "ring.without-gate", .request = sets_gate },
	{ "refuses-addr", "ring.start", .answer = refuses_addr },
	{ "refuses-enable", "ring.enable", .answer = refuses_enable },
	{ "never-serves", "ring.served", .quirk = QUIRK_NEVER_SERVES },
	{ "never-calls", "ring.call", .request = never_calls },
	{ "keeps-call", "ring.call-swap", .request = keeps_call },
	{ "one-a-kick", "ring.many", .quirk = QUIRK_ONE_A_KICK },
	{ "serves-disabled", "ring.disabled-at-start", .answer = serves_disabled },
	{ "loses-kick", "ring.kick-before-enable", .request = loses_kick },
	{ "ignores-disable", "ring.disable", .request = ignores_disable },
	{ "enables-once", "ring.enable-again", .request = enables_once },
	{ "forgets-high-base", "ring.wrap", .request = forgets_high_base },
	{ "takes-odd-num", "ring.num-power", .request = takes_odd_num },
	{ "takes-large-num", "ring.num-limit", .request = takes_large_num },
	{ "takes-any-queue", "ring.index", .request = takes_any_queue },
	{ "dies-of-address", "ring.outside", .request = dies_of_address },
	{ "base-forgotten", "stop.base-kept", .answer = base_forgotten },
	{ "base-of-another", "stop.base-kept", .answer = base_of_another },
	{ "base-of-start", "stop.base", .request = remembers_base, .answer = base_of_start },
	{ "goes-on", "stop.untouched", .request = goes_on },
	{ "restarts-at-zero", "stop.restart", .request = restarts_at_zero },
	{ "ignores-reset", "stop.reset", .request = ignores_reset },
	{ "dead-after-reset", "stop.reset-restart", .quirk = QUIRK_DEAD_AFTER_RESET },
	{ "refuses-table", "memory.table", .request = refuses_table },
	{ "refuses-eight", "memory.table-eight", .request = refuses_eight },
	{ "loses-region", "memory.across", .request = loses_region },
	{ "keeps-first-table", "memory.table-again", .request = keeps_first_table },
	{ "takes-no-fds", "memory.table-no-fd", .request = takes_no_fds },
	{ "takes-nine", "memory.table-nine", .request = takes_nine },
	{ "refuses-guest-addresses", "memory.guest-addresses", .request = refuses_guest_addresses },
	{ "no-slots", "memory.max-slots", .answer = no_slots },
	{ "removes-nothing", "memory.slots", .request = removes_nothing },
	{ "forgets-added", "memory.slots-served", .request = forgets_added },
	{ "removes-unknown", "memory.slot-unknown", .request = removes_unknown },
	{ "adds-no-fd", "memory.slot-no-fd", .request = adds_no_fd },
	{ "short-config", "config.size", .answer = short_config },
	{ "config-without-offset", "config.offset", .request = config_without_offset },
	{ "config-everywhere", "config.beyond", .request = config_everywhere },
	{ "region-too-many", "shmem.config", .answer = region_too_many },
	{ "region-of-bytes", "shmem.config", .answer = region_of_bytes },
	{ "inflight-without-fd", "inflight.buffer", .request = inflight_without_fd },
	{ "inflight-refused", "inflight.served", .request = inflight_refused },
	{ "status-ignored", "status.kept", .request = status_ignored },
	{ "status-stays", "status.reset", .request = status_stays },
	{ "blk-id", "blk.id", .quirk = QUIRK_BLK_ID },
	{ "blk-last", "blk.read", .quirk = QUIRK_BLK_LAST },
	{ "blk-length", "blk.length", .quirk = QUIRK_BLK_LENGTH },
	{ "blk-flush", "blk.flush", .quirk = QUIRK_BLK_FLUSH },
	{ "blk-unsupported", "blk.unsupported", .quirk = QUIRK_BLK_UNSUPPORTED },
	{ "blk-beyond", "blk.beyond", .quirk = QUIRK_BLK_BEYOND },
	{ "blk-overflow", "blk.overflow", .quirk = QUIRK_BLK_OVERFLOW },
	{ "blk-write", "blk.write", .quirk = QUIRK_BLK_WRITE },
	{ "blk-read-back", "blk.write", .quirk = QUIRK_BLK_READ_BACK },
	{ "rng-same", "rng.fills", .type = "rng", .quirk = QUIRK_RNG_SAME },
	{ "pmem-error", "pmem.flush", .type = "pmem", .quirk = QUIRK_PMEM_ERROR },
	{ "fs-init", "fs.init", .type = "fs", .quirk = QUIRK_FS_INIT },
	{ "console-output", "console.output", .type = "console", .quirk = QUIRK_CONSOLE_OUTPUT },
	{ "console-input", "console.input", .type = "console", .quirk = QUIRK_CONSOLE_INPUT },
	{ "fs-unknown", "fs.unknown", .type = "fs", .quirk = QUIRK_FS_UNKNOWN },
	{ "dies-of-outside", "driver.outside", .dies_of = "outside guest memory" },
	{ "dies-of-loop", "driver.loop", .dies_of = "a loop" },
	{ "dies-of-index", "driver.index", .dies_of = "runs" },
	{ "dies-of-empty", "driver.empty", .dies_of = "length 0" },
	{ .name = NULL },
};
