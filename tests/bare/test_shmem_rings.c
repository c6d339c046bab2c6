/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtqueues and windows: no daemon is told where a window is, so a descriptor that points into one
 * is refused by whoever serves the ring, whatever is mapped there. The neighbours of the device are
 * a disk, persistent memory and an entropy source.
 */
#include "tests/bare/lib/shmem.h"
#include "tests/bare/lib/test.h"

enum { BLK = 1, PMEM = 2, RNG = 3, PMEM_FLUSH = 0 };

static struct shmem dev;
static uint8_t bytes[BLK_SECTOR];

/* Two objects, one of them read-only, where the guest reads and writes them. */
static uint64_t windows[2];

static void find(void)
{
	shmem_bring_up(&dev);
	for (unsigned i = 0; i < COUNT(windows); i++) {
		CHECK(shmem_map(&dev, i, SHMEM_BIG, i * (uint64_t)SHMEM_REFUSED_AT, 4, i == 0));
		windows[i] = shmem_at(&dev, SHMEM_BIG, i * (uint64_t)SHMEM_REFUSED_AT);
		CHECK_EQ(read64(windows[i]), shmem_tag(i, 0));
	}
}

static void check_untouched(void)
{
	for (unsigned i = 0; i < COUNT(windows); i++)
		CHECK_EQ(shmem_changed(&dev, i, SHMEM_OBJECT_PAGES), 0);
}

/* The ring stands still, the device says so; the object is what it was. */
static void check_refused(struct virtio *v, const struct virtio_part *parts, unsigned n)
{
	virtio_bring_up(v);
	virtio_add(v, 0, parts, n);
	virtio_kick(v);
	WAIT_FOR(virtio_status(v) & STATUS_NEEDS_RESET);
	virtio_reset(v);
	check_untouched();
}

static void the_entropy_source_refuses_it(void)
{
	struct virtio v;

	find();
	v = shmem_neighbour(&dev, RNG, VIRTIO_RNG);
	for (unsigned i = 0; i < COUNT(windows); i++)
		check_refused(&v, &(struct virtio_part){ (void *)windows[i], 16, true }, 1);
	rng_check_works(&v);
}

/* Programs can bring that about (O_DIRECT), so of a disk the request alone fails: as long as there
 * is a place to say so. */
static void the_disk_refuses_it(void)
{
	static const struct {
		uint32_t type, reserved;
		uint64_t sector;
	} head = { BLK_READ, 0, 3 };
	static uint8_t status;
	struct virtio v;

	find();
	v = shmem_neighbour(&dev, BLK, VIRTIO_BLK);
	for (unsigned i = 0; i < COUNT(windows); i++) {
		void *there = (void *)windows[i];
		const struct virtio_part data[] = {
			{ (void *)&head, sizeof(head), false }, { there, BLK_SECTOR, true },
			{ &status, 1, true },
		};
		const struct virtio_part request[] = { { there, sizeof(head), false },
						       data[1], data[2] };
		const struct virtio_part answer[] = { data[0], { bytes, BLK_SECTOR, true },
						      { there, 1, true } };

		virtio_bring_up(&v);
		CHECK_EQ(virtio_request(&v, data, COUNT(data)), 0);
		CHECK_EQ(*(volatile uint8_t *)&status, BLK_IOERR);
		status = 0;
		CHECK_EQ(virtio_request(&v, request, COUNT(request)), 0);
		CHECK_EQ(*(volatile uint8_t *)&status, BLK_IOERR);
		check_untouched();
		check_refused(&v, answer, COUNT(answer));
	}
	virtio_bring_up(&v);
	CHECK_EQ(blk_request(&v, BLK_READ, 3, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[0], 3);
}

/* It ends the connection, as it does for whatever it cannot make out. */
static void a_disk_of_qemus_refuses_it(void)
{
	static const uint8_t head[16];
	static uint8_t status = 0xff;
	struct virtio v;

	find();
	v = shmem_neighbour(&dev, BLK, VIRTIO_BLK);
	virtio_bring_up(&v);
	CHECK_EQ(blk_request(&v, BLK_READ, 3, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[0], 3);
	virtio_add(&v, 0, (const struct virtio_part[]){
		{ (void *)head, sizeof(head), false }, { (void *)windows[0], BLK_SECTOR, true },
		{ &status, 1, true } }, 3);
	virtio_kick(&v);
	WAIT_FOR(virtio_status(&v) & STATUS_NEEDS_RESET);
	CHECK_EQ(shmem_changed(&dev, 0, SHMEM_OBJECT_PAGES), 0);
	CHECK_EQ(read64(windows[0]), shmem_tag(0, 0));
	test_note("end the neighbour");
}

static void persistent_memory_refuses_it(void)
{
	static uint32_t flush = PMEM_FLUSH, answer;
	const struct virtio_part good[] = { { &flush, 4, false }, { &answer, 4, true } };
	struct virtio v;

	find();
	v = shmem_neighbour(&dev, PMEM, VIRTIO_PMEM);
	for (unsigned i = 0; i < COUNT(windows); i++) {
		const struct virtio_part request[] = { { (void *)windows[i], 4, false }, good[1] };
		const struct virtio_part its[] = { good[0], { (void *)windows[i], 4, true } };

		check_refused(&v, request, COUNT(request));
		check_refused(&v, its, COUNT(its));
	}
	virtio_bring_up(&v);
	answer = UINT32_MAX;
	CHECK_EQ(virtio_request(&v, good, COUNT(good)), 4);
	CHECK_EQ(*(volatile uint32_t *)&answer, 0);
}

/* A file of holes on a file system that has no room for half of it. Interrupts are off: KVM tells
 * of such a page, and does not wait for it by itself. */
static void persistent_memory_waits_for_room(void)
{
	enum { SIZE = 0x200000 };
	struct shmem p;
	uint64_t at;

	shmem_find(&dev);
	p = (struct shmem){ .mmio = dev.mmio };
	p.virtio = shmem_neighbour(&dev, PMEM, VIRTIO_PMEM);
	shmem_locate(&p);
	virtio_bring_up(&p.virtio);
	at = shmem_at(&p, 0, 0);
	test_note("make room later");
	for (uint64_t off = 0; off < SIZE; off += SHMEM_PAGE)
		write64(at + off, off + 1);
	for (uint64_t off = 0; off < SIZE; off += SHMEM_PAGE)
		CHECK_EQ(read64(at + off), off + 1);
}

/* A daemon does not know its own windows either. */
static void the_one_that_mapped_it_refuses_it(void)
{
	find();
	virtio_add(&dev.virtio, 0, &(struct virtio_part){ (void *)windows[0], 64, true }, 1);
	virtio_kick(&dev.virtio);
	WAIT_FOR(virtio_status(&dev.virtio) & STATUS_NEEDS_RESET);
	CHECK_EQ(read64(windows[0]), shmem_tag(0, 0));
	virtio_reset(&dev.virtio);
	CHECK_EQ(read64(windows[0]), 0);
	virtio_bring_up(&dev.virtio);
	CHECK_EQ(shmem_changed(&dev, 0, SHMEM_OBJECT_PAGES), 0);
}

const struct test_case test_cases[] = {
	SHMEM_CASES(the_entropy_source_refuses_it),
	SHMEM_CASES(the_disk_refuses_it),
	CASE(a_disk_of_qemus_refuses_it),
	SHMEM_CASES(persistent_memory_refuses_it),
	SHMEM_CASES(persistent_memory_waits_for_room),
	SHMEM_CASES(the_one_that_mapped_it_refuses_it),
	{ NULL, NULL },
};
