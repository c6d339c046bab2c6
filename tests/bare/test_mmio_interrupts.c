/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts of virtio devices by MMIO, and resets of what is under way: a disk is device 0 on pin
 * 16, an entropy source device 1 on pin 17.
 */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

enum {
	DISK = 0, SOURCE = 1, DISK_PIN = 16, SOURCE_PIN = 17,
	DISK_IRQ = IRQ_FIRST, SOURCE_IRQ, SECTORS = 128, RNG_QUEUE = 4,
	PAUSE = 20000000,	/* cycles */
};

static uint8_t bytes[512];

/* Interrupts */

static struct virtio hooked;
static volatile uint16_t seen;
static volatile uint32_t was;

/* As a driver's handler does it. */
static void handle(unsigned vector)
{
	(void)vector;
	was = read32(hooked.mmio + MMIO_INTERRUPT_STATUS);
	write32(hooked.mmio + MMIO_INTERRUPT_ACK, was);
	seen = virtio_used(&hooked);
}

static void hook(const struct virtio *v, unsigned pin, unsigned vector)
{
	hooked = *v;
	seen = 0;
	irq_init();
	ioapic_set(pin, vector, false, false);
	irq_hook = handle;
	irq_enable();
}

struct blk_chain {
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} head;
	uint8_t data[BLK_SECTOR], status;
};

static void add_read(struct virtio *v, unsigned slot, struct blk_chain *c, uint64_t sector)
{
	const struct virtio_part parts[] = {
		{ &c->head, sizeof(c->head), false },
		{ c->data, BLK_SECTOR, true },
		{ &c->status, 1, true },
	};

	c->head.type = BLK_READ;
	c->head.sector = sector;
	c->status = 0xff;
	virtio_add(v, COUNT(parts) * slot, parts, COUNT(parts));
}

/* What is used is seen by an interrupt, each time: nobody else looks. */
static void every_request_ends_in_an_interrupt(void)
{
	enum { ROUNDS = 300 };
	static struct blk_chain chain;
	struct virtio v = virtio_find_mmio(DISK, VIRTIO_BLK);

	virtio_bring_up(&v);
	hook(&v, DISK_PIN, DISK_IRQ);
	for (unsigned i = 0; i < ROUNDS; i++) {
		add_read(&v, 0, &chain, i % SECTORS);
		virtio_kick(&v);
		WAIT_FOR(seen == v.queue.added);
		CHECK_EQ(was, INTERRUPT_USED);
		CHECK_EQ(chain.status, 0);
		CHECK_EQ(chain.data[511], i % SECTORS);
	}
	CHECK(irq_counts[DISK_IRQ] <= ROUNDS);
	CHECK_EQ(irq_counts[SOURCE_IRQ], 0);
}

static void the_last_of_many_requests_is_told(void)
{
	enum { ROUNDS = 60, EACH = 5 };
	static struct blk_chain chains[EACH];
	struct virtio v = virtio_find_mmio(DISK, VIRTIO_BLK);

	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, 16, 0);
	virtio_start(&v);
	hook(&v, DISK_PIN, DISK_IRQ);
	for (unsigned i = 0; i < ROUNDS; i++) {
		for (unsigned j = 0; j < EACH; j++) {
			add_read(&v, j, &chains[j], (i + j) % SECTORS);
			virtio_kick(&v);
		}
		WAIT_FOR(seen == v.queue.added);
		for (unsigned j = 0; j < EACH; j++)
			CHECK_EQ(chains[j].data[0], (i + j) % SECTORS);
	}
}

static void each_device_has_a_pin_of_its_own(void)
{
	struct virtio d = virtio_find_mmio(DISK, VIRTIO_BLK);
	struct virtio s = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_bring_up(&d);
	virtio_bring_up(&s);
	irq_init();
	ioapic_set(DISK_PIN, DISK_IRQ, false, false);
	ioapic_set(SOURCE_PIN, SOURCE_IRQ, false, false);
	irq_enable();
	CHECK_EQ(blk_request(&d, BLK_READ, 3, bytes, BLK_SECTOR), 0);
	WAIT_FOR(irq_counts[DISK_IRQ] == 1);
	CHECK_EQ(irq_counts[SOURCE_IRQ], 0);
	CHECK_EQ(rng_request(&s, bytes, 16), 16);
	WAIT_FOR(irq_counts[SOURCE_IRQ] == 1);
	CHECK_EQ(irq_counts[DISK_IRQ], 1);
}

/* Eight pins for as many devices as there may be. */
static void thirty_two_devices_share_eight_pins(void)
{
	enum { DEVICES = 32, PINS = 8 };
	static struct virtio all[DEVICES];

	irq_init();
	for (unsigned pin = 0; pin < PINS; pin++)
		ioapic_set(DISK_PIN + pin, IRQ_FIRST + pin, false, false);
	irq_enable();
	for (unsigned n = 0; n < DEVICES; n++) {
		all[n] = virtio_find_mmio(n, VIRTIO_RNG);
		virtio_bring_up(&all[n]);
	}
	for (unsigned n = 0; n < DEVICES; n++) {
		uint32_t before = irq_counts[IRQ_FIRST + n % PINS];

		CHECK_EQ(rng_request(&all[n], bytes, 16), 16);
		WAIT_FOR(irq_counts[IRQ_FIRST + n % PINS] == before + 1);
	}
	/* One that is reset takes the pin from none of the others. */
	virtio_set_status(&all[0], 0);
	virtio_set_status(&all[24], 0);
	CHECK_EQ(rng_request(&all[8], bytes, 16), 16);
	WAIT_FOR(irq_counts[IRQ_FIRST] == 5);
	CHECK_EQ(read32(MMIO_BASE + DEVICES * MMIO_SIZE), 0xffffffff);
}

