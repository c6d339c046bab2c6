/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/platform.h"

#include "base/range.h"

enum {
	RESET_SYSTEM = 1 << 1,		/* 0xcf9: hard rather than soft; both are one here */
	RESET_CPU = 1 << 2,		/* 0xcf9: resets as it goes up */
	RESET_FULL = 1 << 3,		/* 0xcf9: power cycle */
	SLEEP_TYPE_SHIFT = 2,
	SLEEP_TYPE_MASK = 7,
	SLEEP_ENABLE = 1 << 5,		/* write-only */
};

static void request(struct platform *p, enum machine_request what, unsigned value)
{
	p->machine->ops->request(p->machine->ctx, what, value);
}

static uint64_t read_zero(void *dev, uint64_t off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return 0;
}

static uint64_t read_ones(void *dev, uint64_t off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return UINT64_MAX;
}

static void keyboard_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	(void)off;
	(void)size;
	if (value == PLATFORM_KEYBOARD_RESET)
		request(dev, MACHINE_RESET, 0);
}

static void boot_mark_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	(void)off;
	(void)size;
	request(dev, MACHINE_BOOT_MARK, (unsigned)value);
}

static void debug_exit_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	(void)size;
	if (off == 0)
		request(dev, MACHINE_DEBUG_EXIT, (unsigned)(value & 0xff));
}

static uint64_t reset_control_read(void *dev, uint64_t off, unsigned size)
{
	const struct platform *p = dev;

	(void)off;
	(void)size;
	return p->reset_control;
}

static void reset_control_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct platform *p = dev;
	bool rises = (value & RESET_CPU) && !(p->reset_control & RESET_CPU);

	(void)off;
	(void)size;
	p->reset_control = value & (RESET_SYSTEM | RESET_CPU | RESET_FULL);
	if (rises)
		request(p, MACHINE_RESET, 0);
}

/* Two byte registers: sleep control, and sleep status, whose one bit says that we woke: never. */
static uint64_t sleep_read(void *dev, uint64_t off, unsigned size)
{
	const struct platform *p = dev;

	(void)size;
	return off == 0 ? p->sleep_control : 0;
}

static void sleep_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct platform *p = dev;

	(void)size;
	if (off != 0)
		return;
	p->sleep_control = value & (SLEEP_TYPE_MASK << SLEEP_TYPE_SHIFT);
	if ((value & SLEEP_ENABLE) && p->sleep_control >> SLEEP_TYPE_SHIFT == PLATFORM_S5_TYPE)
		request(p, MACHINE_POWER_OFF, 0);
}

static const struct bus_ops keyboard_ops = { read_zero, keyboard_write };
static const struct bus_ops boot_mark_ops = { read_ones, boot_mark_write };
static const struct bus_ops debug_exit_ops = { read_ones, debug_exit_write };
static const struct bus_ops reset_control_ops = { reset_control_read, reset_control_write };
static const struct bus_ops sleep_ops = { sleep_read, sleep_write };

/* Calls @f with every range of its own: those of the table, and port 0xcf9 unless PCI hides it. */
static int each_range(struct platform *p, int (*f)(struct bus *, struct bus_range *, struct err *),
		      struct err *e)
{
	struct bus_range *ranges[] = {
		&p->keyboard, &p->boot_mark, &p->debug_exit, &p->sleep, p->pci ? NULL : &p->reset,
	};
	int r = 0;

	for (unsigned i = 0; !r && i < ARRAY_SIZE(ranges); i++) {
		if (ranges[i])
			r = f(&p->machine->pio, ranges[i], e);
	}
	return r;
}

static int remove_range(struct bus *b, struct bus_range *r, struct err *e)
{
	(void)e;
	bus_del(b, r);
	return 0;
}

int platform_init(struct platform *p, struct machine *m, struct pci_bus *pci, struct err *e)
{
	int r;

	*p = (struct platform){
		.machine = m,
		.pci = pci,
		.keyboard = { PLATFORM_KEYBOARD_PORT, 1, &keyboard_ops, p, "keyboard port", NULL },
		.boot_mark = { PLATFORM_BOOT_MARK_PORT, 1, &boot_mark_ops, p, "boot mark port", NULL },
		.debug_exit = { PLATFORM_DEBUG_EXIT_PORT, 4, &debug_exit_ops, p, "debug exit port",
				NULL },
		.reset = { PCI_RESET_CONTROL_PORT, 1, &reset_control_ops, p, "reset control port", NULL },
		.sleep = { PLATFORM_SLEEP_CONTROL_PORT, 2, &sleep_ops, p, "sleep control ports", NULL },
	};
	r = each_range(p, bus_add, e);
	if (r) {
		platform_fini(p);
		return r;
	}
	if (pci) {
		pci->reset_control = &reset_control_ops;
		pci->reset_control_dev = p;
	}
	return 0;
}

void platform_fini(struct platform *p)
{
	if (!p->machine)
		return;
	each_range(p, remove_range, NULL);
	if (p->pci)
		p->pci->reset_control = NULL;
	p->machine = NULL;
}

void platform_reset(struct platform *p)
{
	p->reset_control = 0;
	p->sleep_control = 0;
}
