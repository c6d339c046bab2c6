/* SPDX-License-Identifier: Apache-2.0 */
/* The device as a guest finds it: configuration space, registers, the name. */
#include "tests/unit/vmshm_rig.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "base/fd.h"
#include "base/range.h"

/* --- what it is --- */

static uint64_t bar_size(struct vmshm_rig *r, unsigned bar)
{
	unsigned reg = PCI_BASE_ADDRESS_0 + 4 * bar;
	uint64_t was = vmshm_rig_config(r, reg, 4);
	uint32_t size;

	vmshm_rig_configure(r, PCI_COMMAND, 2, 0);
	vmshm_rig_configure(r, reg, 4, UINT32_MAX);
	size = (uint32_t)vmshm_rig_config(r, reg, 4) & ~UINT32_C(0xf);
	vmshm_rig_configure(r, reg, 4, was);
	vmshm_rig_configure(r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	return size ? ~size + UINT32_C(1) : 0;
}

static void configuration_space_is_the_documents(void **state)
{
	struct vmshm_rig *r = *state;

	assert_int_equal(vmshm_rig_config(r, PCI_VENDOR_ID, 4), 0x66611af4);
	assert_int_equal(vmshm_rig_config(r, PCI_CLASS_REVISION, 4), 0x00ff0001);
	assert_int_equal(vmshm_rig_config(r, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
	assert_int_equal(vmshm_rig_config(r, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(vmshm_rig_config(r, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	assert_int_equal(bar_size(r, 0), 0x100);
	assert_int_equal(bar_size(r, 1), 0x100000);
	assert_int_equal(bar_size(r, 2), 0x400);
	for (unsigned bar = 0; bar < 3; bar++)
		assert_int_equal(vmshm_rig_config(r, PCI_BASE_ADDRESS_0 + 4 * bar, 4) & 0xf, 0);
	for (unsigned bar = 3; bar < 6; bar++)
		assert_int_equal(bar_size(r, bar), 0);
}

static void ids_and_sizes_can_be_set(void **state)
{
	struct vmshm_rig *r = *state;

	r->options.pci_vendor = 0x1234;
	r->options.pci_device = 0x5678;
	r->options.name_size = MIB(1);
	r->options.window = MIB(64);
	r->options.vectors = 3;
	vmshm_rig_again(r);
	assert_int_equal(vmshm_rig_config(r, PCI_VENDOR_ID, 4), 0x56781234);
	assert_int_equal(bar_size(r, 2), MIB(1));
	assert_int_equal(bar_size(r, 3), 0x1000);
	assert_int_equal(vmshm_rig_config(r, PCI_BASE_ADDRESS_4, 1) & 0xf,
			 PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
	assert_int_equal(bar_size(r, 4), MIB(64));
	assert_int_equal(vmshm_rig_reg(r, VMSHM_FEATURES), 0x7f);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_WINDOW_LO), MIB(64));
	assert_int_equal(vmshm_rig_reg(r, VMSHM_NVECTORS), 3);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_NEVENTS), 2);
}

/* --- registers --- */

static const struct {
	unsigned off;
	uint32_t value;		/* of a device that nobody has used */
	uint32_t writable;
} registers[] = {
	{ VMSHM_MAGIC, 0x48534d56, 0 },
	{ VMSHM_VERSION, 0x00010000, 0 },
	{ VMSHM_FEATURES, VMSHM_F_SIZE | VMSHM_F_RO | VMSHM_F_OFFSET | VMSHM_F_SEALED, 0 },
	{ VMSHM_OFFSET_LO, 0, UINT32_MAX },
	{ VMSHM_OFFSET_HI, 0, UINT32_MAX },
	{ VMSHM_FLAGS, 0, UINT32_MAX },
};

static uint32_t first_value(unsigned off)
{
	for (size_t i = 0; i < ARRAY_SIZE(registers); i++)
		if (registers[i].off == off)
			return registers[i].value;
	return 0;
}

static uint32_t writable(unsigned off)
{
	for (size_t i = 0; i < ARRAY_SIZE(registers); i++)
		if (registers[i].off == off)
			return registers[i].writable;
	return 0;
}

static void registers_are_as_their_header_says(void **state)
{
	struct vmshm_rig *r = *state;

	for (unsigned off = 4; off < VMSHM_REGS_SIZE; off += 4)
		assert_int_equal(vmshm_rig_reg(r, off), first_value(off));
	for (unsigned off = 0; off < VMSHM_REGS_SIZE; off += 4) {
		vmshm_rig_set(r, off, 0xa5a5a5a5);
		if (off)
			assert_int_equal(vmshm_rig_reg(r, off),
					 writable(off) ? 0xa5a5a5a5 : first_value(off));
		vmshm_rig_set(r, off, 0);
	}
	assert_int_equal(r->asked, 0);
}

/* By any other way than KVM's own: the write of one who has the eventfd could be waited for. */
static void a_doorbell_that_the_kernel_did_not_take_is_written_by_nobody(void **state)
{
	struct vmshm_rig *r = *state;

	r->options.vectors = 3;
	vmshm_rig_again(r);
	r->fake.fail = -ENOSPC;
	vmshm_rig_configure(r, PCI_COMMAND, 2, 0);
	vmshm_rig_configure(r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	r->fake.fail = 0;
	vmshm_rig_set(r, VMSHM_DOORBELL, 1);
	fake_machine_run_loop(&r->fake);
	assert_int_equal(r->dev.events.refused.count, 2);
	assert_int_equal(fd_drain(r->dev.events.kick[1]), 0);
}

/* Hazard 18: reads have effects, so an access that is no driver's has none. */
static void only_aligned_accesses_of_32_bits_are_any(void **state)
{
	struct vmshm_rig *r = *state;

	vmshm_rig_offer(r, "obj", 0x1000, 1);
	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	vmshm_rig_set(r, VMSHM_OFFSET_LO, 0x11111111);
	for (unsigned size = 1; size <= 8; size *= 2) {
		for (unsigned off = 0; off + size <= VMSHM_REGS_SIZE; off++) {
			if (size == 4 && off % 4 == 0)
				continue;
			vmshm_rig_write(r, VMSHM_BAR_REGS, off, size, UINT64_MAX);
			assert_true(vmshm_rig_read(r, VMSHM_BAR_REGS, off, size) == 0);
		}
	}
	assert_int_equal(r->asked, 1);
	assert_true(r->dev.binding.open);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_OFFSET_LO), 0x11111111);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_OFFSET_HI), 0);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_FLAGS), 0);
}

