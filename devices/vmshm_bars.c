/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vmshm_bars.h"

#include "guest/vmshm/vmshm_regs.h"

enum { READ = 1, WRITE = 2 };

/* VMSHM_DOORBELL is not among them: KVM takes the writes that are of events (vmshm_events.h). */
static const uint8_t registers[VMSHM_REGS_SIZE] = {
	[VMSHM_OPEN] = READ,
	[VMSHM_CLOSE] = READ,
	[VMSHM_MAGIC] = READ,
	[VMSHM_VERSION] = READ,
	[VMSHM_FEATURES] = READ,
	[VMSHM_STATUS] = READ,
	[VMSHM_ERROR] = READ,
	[VMSHM_SIZE_LO] = READ,
	[VMSHM_SIZE_HI] = READ,
	[VMSHM_MAPPED_LO] = READ,
	[VMSHM_MAPPED_HI] = READ,
	[VMSHM_WINDOW_LO] = READ,
	[VMSHM_WINDOW_HI] = READ,
	[VMSHM_OFFSET_LO] = READ | WRITE,
	[VMSHM_OFFSET_HI] = READ | WRITE,
	[VMSHM_FLAGS] = READ | WRITE,
	[VMSHM_NEVENTS] = READ,
	[VMSHM_NVECTORS] = READ,
};

static uint32_t features(const struct vmshm *d)
{
	uint32_t f = VMSHM_F_SIZE | VMSHM_F_RO | VMSHM_F_OFFSET | VMSHM_F_SEALED;

	if (vmshm_events_count(&d->events))
		f |= VMSHM_F_DOORBELL;
	if (vmshm_events_vectors(&d->events))
		f |= VMSHM_F_EVENTS;
	if (d->options->window)
		f |= VMSHM_F_LARGE;
	return f;
}

static uint32_t status(const struct vmshm *d)
{
	const struct vmshm_binding *b = &d->binding;
	uint32_t s = (uint32_t)d->generation << VMSHM_S_GENERATION;

	if (b->open)
		s |= VMSHM_S_OPEN;
	if (b->ro)
		s |= VMSHM_S_RO;
	if (b->truncated)
		s |= VMSHM_S_TRUNCATED;
	if (vmshm_events_has_peer(&d->events))
		s |= VMSHM_S_PEER;
	if (b->sealed)
		s |= VMSHM_S_SEALED;
	if (b->wish.flags & VMSHM_OPEN_LARGE)
		s |= VMSHM_S_LARGE;
	return s;
}

static uint32_t read_register(struct vmshm *d, uint64_t off)
{
	switch (off) {
	case VMSHM_OPEN:
		return vmshm_read_open(d);
	case VMSHM_CLOSE:
		return vmshm_read_close(d);
	case VMSHM_MAGIC:
		return VMSHM_MAGIC_VALUE;
	case VMSHM_VERSION:
		return VMSHM_VERSION_VALUE;
	case VMSHM_FEATURES:
		return features(d);
	case VMSHM_STATUS:
		return status(d);
	case VMSHM_ERROR:
		return d->error;
	case VMSHM_SIZE_LO:
		return (uint32_t)d->binding.size;
	case VMSHM_SIZE_HI:
		return (uint32_t)(d->binding.size >> 32);
	case VMSHM_MAPPED_LO:
		return (uint32_t)d->binding.mapped;
	case VMSHM_MAPPED_HI:
		return (uint32_t)(d->binding.mapped >> 32);
	case VMSHM_WINDOW_LO:
		return (uint32_t)d->options->window;
	case VMSHM_WINDOW_HI:
		return (uint32_t)(d->options->window >> 32);
	case VMSHM_OFFSET_LO:
		return (uint32_t)d->next.offset;
	case VMSHM_OFFSET_HI:
		return (uint32_t)(d->next.offset >> 32);
	case VMSHM_FLAGS:
		return d->next.flags;
	case VMSHM_NEVENTS:
		return vmshm_events_count(&d->events);
	case VMSHM_NVECTORS:
		return vmshm_events_vectors(&d->events);
	}
	return 0;
}

/* Reads have side effects, so only the one kind of access that drivers make is any. */
static uint64_t regs_read(void *dev, uint64_t off, unsigned size)
{
	if (size != 4 || !(registers[off] & READ))
		return 0;
	return read_register(dev, off);
}

static void regs_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct vmshm *d = dev;

	if (size != 4 || !(registers[off] & WRITE))
		return;
	if (off == VMSHM_OFFSET_LO)
		d->next.offset = (d->next.offset & ~(uint64_t)UINT32_MAX) | value;
	else if (off == VMSHM_OFFSET_HI)
		d->next.offset = (uint32_t)d->next.offset | value << 32;
	else
		d->next.flags = (uint32_t)value;
}

/* The name is bytes of ours, not memory of the guest: it does not change while it is read. */
static uint64_t name_read(void *dev, uint64_t off, unsigned size)
{
	const struct vmshm *d = dev;
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)(uint8_t)d->name[off + i] << (8 * i);
	return value;
}

static void name_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct vmshm *d = dev;

	for (unsigned i = 0; i < size; i++)
		d->name[off + i] = (char)(value >> (8 * i));
}

const struct bus_ops vmshm_regs_ops = { regs_read, regs_write };
const struct bus_ops vmshm_name_ops = { name_read, name_write };
