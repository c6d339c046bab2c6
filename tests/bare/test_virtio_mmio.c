/* SPDX-License-Identifier: Apache-2.0 */
/* virtio by MMIO: a disk is device 0 on pin 16, an entropy source device 1 on pin 17. */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

enum {
	KNOWN = STATUS_ACKNOWLEDGE | STATUS_DRIVER, AGREED = KNOWN | STATUS_FEATURES_OK,
	RUNNING = AGREED | STATUS_DRIVER_OK,
	DISK = 0, SOURCE = 1, DISK_PIN = 16, SOURCE_PIN = 17,
	DISK_IRQ = IRQ_FIRST, SOURCE_IRQ, SECTORS = 128, QUEUE_MAX = 256, RNG_QUEUE = 4,
};

static uint8_t bytes[512];

static struct virtio disk(void)
{
	struct virtio v;

	virtio_find_mmio(&v, DISK, VIRTIO_BLK);
	return v;
}

static struct virtio source(void)
{
	struct virtio v;

	virtio_find_mmio(&v, SOURCE, VIRTIO_RNG);
	return v;
}

static void pause(void)
{
	for (uint64_t since = cycles(); cycles() - since < 20000000;)
		relax();
}

static void check_disk_works(struct virtio *v)
{
	virtio_bring_up(v);
	for (uint8_t i = 0; i < 3 * RNG_QUEUE; i++) {
		CHECK_EQ(blk_request(v, BLK_READ, i, bytes, BLK_SECTOR), 0);
		CHECK_EQ(bytes[0], i);
		CHECK_EQ(bytes[511], i);
	}
}

/* Registers */

static void each_page_says_what_it_is(void)
{
	for (unsigned n = 0; n < 2; n++) {
		uint64_t page = MMIO_BASE + n * MMIO_SIZE;

		/* Twice: nothing of it is writable. */
		for (unsigned i = 0; i < 2; i++) {
			CHECK_EQ(read32(page + MMIO_MAGIC), 0x74726976);
			CHECK_EQ(read32(page + MMIO_VERSION), 2);
			CHECK_EQ(read32(page + MMIO_DEVICE), n ? VIRTIO_RNG : VIRTIO_BLK);
			CHECK_EQ(read32(page + MMIO_VENDOR), 0x4d564d4d);
			for (unsigned off = 0; off < MMIO_FEATURES_SELECT; off += 4)
				write32(page + off, 0xffffffff);
		}
	}
	CHECK_EQ(read32(MMIO_BASE + 2 * MMIO_SIZE), 0xffffffff);
	CHECK_EQ(read32(MMIO_BASE - 4), 0xffffffff);
}

static void status_goes_up_to_driver_ok_and_down_to_0(void)
{
	struct virtio v = source();

	CHECK_EQ(virtio_status(&v), 0);
	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, RNG_QUEUE, 0);
	virtio_start(&v);
	virtio_set_status(&v, 0);
	CHECK_EQ(virtio_status(&v), 0);
	virtio_set_status(&v, STATUS_ACKNOWLEDGE | STATUS_FAILED);
	CHECK_EQ(virtio_status(&v), STATUS_ACKNOWLEDGE | STATUS_FAILED);
	virtio_set_status(&v, 0);
	CHECK_EQ(virtio_status(&v), 0);
}

/* Only 0 resets: not what has nothing in its lowest byte. */
static void a_status_above_8_bits_is_no_reset(void)
{
	static const uint32_t values[] = { 0x100, 0x10000, 0x80000000, 0xffffff00 };
	struct virtio v = source();

	virtio_bring_up(&v);
	for (unsigned i = 0; i < COUNT(values); i++) {
		write32(v.mmio + MMIO_STATUS, values[i]);
		CHECK_EQ(read32(v.mmio + MMIO_STATUS), RUNNING);
	}
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
}

