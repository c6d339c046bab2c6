/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/virtio_guest.h"

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "base/fd.h"
#include "devices/msix.h"
#include "devices/pci.h"
#include "devices/virtio_pci.h"

void guest_ram_init(struct fake_machine *fake)
{
	struct mem_region *r = &fake->mem.regions[0];

	*r = (struct mem_region){ .size = GUEST_RAM, .fd = memfd_create("ram", MFD_CLOEXEC) };
	assert(r->fd >= 0 && ftruncate(r->fd, GUEST_RAM) == 0);
	r->host = mmap(NULL, GUEST_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	assert(r->host != MAP_FAILED);
	fake->mem.count = 1;
	fake->mem.size = GUEST_RAM;
}

void guest_ram_fini(struct fake_machine *fake)
{
	struct mem_region *r = &fake->mem.regions[0];

	munmap(r->host, GUEST_RAM);
	fd_close(&r->fd);
	fake->mem.count = 0;
}

static uint64_t ecam(const struct virtio_guest *g, unsigned reg)
{
	return PCI_ECAM_BASE + ((uint64_t)g->slot << 15) + reg;
}

uint64_t guest_config_read(struct virtio_guest *g, unsigned reg, unsigned size)
{
	return fake_vcpu_read(g->fake, &g->fake->machine.mmio, ecam(g, reg), size);
}

void guest_config_write(struct virtio_guest *g, unsigned reg, unsigned size, uint64_t value)
{
	fake_vcpu_write(g->fake, &g->fake->machine.mmio, ecam(g, reg), size, value);
}

/* The first capability @id behind @cap (0: the start of the list). */
static unsigned next_cap(struct virtio_guest *g, unsigned cap, uint8_t id)
{
	unsigned list = cap ? cap + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST;

	cap = (unsigned)guest_config_read(g, list, 1);
	while (cap && guest_config_read(g, cap, 1) != id)
		cap = (unsigned)guest_config_read(g, cap + PCI_CAP_LIST_NEXT, 1);
	return cap;
}

unsigned guest_cap(struct virtio_guest *g, uint8_t id)
{
	return next_cap(g, 0, id);
}

unsigned guest_virtio_cap(struct virtio_guest *g, uint8_t type)
{
	unsigned cap = next_cap(g, 0, PCI_CAP_ID_VNDR);

	while (cap && guest_config_read(g, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1) != type)
		cap = next_cap(g, cap, PCI_CAP_ID_VNDR);
	return cap;
}

void guest_decode(struct virtio_guest *g, bool on)
{
	guest_config_write(g, PCI_COMMAND, 2, on ? PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER : 0);
}

uint64_t guest_bar(struct virtio_guest *g)
{
	return guest_config_read(g, PCI_BASE_ADDRESS_0, 4) & PCI_BASE_ADDRESS_MEM_MASK;
}

uint64_t guest_read(struct virtio_guest *g, uint64_t off, unsigned size)
{
	return fake_vcpu_read(g->fake, &g->fake->machine.mmio, guest_bar(g) + off, size);
}

void guest_write(struct virtio_guest *g, uint64_t off, unsigned size, uint64_t value)
{
	fake_vcpu_write(g->fake, &g->fake->machine.mmio, guest_bar(g) + off, size, value);
}

static uint64_t feature_word(struct virtio_guest *g, unsigned select, unsigned word)
{
	uint64_t low;

	guest_write(g, select, 4, 0);
	low = guest_read(g, word, 4);
	guest_write(g, select, 4, 1);
	return low | guest_read(g, word, 4) << 32;
}

uint64_t guest_offered(struct virtio_guest *g)
{
	return feature_word(g, VIRTIO_PCI_COMMON_DFSELECT, VIRTIO_PCI_COMMON_DF);
}

uint64_t guest_acked(struct virtio_guest *g)
{
	return feature_word(g, VIRTIO_PCI_COMMON_GFSELECT, VIRTIO_PCI_COMMON_GF);
}

void guest_ack(struct virtio_guest *g, uint64_t features)
{
	guest_write(g, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
	guest_write(g, VIRTIO_PCI_COMMON_GF, 4, features);
	guest_write(g, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	guest_write(g, VIRTIO_PCI_COMMON_GF, 4, features >> 32);
}

uint8_t guest_status(struct virtio_guest *g)
{
	return (uint8_t)guest_read(g, VIRTIO_PCI_COMMON_STATUS, 1);
}

void guest_set_status(struct virtio_guest *g, uint8_t status)
{
	guest_write(g, VIRTIO_PCI_COMMON_STATUS, 1, status);
}

bool guest_negotiate(struct virtio_guest *g, uint64_t features)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	guest_set_status(g, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	guest_set_status(g, status);
	guest_ack(g, features);
	guest_set_status(g, status | VIRTIO_CONFIG_S_FEATURES_OK);
	return guest_status(g) & VIRTIO_CONFIG_S_FEATURES_OK;
}

uint64_t guest_desc(unsigned index)
{
	return 0x10000 + 0x3000 * (uint64_t)index;
}

uint64_t guest_avail(unsigned index)
{
	return guest_desc(index) + 0x1000;
}

uint64_t guest_used(unsigned index)
{
	return guest_desc(index) + 0x2000;
}

static void write_address(struct virtio_guest *g, unsigned off, uint64_t value)
{
	guest_write(g, off, 4, value);
	guest_write(g, off + 4, 4, value >> 32);
}

void guest_queue(struct virtio_guest *g, unsigned index, uint16_t size, uint16_t vector)
{
	guest_write(g, VIRTIO_PCI_COMMON_Q_SELECT, 2, index);
	guest_write(g, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
	guest_write(g, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
	write_address(g, VIRTIO_PCI_COMMON_Q_DESCLO, guest_desc(index));
	write_address(g, VIRTIO_PCI_COMMON_Q_AVAILLO, guest_avail(index));
	write_address(g, VIRTIO_PCI_COMMON_Q_USEDLO, guest_used(index));
	guest_write(g, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

void guest_driver_ok(struct virtio_guest *g)
{
	guest_set_status(g, guest_status(g) | VIRTIO_CONFIG_S_DRIVER_OK);
}

void guest_msix_on(struct virtio_guest *g, unsigned vectors)
{
	for (unsigned v = 0; v < vectors; v++) {
		uint64_t entry = VIRTIO_PCI_MSIX_TABLE + v * MSIX_ENTRY_SIZE;

		guest_write(g, entry + PCI_MSIX_ENTRY_LOWER_ADDR, 4, GUEST_MSI_ADDRESS);
		guest_write(g, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0);
		guest_write(g, entry + PCI_MSIX_ENTRY_DATA, 4, GUEST_MSI_DATA + v);
		guest_write(g, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, 0);
	}
	guest_config_write(g, guest_cap(g, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2,
			   PCI_MSIX_FLAGS_ENABLE);
}

void guest_msix_off(struct virtio_guest *g)
{
	guest_config_write(g, guest_cap(g, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2, 0);
}

void guest_doorbell(struct virtio_guest *g, unsigned queue)
{
	unsigned cap = guest_virtio_cap(g, VIRTIO_PCI_CAP_NOTIFY_CFG);
	uint64_t off = guest_config_read(g, cap + VIRTIO_PCI_CAP_OFFSET, 4);
	uint64_t stride = guest_config_read(g, cap + sizeof(struct virtio_pci_cap), 4);

	guest_write(g, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	off += stride * guest_read(g, VIRTIO_PCI_COMMON_Q_NOFF, 2);
	fake_vcpu_doorbell(g->fake, guest_bar(g) + off, 2, queue);
}
