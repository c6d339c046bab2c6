/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver_ring.h"

#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "vhost/ring.h"

static struct ring_desc *descriptors(const struct driver_ring *r)
{
	return mem_ptr(r->ram, driver_ring_desc(r), ring_desc_bytes(DRIVER_RING_SIZE));
}

static struct ring_avail *available(const struct driver_ring *r)
{
	return mem_ptr(r->ram, driver_ring_avail(r), ring_avail_bytes(DRIVER_RING_SIZE, true));
}

static struct ring_used *used(const struct driver_ring *r)
{
	return mem_ptr(r->ram, driver_ring_used(r), ring_used_bytes(DRIVER_RING_SIZE, true));
}

int driver_ring_init(struct driver_ring *r, const struct guest_mem *ram, unsigned index,
		     uint64_t gpa, uint64_t data, uint16_t base, struct err *e)
{
	void *host = mem_ptr(ram, gpa, DRIVER_RING_BYTES);
	int *const fds[] = { &r->kick, &r->call, &r->err };

	*r = (struct driver_ring){ .ram = ram, .gpa = gpa, .data = data, .index = index,
				   .avail = base, .kick = -1, .call = -1, .err = -1 };
	if (!host || !mem_ptr(ram, data, DRIVER_DATA_BYTES))
		return err_set(e, -EFAULT, "queue %u lies outside RAM", index);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		*fds[i] = fd_eventfd();
		if (*fds[i] < 0)
			return err_set(e, *fds[i], "eventfd: %s", strerror(-*fds[i]));
	}
	memset(host, 0, DRIVER_RING_BYTES);
	available(r)->idx = base;
	used(r)->idx = base;
	return 0;
}

void driver_ring_fini(struct driver_ring *r)
{
	fd_close(&r->kick);
	fd_close(&r->call);
	fd_close(&r->err);
}

static uint64_t slot_gpa(const struct driver_ring *r)
{
	return r->data + (uint64_t)(r->avail % DRIVER_SLOTS) * DRIVER_SLOT_BYTES;
}

uint8_t *driver_ring_slot(struct driver_ring *r)
{
	uint8_t *slot = mem_ptr(r->ram, slot_gpa(r), DRIVER_SLOT_BYTES);

	memset(slot, 0, DRIVER_SLOT_BYTES);
	return slot;
}

static void publish(struct driver_ring *r, uint16_t head)
{
	struct ring_avail *a = available(r);

	a->ring[r->avail % DRIVER_RING_SIZE] = head;
	r->avail++;
	__atomic_store_n(&a->idx, r->avail, __ATOMIC_RELEASE);
}

/* Fills the descriptors of the next slot; the last one's next is the first. Gives the first. */
static uint16_t fill(struct driver_ring *r, const struct driver_part *parts, unsigned n)
{
	uint16_t head = (uint16_t)(r->avail % DRIVER_SLOTS * DRIVER_CHAIN_MAX);

	for (unsigned i = 0; i < n; i++) {
		const struct driver_part *p = &parts[i];
		bool last = i + 1 == n;

		descriptors(r)[head + i] = (struct ring_desc){
			.addr = p->elsewhere ? p->gpa : slot_gpa(r) + p->off,
			.len = p->len,
			.flags = (uint16_t)((p->in ? RING_DESC_F_WRITE : 0) |
					    (last ? 0 : RING_DESC_F_NEXT)),
			.next = (uint16_t)(last ? head : head + i + 1),
		};
	}
	return head;
}

void driver_ring_add(struct driver_ring *r, const struct driver_part *parts, unsigned n)
{
	publish(r, fill(r, parts, n));
}

void driver_ring_add_loop(struct driver_ring *r, const struct driver_part *parts, unsigned n)
{
	uint16_t head = fill(r, parts, n);

	descriptors(r)[head + n - 1].flags |= RING_DESC_F_NEXT;
	publish(r, head);
}

void driver_ring_lie(struct driver_ring *r, uint16_t by)
{
	__atomic_store_n(&available(r)->idx, (uint16_t)(r->avail + by), __ATOMIC_RELEASE);
}

uint16_t driver_ring_used_idx(const struct driver_ring *r)
{
	return __atomic_load_n(&used(r)->idx, __ATOMIC_ACQUIRE);
}

int64_t driver_ring_used_len(const struct driver_ring *r, uint16_t idx)
{
	struct ring_used_elem got = used(r)->ring[(uint16_t)(idx - 1) % DRIVER_RING_SIZE];

	if (got.id >= DRIVER_RING_SIZE || got.id % DRIVER_CHAIN_MAX)
		return -1;
	return got.len;
}