static void features_that_were_not_offered_are_refused(void)
{
	struct virtio v = source();
	uint64_t offered = virtio_features(&v);

	CHECK(offered & VIRTIO_F_VERSION_1);
	for (unsigned bit = 0; bit < 64; bit++) {
		if (offered >> bit & 1)
			continue;
		virtio_set_status(&v, KNOWN);
		virtio_ack(&v, VIRTIO_F_VERSION_1 | UINT64_C(1) << bit);
		virtio_set_status(&v, AGREED);
		CHECK_EQ(virtio_status(&v), KNOWN);
		virtio_reset(&v);
	}
	virtio_set_status(&v, KNOWN);
	virtio_ack(&v, offered & ~VIRTIO_F_VERSION_1);
	virtio_set_status(&v, AGREED);
	CHECK_EQ(virtio_status(&v), KNOWN);
	rng_check_works(&v);
}

static void there_are_two_feature_words(void)
{
	static const uint32_t beyond[] = { 2, 3, 32, 0x80000000, 0xffffffff };
	struct virtio v = source();

	virtio_set_status(&v, KNOWN);
	virtio_ack(&v, VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < COUNT(beyond); i++) {
		write32(v.mmio + MMIO_FEATURES_SELECT, beyond[i]);
		CHECK_EQ(read32(v.mmio + MMIO_FEATURES), 0);
		write32(v.mmio + MMIO_DRIVER_FEATURES_SELECT, beyond[i]);
		write32(v.mmio + MMIO_DRIVER_FEATURES, 0xffffffff);
	}
	virtio_set_status(&v, AGREED);
	CHECK_EQ(virtio_status(&v), AGREED);
	rng_check_works(&v);
}

static void a_queue_that_is_not_there_reads_0(void)
{
	static const uint32_t beyond[] = { 1, 63, 64, 0x10000, 0x80000000, 0xffffffff };
	struct virtio v = source();

	virtio_negotiate(&v, 0);
	for (unsigned i = 0; i < COUNT(beyond); i++) {
		write32(v.mmio + MMIO_QUEUE_SELECT, beyond[i]);
		CHECK_EQ(read32(v.mmio + MMIO_QUEUE_SIZE_MAX), 0);
		for (unsigned off = MMIO_QUEUE_DESC; off <= MMIO_QUEUE_DEVICE + 4; off += 4)
			write32(v.mmio + off, 0x500000);
		write32(v.mmio + MMIO_QUEUE_SIZE, RNG_QUEUE);
		write32(v.mmio + MMIO_QUEUE_READY, 1);
		CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 0);
		write32(v.mmio + MMIO_QUEUE_NOTIFY, beyond[i]);
	}
	CHECK_EQ(virtio_status(&v), AGREED);
	rng_check_works(&v);
}

static void there_is_no_shared_memory_region(void)
{
	struct virtio v = source();

	for (uint32_t n = 0; n < 3; n++) {
		write32(v.mmio + MMIO_REGION_SELECT, n);
		for (unsigned off = 0; off < 16; off += 4)
			CHECK_EQ(read32(v.mmio + MMIO_REGION + off), 0xffffffff);
	}
}

/* Queues */

static void a_queue_is_taken_back_before_driver_ok(void)
{
	struct virtio v = source();

	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, 2, 0);
	for (unsigned off = MMIO_QUEUE_DESC; off <= MMIO_QUEUE_DEVICE + 4; off += 4)
		write32(v.mmio + off, 0x12345678);	/* enabled: keeps what it has */
	write32(v.mmio + MMIO_QUEUE_SIZE, 3);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 1);
	write32(v.mmio + MMIO_QUEUE_READY, 0);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 0);
	write32(v.mmio + MMIO_QUEUE_READY, 1);		/* as it was */
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 1);
	write32(v.mmio + MMIO_QUEUE_READY, 0);
	virtio_set_up_queue(&v, RNG_QUEUE, 0);
	virtio_start(&v);
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
	CHECK_EQ(virtio_status(&v), RUNNING);
}