/* A driver of 0.1, reference 1.3: CLOSE first, then its open, which is tried again, and its end. */
static void the_script_of_version_0_1_passes(void **state)
{
	struct vmshm_rig *r = *state;
	int fd = vmshm_rig_offer(r, "object", 0x1000, 256);

	assert_int_equal(vmshm_rig_reg(r, VMSHM_CLOSE), 0);
	assert_int_not_equal(vmshm_rig_open(r, "/missing"), 0);
	assert_int_equal(vmshm_rig_open(r, "/object"), 0);
	*vmshm_rig_word(r, 255) = 7;
	assert_int_equal(vmshm_rig_object_word(fd, 255), 7);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_OPEN), 0);
	assert_int_equal(*vmshm_rig_word(r, 1), 0x1001);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_CLOSE), 0);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_CLOSE), 0);
	assert_int_equal(*vmshm_rig_word(r, 1), 0);
}

/* --- the name --- */

static void the_name_is_bytes_of_any_access_size(void **state)
{
	struct vmshm_rig *r = *state;
	static const char text[] = "0123456789abcdef";
	uint64_t value = 0;

	for (unsigned size = 1; size <= 8; size *= 2) {
		for (unsigned at = 0; at < 16; at += size) {
			value = 0;
			memcpy(&value, text + at, size);
			vmshm_rig_write(r, VMSHM_BAR_NAME, 64 * size + at, size, value);
		}
		for (unsigned at = 0; at < 16; at++)
			assert_int_equal(vmshm_rig_read(r, VMSHM_BAR_NAME, 64 * size + at, 1),
					 text[at]);
		memcpy(&value, text + 3, sizeof(value));
		assert_true(vmshm_rig_read(r, VMSHM_BAR_NAME, 64 * size + 3, 8) == value);
	}
	vmshm_rig_write(r, VMSHM_BAR_NAME, VMSHM_NAME_SIZE - 4, 8, UINT64_MAX);
	assert_int_equal(vmshm_rig_read(r, VMSHM_BAR_NAME, VMSHM_NAME_SIZE - 4, 4), 0);
}

