/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bare/lib/shmem.h"

#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"

enum {
	VENDOR = 0x1af4, CAP_LEN = 2, CAP_TYPE = 3, CAP_BAR = 4, CAP_ID = 5, CAP_OFFSET = 8,
	CAP_LENGTH = 12, CAP_OFFSET_HIGH = 16, CAP_LENGTH_HIGH = 20, CAP64_SIZE = 24,
	TYPE_SHARED_MEMORY = 8, BAR_IS_64 = 4, IDS = 256,
};
#define GIB	(UINT64_C(1) << 30)
#define NOWHERE	UINT64_MAX

static void add_region(struct shmem *s, uint32_t id, uint64_t at, uint64_t len, uint64_t offset)
{
	CHECK(s->count < SHMEM_REGIONS_MAX);
	s->regions[s->count++] = (struct shmem_region){ id, at, len, offset };
}

static uint64_t bar_at(unsigned slot, unsigned bar)
{
	unsigned reg = PCI_BAR0 + 4 * bar;
	uint64_t low = pci_read(slot, reg, 4);

	CHECK(low & BAR_IS_64);
	return (uint64_t)pci_read(slot, reg + 4, 4) << 32 | (low & ~UINT64_C(0xf));
}

static void find_by_capabilities(struct shmem *s)
{
	unsigned slot = s->virtio.slot;

	for (unsigned cap = 0; (cap = pci_capability(slot, PCI_CAP_VENDOR, cap)) != 0;) {
		uint64_t offset, len;

		if (pci_read(slot, cap + CAP_TYPE, 1) != TYPE_SHARED_MEMORY)
			continue;
		CHECK_EQ(pci_read(slot, cap + CAP_LEN, 1), CAP64_SIZE);
		offset = pci_read(slot, cap + CAP_OFFSET, 4) |
			 (uint64_t)pci_read(slot, cap + CAP_OFFSET_HIGH, 4) << 32;
		len = pci_read(slot, cap + CAP_LENGTH, 4) |
		      (uint64_t)pci_read(slot, cap + CAP_LENGTH_HIGH, 4) << 32;
		add_region(s, pci_read(slot, cap + CAP_ID, 1),
			   bar_at(slot, pci_read(slot, cap + CAP_BAR, 1)) + offset, len, offset);
	}
}

static uint64_t read_pair(uint64_t at)
{
	return read32(at) | (uint64_t)read32(at + 4) << 32;
}

static void find_by_registers(struct shmem *s)
{
	uint64_t page = s->virtio.mmio;

	for (uint32_t id = 0; id < IDS; id++) {
		uint64_t len, at;

		write32(page + MMIO_REGION_SELECT, id);
		len = read_pair(page + MMIO_REGION);
		at = read_pair(page + MMIO_REGION + 8);
		CHECK_EQ(len == NOWHERE, at == NOWHERE);
		if (len != NOWHERE)
			add_region(s, id, at, len, s->count ? at - s->regions[0].at : 0);
	}
}

static void map_regions(const struct shmem *s)
{
	uint64_t mapped = 0;		/* up to there; 0 is RAM */

	for (unsigned i = 0; i < s->count; i++) {
		const struct shmem_region *r = &s->regions[i];

		for (uint64_t at = r->at / GIB * GIB; at < r->at + r->len; at += GIB) {
			if (at < mapped)
				continue;
			memory_map_gib(at);
			mapped = at + GIB;
		}
	}
}

void shmem_locate(struct shmem *s)
{
	s->count = 0;
	if (s->mmio)
		find_by_registers(s);
	else
		find_by_capabilities(s);
	CHECK(s->count);
	map_regions(s);
}

struct virtio shmem_neighbour(const struct shmem *s, unsigned n, unsigned device)
{
	struct virtio v;

	if (s->mmio)
		return virtio_find_mmio(n, device);
	virtio_find(&v, device);
	return v;
}

void shmem_find(struct shmem *s)
{
	*s = (struct shmem){ .mmio = read32(MMIO_BASE + MMIO_DEVICE) == SHMEM_DEVICE };
	s->virtio = shmem_neighbour(s, 0, SHMEM_DEVICE);
	shmem_locate(s);
}

void shmem_bring_up(struct shmem *s)
{
	shmem_find(s);
	virtio_bring_up(&s->virtio);
}

uint64_t shmem_at(const struct shmem *s, uint32_t id, uint64_t offset)
{
	for (unsigned i = 0; i < s->count; i++) {
		if (s->regions[i].id == id)
			return s->regions[i].at + offset;
	}
	test_note_hex("no region", id);
	test_fail(__FILE__, __LINE__, "found");
}

uint64_t shmem_bar(const struct shmem *s)
{
	return bar_at(s->virtio.slot, SHMEM_BAR);
}

void shmem_move_bar(const struct shmem *s, uint64_t to)
{
	unsigned slot = s->virtio.slot, reg = PCI_BAR0 + 4 * SHMEM_BAR;

	pci_write(slot, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	pci_write(slot, reg, 4, (uint32_t)to);
	pci_write(slot, reg + 4, 4, (uint32_t)(to >> 32));
	pci_write(slot, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
}

/* Requests */

static struct shmem_request request;
static struct shmem_answer answer;

void shmem_ask(struct shmem *s, const struct shmem_request *q)
{
	const struct virtio_part parts[] = {
		{ &request, sizeof(request), false }, { &answer, sizeof(answer), true },
	};

	request = *q;
	answer = (struct shmem_answer){ INT64_MIN, 0 };
	virtio_add(&s->virtio, 0, parts, COUNT(parts));
	virtio_kick(&s->virtio);
}

bool shmem_is_answered(const struct shmem *s)
{
	return virtio_used(&s->virtio) == s->virtio.queue.added;
}

struct shmem_answer shmem_answer(struct shmem *s)
{
	WAIT_FOR(shmem_is_answered(s));
	barrier();
	if (answer.result < 0) {
		test_note_hex("the daemon has found a fault in request", request.op);
		test_fail(__FILE__, __LINE__, "without one");
	}
	return answer;
}

uint64_t shmem_do(struct shmem *s, const struct shmem_request *q)
{
	struct shmem_answer a;

	shmem_ask(s, q);
	a = shmem_answer(s);
	CHECK_EQ(a.result, 0);
	return a.value;
}

bool shmem_map(struct shmem *s, uint32_t object, uint32_t id, uint64_t offset, uint64_t pages,
	       bool rw)
{
	shmem_ask(s, &(struct shmem_request){ .op = SHMEM_OP_MAP, .object = object, .shmid = id,
					      .rw = rw, .shm_offset = offset,
					      .len = pages * SHMEM_PAGE });
	return !shmem_answer(s).result;
}

bool shmem_unmap(struct shmem *s, uint32_t id, uint64_t offset, uint64_t pages)
{
	shmem_ask(s, &(struct shmem_request){ .op = SHMEM_OP_UNMAP, .shmid = id,
					      .shm_offset = offset, .len = pages * SHMEM_PAGE });
	return !shmem_answer(s).result;
}

uint64_t shmem_changed(struct shmem *s, uint32_t object, uint64_t pages)
{
	return shmem_do(s, &(struct shmem_request){ .op = SHMEM_OP_CHANGED, .object = object,
						    .len = pages * SHMEM_PAGE });
}

uint64_t shmem_read(struct shmem *s, uint32_t object, uint64_t offset)
{
	return shmem_do(s, &(struct shmem_request){ .op = SHMEM_OP_READ, .object = object,
						    .fd_offset = offset });
}