static void a_running_queue_keeps_its_registers(void)
{
	struct virtio v = source();

	virtio_bring_up(&v);
	for (unsigned off = MMIO_QUEUE_DESC; off <= MMIO_QUEUE_DEVICE + 4; off += 4)
		write32(v.mmio + off, 0x12345678);
	write32(v.mmio + MMIO_QUEUE_SIZE, 3);
	write32(v.mmio + MMIO_QUEUE_READY, 0);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 1);
	write32(v.mmio + MMIO_QUEUE_READY, 1);
	virtio_ack(&v, 0);
	for (unsigned i = 0; i < 2 * RNG_QUEUE; i++)
		CHECK_EQ(rng_request(&v, bytes, 16), 16);
	CHECK_EQ(virtio_status(&v), RUNNING);
}

static void a_queue_that_starts_late_does_not_start(void)
{
	struct virtio v = source();

	virtio_negotiate(&v, 0);
	virtio_start(&v);
	write32(v.mmio + MMIO_QUEUE_SIZE, RNG_QUEUE);
	write32(v.mmio + MMIO_QUEUE_DESC, 0x500000);
	write32(v.mmio + MMIO_QUEUE_DRIVER, 0x501000);
	write32(v.mmio + MMIO_QUEUE_DEVICE, 0x502000);
	write32(v.mmio + MMIO_QUEUE_READY, 1);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 0);
	write32(v.mmio + MMIO_QUEUE_NOTIFY, 0);
	rng_check_works(&v);
}

struct bad_queue {
	uint32_t size;
	uint64_t desc, driver, device;
};

static void write_address(const struct virtio *v, unsigned off, uint64_t address)
{
	write32(v->mmio + off, (uint32_t)address);
	write32(v->mmio + off + 4, (uint32_t)(address >> 32));
}

static void enable_bad_queue(const struct virtio *v, const struct bad_queue *bad)
{
	virtio_negotiate(v, 0);
	write32(v->mmio + MMIO_QUEUE_SELECT, 0);
	write32(v->mmio + MMIO_QUEUE_SIZE, bad->size);
	write_address(v, MMIO_QUEUE_DESC, bad->desc);
	write_address(v, MMIO_QUEUE_DRIVER, bad->driver);
	write_address(v, MMIO_QUEUE_DEVICE, bad->device);
	write32(v->mmio + MMIO_QUEUE_READY, 1);
	CHECK_EQ(read32(v->mmio + MMIO_QUEUE_READY), 0);
	CHECK_EQ(virtio_status(v), AGREED | STATUS_NEEDS_RESET);
	/* Going on regardless does nothing. */
	virtio_set_status(v, RUNNING);
	write32(v->mmio + MMIO_QUEUE_NOTIFY, 0);
	CHECK(virtio_status(v) & STATUS_NEEDS_RESET);
	virtio_set_status(v, 0);
	CHECK_EQ(virtio_status(v), 0);
}

