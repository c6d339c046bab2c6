/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of the memory table: whole, in slots, in parts, and wrong ones. */
#include <errno.h>
#include <inttypes.h>

#include "base/fd.h"
#include "base/range.h"
#include "tools/check.h"

/* With these parts of RAM a ring and its data lie in the last and in the fourth of the eight. */
#define PART	(CHECK_RAM_SIZE / VU_MEM_TABLE_MAX)
enum { RING_PART = 7, DATA_PART = 3 };

static struct vu_mem_region part(const struct check *c, unsigned i)
{
	const struct mem_region *ram = &c->ram.regions[0];

	return (struct vu_mem_region){
		.gpa = ram->gpa + i * PART, .size = PART,
		.user_addr = c->user_base + ram->gpa + i * PART,
		.mmap_offset = ram->fd_offset + i * PART,
	};
}

static int give_parts(struct check *c)
{
	struct vu_msg m = vu_client_msg(VU_SET_MEM_TABLE);

	m.payload.mem_table.count = VU_MEM_TABLE_MAX;
	for (unsigned i = 0; i < VU_MEM_TABLE_MAX; i++) {
		m.payload.mem_table.regions[i] = part(c, i);
		m.fds[i] = c->ram.regions[0].fd;
	}
	m.nfds = VU_MEM_TABLE_MAX;
	m.header.size = sizeof(m.payload.mem_table);
	return check_tell(c, m);
}

/* A table without the regions that rings will be in. */
static int give_first(struct check *c)
{
	struct vu_msg m = vu_client_msg(VU_SET_MEM_TABLE);

	m.payload.mem_table.count = 1;
	m.payload.mem_table.regions[0] = part(c, 0);
	m.header.size = 8 + sizeof(struct vu_mem_region);
	m.fds[m.nfds++] = c->ram.regions[0].fd;
	return check_tell(c, m);
}

static struct vu_msg slot_msg(const struct check *c, uint32_t request, unsigned i)
{
	struct vu_msg m = vu_client_msg(request);

	m.payload.mem_reg.region = part(c, i);
	m.header.size = sizeof(m.payload.mem_reg);
	if (request == VU_ADD_MEM_REG) {
		m.fds[0] = c->ram.regions[0].fd;
		m.nfds = 1;
	}
	return m;
}

/* Starts all rings that requests need, each with its data in another region. */
static int serve_across(struct check *c, unsigned ring_part, unsigned data_part)
{
	for (unsigned i = 0; i < c->device->queues; i++) {
		struct driver_ring *r = &c->rings[i];
		int code;

		driver_ring_fini(r);
		code = driver_ring_init(r, &c->ram, i, ring_part * PART + i * KIB(256),
					data_part * PART + i * KIB(256), 0, &c->e);
		if (!code)
			code = check_start_ring(c, r, 0);
		if (code)
			return code;
	}
	return check_enable(c, true) ? -EREMOTEIO : check_serve(c);
}

static int table(struct check *c)
{
	return check_give_memory(c);
}

static int table_of_eight(struct check *c)
{
	return give_parts(c);
}

static int served_across(struct check *c)
{
	if (give_parts(c))
		return check_skip(c, "a table of 8 regions is not taken");
	return serve_across(c, RING_PART, DATA_PART);
}

static int table_replaced(struct check *c)
{
	int r;

	if (give_first(c))
		return check_skip(c, "the first table is not taken");
	r = check_give_memory(c);
	return r ? r : serve_across(c, RING_PART, DATA_PART);
}

static int guest_addresses(struct check *c)
{
	int r = check_negotiate(c, check_known_features(c), BIT64(VU_PF_GPA_ADDRESSES));

	if (!r)
		r = check_give_memory(c);
	return r ? r : serve_across(c, RING_PART, DATA_PART);
}

/* A table that is wrong by itself: refused, or the connection ends. */
static int table_without_fds(struct check *c)
{
	struct vu_msg m = vu_client_msg(VU_SET_MEM_TABLE);

	m.payload.mem_table.count = 1;
	m.payload.mem_table.regions[0] = part(c, 0);
	m.header.size = 8 + sizeof(struct vu_mem_region);
	return check_refused(c, m);
}

