/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest of tests/bench/shmem: stores where the daemon says, and is halted otherwise, so that
 * it takes no time from what is measured.
 */
#include "tests/bench/touch.h"
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

enum { QUEUE_IRQ = IRQ_FIRST, ENTRIES = 4, CAP_TYPE = 3, CAP_BAR = 4, TYPE_REGION = 8 };

static struct virtio device;
static volatile struct touch_order order;

/* Where the device's shared memory region is. */
static uint64_t find_region(void)
{
	for (unsigned cap = 0; (cap = pci_capability(device.slot, PCI_CAP_VENDOR, cap)) != 0;) {
		unsigned bar = PCI_BAR0 + 4 * pci_read(device.slot, cap + CAP_BAR, 1);

		if (pci_read(device.slot, cap + CAP_TYPE, 1) == TYPE_REGION)
			return (uint64_t)pci_read(device.slot, bar + 4, 4) << 32 |
			       (pci_read(device.slot, bar, 4) & ~0xfu);
	}
	test_fail(__FILE__, __LINE__, "it has a region");
}

static void set_up(void)
{
	irq_init();
	virtio_find(&device, TOUCH_VIRTIO_ID);
	msix_set(&device.msix, 0, QUEUE_IRQ);
	msix_control(&device.msix, PCI_MSIX_ENABLE);
	virtio_negotiate(&device, 0);
	virtio_set_up_queue(&device, ENTRIES, 0);
	virtio_start(&device);
}

/* Interrupts are disabled but where it is halted: none is missed. */
static void next_order(void)
{
	virtio_add(&device, 0, &(struct virtio_part){ (void *)&order, sizeof(order), true }, 1);
	virtio_kick(&device);
	while (virtio_used(&device) != device.queue.added)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static void touch(void)
{
	uint64_t region;

	set_up();
	region = find_region();
	for (uint64_t at = 0; at < TOUCH_WINDOW; at += UINT64_C(1) << 30)
		memory_map_gib(region + at);
	for (next_order(); !order.last; next_order())
		for (uint64_t i = 0, at = region + order.offset; i < order.count; i++) {
			write64(at, i);
			at += order.stride;
		}
}

const struct test_case test_cases[] = {
	CASE(touch),
	{ NULL, NULL },
};