static void a_bad_queue_is_refused(void)
{
	static const struct bad_queue bad[] = {
		{ 0, 0x500000, 0x501000, 0x502000 },
		{ 3, 0x500000, 0x501000, 0x502000 },
		{ 2 * QUEUE_MAX, 0x500000, 0x501000, 0x502000 },
		{ 0x10004, 0x500000, 0x501000, 0x502000 },	/* its low half would do */
		{ 0xffffffff, 0x500000, 0x501000, 0x502000 },
		{ RNG_QUEUE, 0x500008, 0x501000, 0x502000 },	/* misaligned */
		{ RNG_QUEUE, 0x500000, 0x501001, 0x502000 },
		{ RNG_QUEUE, 0x500000, 0x501000, 0x502002 },
		{ RNG_QUEUE, 0, 0x501000, 0x502000 },
		{ RNG_QUEUE, MEMORY_END, 0x501000, 0x502000 },	/* no RAM */
		{ RNG_QUEUE, 0x100500000, 0x501000, 0x502000 },
		{ RNG_QUEUE, 0x500000, 0xfffffffffffffffe, 0x502000 },
		{ RNG_QUEUE, 0x500000, 0x501000, MMIO_BASE },
	};
	struct virtio v = source();

	irq_init();
	ioapic_set(SOURCE_PIN, SOURCE_IRQ, false, false);
	irq_enable();
	for (unsigned i = 0; i < COUNT(bad); i++)
		enable_bad_queue(&v, &bad[i]);
	/* Before DRIVER_OK nobody is interrupted (2.1.2). */
	CHECK_EQ(irq_counts[SOURCE_IRQ], 0);
	rng_check_works(&v);
}

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
	struct virtio v = disk();

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
	struct virtio v = disk();

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
	struct virtio d = disk(), s = source();

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
		virtio_find_mmio(&all[n], n, VIRTIO_RNG);
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
	struct virtio v = source();

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
	struct virtio v = source();

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
	struct virtio v = source();

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

/* Config space */

static void config_space_reads_the_same_in_any_pieces(void)
{
	struct virtio v = disk();
	uint64_t config = v.mmio + MMIO_CONFIG;
	uint32_t generation = read32(v.mmio + MMIO_GENERATION);

	for (unsigned width = 2; width <= 8; width *= 2) {
		for (unsigned off = 0; off < 0x60 - width; off++) {
			uint64_t whole = read_width(config + off, width);

			for (unsigned i = 0; i < width; i++)
				CHECK_EQ(read8(config + off + i), whole >> 8 * i & 0xff);
		}
	}
	for (unsigned off = 0; off < 0x100; off++)
		write8(config + off, 0xff);
	CHECK_EQ(read64(config), SECTORS);
	CHECK_EQ(read32(v.mmio + MMIO_GENERATION), generation);
}

/* Every access there is */

static bool is_word(unsigned off, unsigned width)
{
	return width == 4 && off % 4 == 0;
}

static void only_aligned_words_are_registers(void)
{
	static const uint64_t values[] = { 0, UINT64_MAX, 0x0000000100000001 };
	struct virtio v = source();

	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, RNG_QUEUE, 0);
	for (unsigned width = 1; width <= 8; width *= 2) {
		for (unsigned off = 0; off < MMIO_CONFIG; off++) {
			if (is_word(off, width))
				continue;
			CHECK_EQ(read_width(v.mmio + off, width), 0);
			for (unsigned i = 0; i < COUNT(values); i++)
				write_width(v.mmio + off, width, values[i]);
		}
	}
	CHECK_EQ(virtio_status(&v), AGREED);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 1);
	virtio_start(&v);
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
	/* Nor is a doorbell rung by any of them. */
	virtio_add(&v, 0, &(struct virtio_part){ bytes, 16, true }, 1);
	write8(v.mmio + MMIO_QUEUE_NOTIFY, 0);
	write16(v.mmio + MMIO_QUEUE_NOTIFY, 0);
	write64(v.mmio + MMIO_QUEUE_NOTIFY, 0);
	write32(v.mmio + MMIO_QUEUE_NOTIFY, 1);
	write32(v.mmio + MMIO_QUEUE_NOTIFY, 0x10000);
	pause();
	CHECK_EQ(virtio_used(&v), 1);
	virtio_kick(&v);
	WAIT_FOR(virtio_used(&v) == 2);
}

static void sweep_reads(const struct virtio *v)
{
	for (unsigned width = 1; width <= 8; width *= 2) {
		/* The last ones reach into the next device's page. */
		for (unsigned off = 0; off < MMIO_SIZE; off++)
			read_width(v->mmio + off, width);
	}
}