static int table_of_nine(struct check *c)
{
	struct vu_msg m = vu_client_msg(VU_SET_MEM_TABLE);

	m.payload.mem_table.count = VU_MEM_TABLE_MAX + 1;
	for (unsigned i = 0; i < VU_MEM_TABLE_MAX; i++) {
		m.payload.mem_table.regions[i] = part(c, i);
		m.fds[m.nfds++] = c->ram.regions[0].fd;
	}
	m.header.size = sizeof(m.payload.mem_table);
	return check_refused(c, m);
}

static int max_slots(struct check *c)
{
	uint64_t slots;
	int r = vu_client_get(&c->client, VU_GET_MAX_MEM_SLOTS, &slots, &c->e);

	if (r || slots)
		return r;
	return check_fail(c, "GET_MAX_MEM_SLOTS gives 0");
}

static int slots(struct check *c)
{
	int r = 0;

	for (unsigned i = 0; i < VU_MEM_TABLE_MAX && !r; i++)
		r = check_tell(c, slot_msg(c, VU_ADD_MEM_REG, i));
	if (!r)
		r = check_tell(c, slot_msg(c, VU_REM_MEM_REG, 0));
	return r;
}

static int slots_served(struct check *c)
{
	if (slots(c))
		return check_skip(c, "regions are not taken one by one");
	return serve_across(c, RING_PART, DATA_PART);
}

static int slot_unknown(struct check *c)
{
	int r = check_tell(c, slot_msg(c, VU_ADD_MEM_REG, 0));

	return r ? r : check_refused(c, slot_msg(c, VU_REM_MEM_REG, 1));
}

static int slot_without_fd(struct check *c)
{
	struct vu_msg m = slot_msg(c, VU_ADD_MEM_REG, 0);

	m.nfds = 0;
	return check_refused(c, m);
}

#define TABLE "Front-end message types: SET_MEM_TABLE"
#define SLOTS .protocol = BIT64(VU_PF_CONFIGURE_MEM_SLOTS), .from = CHECK_FROM_NEGOTIATED

const struct check_rule check_memory_rules[] = {
	{ "memory.table", TABLE, "a memory table is taken", .from = CHECK_FROM_NEGOTIATED,
	  .own = true, .run = table },
	{ "memory.table-eight", TABLE, "a memory table of 8 regions is taken",
	  .from = CHECK_FROM_NEGOTIATED, .run = table_of_eight },
	{ "memory.across", "Memory regions description",
	  "a ring in one region with its buffers in another is served",
	  .from = CHECK_FROM_NEGOTIATED, .requests = true, .run = served_across },
	{ "memory.table-again", TABLE, "a second table takes the first one's place",
	  .from = CHECK_FROM_NEGOTIATED, .requests = true, .run = table_replaced },
	{ "memory.guest-addresses", "Vring address description",
	  "with GPA_ADDRESSES, a ring at guest addresses is served", .requests = true,
	  .protocol = BIT64(VU_PF_GPA_ADDRESSES), .run = guest_addresses },
	{ "memory.max-slots", "Front-end message types: GET_MAX_MEM_SLOTS",
	  "there is a slot for memory", SLOTS, .run = max_slots },
	{ "memory.slots", "Front-end message types: ADD_MEM_REG, REM_MEM_REG",
	  "regions are added one by one and removed", SLOTS, .run = slots },
	{ "memory.slots-served", "Front-end message types: ADD_MEM_REG",
	  "a ring in regions that were added is served", SLOTS, .requests = true,
	  .run = slots_served },
	{ "memory.slot-unknown", "Front-end message types: REM_MEM_REG",
	  "the removal of a region that is not there is refused", SLOTS, .run = slot_unknown },
	{ .id = NULL },
};

const struct check_rule check_table_rules[] = {
	{ "memory.table-no-fd", TABLE, "a table without file descriptors is refused",
	  .from = CHECK_FROM_NEGOTIATED, .protocol = BIT64(VU_PF_REPLY_ACK),
	  .run = table_without_fds },
	{ "memory.table-nine", TABLE, "a table of 9 regions is refused",
	  .from = CHECK_FROM_NEGOTIATED, .protocol = BIT64(VU_PF_REPLY_ACK), .run = table_of_nine },
	{ "memory.slot-no-fd", "Front-end message types: ADD_MEM_REG",
	  "a region without file descriptor is refused", SLOTS, .run = slot_without_fd },
	{ .id = NULL },
};