static void names_that_are_none_are_refused_unasked(void **state)
{
	static const char *const bad[] = { "", "/", ".", "/..", "a/b", "a\nb" };
	struct vmshm_rig *r = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(vmshm_rig_open(r, bad[i]), VMSHM_EBADNAME);
		assert_int_equal(vmshm_rig_reg(r, VMSHM_ERROR), VMSHM_EBADNAME);
	}
	for (unsigned at = 0; at < VMSHM_NAME_SIZE; at += 8)
		vmshm_rig_write(r, VMSHM_BAR_NAME, at, 8, UINT64_C(0x6161616161616161));
	assert_int_equal(vmshm_rig_reg(r, VMSHM_OPEN), VMSHM_EBADNAME);
	assert_int_equal(r->asked, 0);
}

static void what_is_behind_1024_bytes_of_a_larger_name_is_no_name(void **state)
{
	struct vmshm_rig *r = *state;

	r->options.name_size = MIB(1);
	vmshm_rig_again(r);
	for (unsigned at = 0; at < VMSHM_NAME_SIZE; at += 8)
		vmshm_rig_write(r, VMSHM_BAR_NAME, at, 8, UINT64_C(0x6161616161616161));
	vmshm_rig_write(r, VMSHM_BAR_NAME, MIB(1) - 8, 8, 1);
	assert_int_equal(vmshm_rig_read(r, VMSHM_BAR_NAME, MIB(1) - 8, 8), 1);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_OPEN), VMSHM_EBADNAME);
}

static void the_opener_is_asked_for_what_the_guest_named(void **state)
{
	struct vmshm_rig *r = *state;

	assert_int_equal(vmshm_rig_open(r, "/some name"), VMSHM_ENOENT);
	assert_string_equal(r->question.name, "some name");
	assert_int_equal(r->question.device, 3);
	assert_int_equal(r->question.ro, 0);
	vmshm_rig_set(r, VMSHM_FLAGS, VMSHM_OPEN_RO);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_OPEN), VMSHM_ENOENT);
	assert_int_equal(r->question.ro, 1);
	assert_int_equal(r->held, -1);
}

/* --- reset --- */

static void a_reset_leaves_nothing(void **state)
{
	struct vmshm_rig *r = *state;
	int fd = vmshm_rig_offer(r, "obj", 0x1000, 4);
	uint64_t home = r->dev.pci.bars[VMSHM_BAR_WINDOW].addr;

	assert_int_equal(vmshm_rig_open(r, "nothing"), VMSHM_ENOENT);
	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	assert_int_equal(vmshm_rig_open(r, "nothing"), VMSHM_ENOENT);
	vmshm_rig_set(r, VMSHM_FLAGS, 5);
	vmshm_rig_set(r, VMSHM_OFFSET_HI, 5);
	*vmshm_rig_word(r, 100) = 5;
	vmshm_reset(&r->dev);
	assert_int_equal(vmshm_rig_config(r, PCI_COMMAND, 2), 0);
	assert_int_equal(r->fake.slots[r->dev.binding.window.window.slot].size, 0);
	vmshm_rig_configure(r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(r->dev.pci.bars[VMSHM_BAR_WINDOW].addr == home);
	for (unsigned off = 4; off < VMSHM_REGS_SIZE; off += 4)
		if (off != VMSHM_STATUS)
			assert_int_equal(vmshm_rig_reg(r, off), first_value(off));
	assert_int_equal(vmshm_rig_reg(r, VMSHM_STATUS) & 0xffff, 0);
	for (unsigned at = 0; at < VMSHM_NAME_SIZE; at += 8)
		assert_true(vmshm_rig_read(r, VMSHM_BAR_NAME, at, 8) == 0);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(*vmshm_rig_word(r, i), 0);
	*vmshm_rig_word(r, 0) = 9;
	assert_int_equal(vmshm_rig_object_word(fd, 0), 0x1000);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, vmshm_rig_setup, vmshm_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(configuration_space_is_the_documents),
		CASE(ids_and_sizes_can_be_set),
		CASE(registers_are_as_their_header_says),
		CASE(only_aligned_accesses_of_32_bits_are_any),
		CASE(a_doorbell_that_the_kernel_did_not_take_is_written_by_nobody),
		CASE(the_script_of_version_0_1_passes),
		CASE(the_name_is_bytes_of_any_access_size),
		CASE(names_that_are_none_are_refused_unasked),
		CASE(what_is_behind_1024_bytes_of_a_larger_name_is_no_name),
		CASE(the_opener_is_asked_for_what_the_guest_named),
		CASE(a_reset_leaves_nothing),
	};

	return cmocka_run_group_tests_name("vmshm", tests, NULL, NULL);
}