/* All registers; of config space, a sample. */
static void sweep_writes(const struct virtio *v, uint64_t value)
{
	for (unsigned width = 1; width <= 8; width *= 2) {
		for (unsigned off = 0; off < MMIO_SIZE; off += off < 0x180 ? 1 : 61)
			write_width(v->mmio + off, width, value);
	}
}

static void every_width_is_read_at_every_offset(void)
{
	struct virtio v = source();

	sweep_reads(&v);
	rng_check_works(&v);
}

static void every_width_is_read_at_every_offset_of_a_running_disk(void)
{
	struct virtio v = disk();

	virtio_bring_up(&v);
	sweep_reads(&v);
	CHECK_EQ(blk_request(&v, BLK_READ, 7, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[511], 7);
}

static void every_width_is_written_everywhere(void)
{
	static const uint64_t values[] = { 0, UINT64_MAX, 0x5a5a5a5a5a5a5a5a, 0x0000000100000001 };
	struct virtio v = source();

	for (unsigned i = 0; i < COUNT(values); i++)
		sweep_writes(&v, values[i]);
	rng_check_works(&v);
}

static void every_width_is_written_everywhere_of_a_running_disk(void)
{
	static const uint64_t values[] = { UINT64_MAX, 0x5a5a5a5a5a5a5a5a, 0 };
	struct virtio v = disk();

	for (unsigned i = 0; i < COUNT(values); i++) {
		virtio_bring_up(&v);
		sweep_writes(&v, values[i]);
	}
	check_disk_works(&v);
}

/* Resets */

static void a_reset_ends_reads_that_are_under_way(void)
{
	enum { ROUNDS = 50, EACH = 5 };
	static struct blk_chain chains[EACH];
	struct virtio v = disk();

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
			pause();
		for (unsigned j = 0; j < EACH; j++)
			CHECK_EQ(chains[j].data[0], 0x11);
	}
	check_disk_works(&v);
}

/* The source has no byte to give: all four requests are with the daemon. */
static void a_reset_takes_back_requests_that_wait(void)
{
	static uint8_t mine[RNG_QUEUE][16];
	struct virtio v = source();

	virtio_bring_up(&v);
	for (unsigned i = 0; i < RNG_QUEUE; i++)
		virtio_add(&v, i, &(struct virtio_part){ mine[i], sizeof(mine[i]), true }, 1);
	virtio_kick(&v);
	pause();
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
	CASE(each_page_says_what_it_is),
	CASE(status_goes_up_to_driver_ok_and_down_to_0),
	CASE(a_status_above_8_bits_is_no_reset),
	CASE(features_that_were_not_offered_are_refused),
	CASE(there_are_two_feature_words),
	CASE(a_queue_that_is_not_there_reads_0),
	CASE(there_is_no_shared_memory_region),
	CASE(a_queue_is_taken_back_before_driver_ok),
	CASE(a_running_queue_keeps_its_registers),
	CASE(a_queue_that_starts_late_does_not_start),
	CASE(a_bad_queue_is_refused),
	CASE(every_request_ends_in_an_interrupt),
	CASE(the_last_of_many_requests_is_told),
	CASE(each_device_has_a_pin_of_its_own),
	CASE(thirty_two_devices_share_eight_pins),
	CASE(interrupt_status_says_why),
	CASE(a_broken_ring_is_told_by_a_config_interrupt),
	CASE(a_reset_forgets_what_was_not_acknowledged),
	CASE(config_space_reads_the_same_in_any_pieces),
	CASE(only_aligned_words_are_registers),
	CASE(every_width_is_read_at_every_offset),
	CASE(every_width_is_read_at_every_offset_of_a_running_disk),
	CASE(every_width_is_written_everywhere),
	CASE(every_width_is_written_everywhere_of_a_running_disk),
	CASE(a_reset_ends_reads_that_are_under_way),
	CASE(a_reset_takes_back_requests_that_wait),
	{ NULL, NULL },
};