/* That a queue may have something is never denied while the device runs; a config change is said
 * until it is acknowledged. */
static void interrupt_status_says_why(void)
{
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	CHECK_EQ(read32(v.mmio + MMIO_INTERRUPT_STATUS), 0);
	virtio_bring_up(&v);
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
	CHECK_EQ(read32(v.mmio + MMIO_INTERRUPT_STATUS), INTERRUPT_USED);
	write32(v.mmio + MMIO_INTERRUPT_ACK, 0xffffffff);
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
	virtio_set_status(&v, 0);
	CHECK_EQ(read32(v.mmio + MMIO_INTERRUPT_STATUS), 0);
}

static void a_broken_ring_is_told_by_a_config_interrupt(void)
{
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_bring_up(&v);
	hook(&v, SOURCE_PIN, SOURCE_IRQ);
	irq_hook = NULL;
	virtio_add(&v, 0, &(struct virtio_part){ (void *)0xfee00000, 16, true }, 1);
	virtio_kick(&v);
	WAIT_FOR(virtio_status(&v) & STATUS_NEEDS_RESET);
	WAIT_FOR(irq_counts[SOURCE_IRQ] > 0);
	CHECK(read32(v.mmio + MMIO_INTERRUPT_STATUS) & INTERRUPT_CONFIG);
	write32(v.mmio + MMIO_INTERRUPT_ACK, INTERRUPT_USED);
	CHECK(read32(v.mmio + MMIO_INTERRUPT_STATUS) & INTERRUPT_CONFIG);
	write32(v.mmio + MMIO_INTERRUPT_ACK, INTERRUPT_CONFIG);
	CHECK(!(read32(v.mmio + MMIO_INTERRUPT_STATUS) & INTERRUPT_CONFIG));
	virtio_set_status(&v, 0);
	CHECK_EQ(virtio_status(&v), 0);
	rng_check_works(&v);
}

/* A reset that is forgotten would tell the next driver of the last one's trouble. */
static void a_reset_forgets_what_was_not_acknowledged(void)
{
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_bring_up(&v);
	v.queue.avail[1] = 1000;
	virtio_kick(&v);
	WAIT_FOR(read32(v.mmio + MMIO_INTERRUPT_STATUS) & INTERRUPT_CONFIG);
	write32(v.mmio + MMIO_QUEUE_SELECT, 5);
	virtio_set_status(&v, 0);
	CHECK_EQ(read32(v.mmio + MMIO_INTERRUPT_STATUS), 0);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_SIZE_MAX), RNG_QUEUE);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 0);
	rng_check_works(&v);
}

/* Resets */

static void a_reset_ends_reads_that_are_under_way(void)
{
	enum { ROUNDS = 50, EACH = 5 };
	static struct blk_chain chains[EACH];
	struct virtio v = virtio_find_mmio(DISK, VIRTIO_BLK);

	for (unsigned i = 0; i < ROUNDS; i++) {
		virtio_negotiate(&v, 0);
		virtio_set_up_queue(&v, 16, 0);
		virtio_start(&v);
		for (unsigned j = 0; j < EACH; j++)
			add_read(&v, j, &chains[j], j);
		virtio_kick(&v);
		virtio_set_status(&v, 0);
		CHECK_EQ(virtio_status(&v), 0);
		memset(chains, 0x11, sizeof(chains));
		barrier();
		if (i % 10 == 0)
			spend(PAUSE);
		for (unsigned j = 0; j < EACH; j++)
			CHECK_EQ(chains[j].data[0], 0x11);
	}
	virtio_bring_up(&v);
	CHECK_EQ(blk_request(&v, BLK_READ, 9, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[511], 9);
}

/* The source has no byte to give: all four requests are with the daemon. */
static void a_reset_takes_back_requests_that_wait(void)
{
	static uint8_t mine[RNG_QUEUE][16];
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_bring_up(&v);
	for (unsigned i = 0; i < RNG_QUEUE; i++)
		virtio_add(&v, i, &(struct virtio_part){ mine[i], sizeof(mine[i]), true }, 1);
	virtio_kick(&v);
	spend(PAUSE);
	virtio_set_status(&v, 0);
	CHECK_EQ(virtio_status(&v), 0);
	CHECK_EQ(virtio_used(&v), 0);
	test_note("feed");
	virtio_bring_up(&v);
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
	CHECK_EQ(bytes[0], 'x');
	CHECK_EQ(bytes[15], 'x');
	for (unsigned i = 0; i < RNG_QUEUE; i++)
		CHECK_EQ(mine[i][0], 0);
}

const struct test_case test_cases[] = {
	CASE(every_request_ends_in_an_interrupt),
	CASE(the_last_of_many_requests_is_told),
	CASE(each_device_has_a_pin_of_its_own),
	CASE(thirty_two_devices_share_eight_pins),
	CASE(interrupt_status_says_why),
	CASE(a_broken_ring_is_told_by_a_config_interrupt),
	CASE(a_reset_forgets_what_was_not_acknowledged),
	CASE(a_reset_ends_reads_that_are_under_way),
	CASE(a_reset_takes_back_requests_that_wait),
	{ NULL, NULL },
};
