/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A processor writes 0 to the Status of a device by MMIO, and its exit waits for a daemon that has
 * been stopped; what becomes of processor and machine meanwhile. The host is told by notes what it
 * is to do to the daemon, and types a character when it has.
 */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/smp.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

enum { PAUSE = 400000000 };	/* cycles */

static struct virtio rng;
static uint8_t bytes[16];
static volatile uint32_t entered, left;
static volatile uint8_t status_after;

static void reset_it(unsigned id)
{
	(void)id;
	entered = 1;
	virtio_set_status(&rng, 0);
	status_after = virtio_status(&rng);
	left = 1;
}

static void check_serves(void)
{
	virtio_bring_up(&rng);
	for (unsigned i = 0; i < 5; i++)
		CHECK_EQ(rng_request(&rng, bytes, sizeof(bytes)), sizeof(bytes));
}

/* From here on processor 1 is in that exit. */
static void begin(void)
{
	rng = virtio_find_mmio(0, VIRTIO_RNG);
	check_serves();
	irq_init();
	test_order("freeze");
	smp_start(1, reset_it);
	WAIT_FOR(entered);
	spend(PAUSE);
	CHECK(!left);
	CHECK(virtio_status(&rng) & STATUS_DRIVER_OK);
}

static void check_is_over(void)
{
	WAIT_FOR(left);
	CHECK_EQ(status_after, 0);
	CHECK_EQ(virtio_status(&rng), 0);
}

static void the_exit_ends_with_the_answer(void)
{
	begin();
	test_note("thaw");
	check_is_over();
	check_serves();
}

static void another_processor_waits_for_the_same(void)
{
	begin();
	test_note("thaw later");
	virtio_set_status(&rng, STATUS_ACKNOWLEDGE);
	CHECK_EQ(virtio_status(&rng), 0);
	check_is_over();
	check_serves();
}

static void the_machine_is_reset_meanwhile(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;

	if ((*kept)++ == 2) {
		CHECK_EQ(smp_done, 0);
		begin();
		test_note("thaw");
		check_is_over();
		check_serves();
		return;
	}
	begin();
	test_note("thaw later");
	outb(0x64, 0xfe);
	test_exit(1);
}

static void minivmm_is_suspended_meanwhile(void)
{
	begin();
	test_order("suspend");
	spend(PAUSE);
	CHECK(!left);
	test_note("thaw");
	check_is_over();
	check_serves();
}

static void minivmm_is_ended_meanwhile(void)
{
	begin();
	test_order("end");
}

static void the_daemon_is_killed_meanwhile(void)
{
	begin();
	test_note("kill");
	check_is_over();
	virtio_negotiate(&rng, 0);
	virtio_set_up_queue(&rng, 4, 0);
	virtio_set_status(&rng, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK |
				STATUS_DRIVER_OK);
	WAIT_FOR(virtio_status(&rng) & STATUS_NEEDS_RESET);
	virtio_set_status(&rng, 0);
	CHECK_EQ(virtio_status(&rng), 0);
}

/* A daemon that answers too late may be writing until it is known to be gone. */
static void the_exit_outlasts_the_deadline(void)
{
	begin();
	test_order("sleep");
	CHECK(!left);
	CHECK(virtio_status(&rng) & STATUS_DRIVER_OK);
	test_note("thaw");
	check_is_over();
}

static void a_reset_that_waits_for_ever_can_be_ended(void)
{
	begin();
	test_note("end after the deadline");
	outb(0x64, 0xfe);
	test_exit(1);
}

/* Drivers that disagree: whatever comes of it, the device works for one that is alone again. */

static volatile uint32_t go;

static void start_and_stop(unsigned id)
{
	enum { ROUNDS = 60 };

	while (!go)
		relax();
	for (unsigned i = 0; i < ROUNDS; i++) {
		virtio_set_status(&rng, i % 4 == id ? 0 : 15);
		virtio_ack(&rng, VIRTIO_F_VERSION_1);
		virtio_set_status(&rng, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
		write32(rng.mmio + MMIO_QUEUE_READY, i & 1);
		write32(rng.mmio + MMIO_QUEUE_NOTIFY, 0);
		write32(rng.mmio + MMIO_QUEUE_SELECT, i & 1);
		read32(rng.mmio + MMIO_INTERRUPT_STATUS);
	}
}

static void start_all(void)
{
	rng = virtio_find_mmio(0, VIRTIO_RNG);
	irq_init();
	for (unsigned id = 1; id < 4; id++)
		smp_start(id, start_and_stop);
	check_serves();
	go = 1;
}

static void drivers_disagree(void)
{
	start_all();
	start_and_stop(0);
	WAIT_FOR(smp_done == 3);
	virtio_set_status(&rng, 0);
	CHECK_EQ(virtio_status(&rng), 0);
	check_serves();
}

/* So that processors are caught in their waits. */
static void the_machine_is_reset_while_drivers_disagree(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;
	uint64_t since = cycles(), long_enough = UINT64_C(3000000) * (1 + *kept);

	if ((*kept)++ == 12) {
		rng = virtio_find_mmio(0, VIRTIO_RNG);
		CHECK_EQ(virtio_status(&rng), 0);
		check_serves();
		return;
	}
	start_all();
	while (cycles() - since < long_enough)
		start_and_stop(0);
	outb(0x64, 0xfe);
	test_exit(1);
}

const struct test_case test_cases[] = {
	CASE(the_exit_ends_with_the_answer),
	CASE(another_processor_waits_for_the_same),
	CASE(the_machine_is_reset_meanwhile),
	CASE(minivmm_is_suspended_meanwhile),
	CASE(minivmm_is_ended_meanwhile),
	CASE(the_daemon_is_killed_meanwhile),
	CASE(the_exit_outlasts_the_deadline),
	CASE(a_reset_that_waits_for_ever_can_be_ended),
	CASE(drivers_disagree),
	CASE(the_machine_is_reset_while_drivers_disagree),
	{ NULL, NULL },
};
