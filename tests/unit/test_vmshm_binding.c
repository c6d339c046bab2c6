/* SPDX-License-Identifier: Apache-2.0 */
/* What a VMShm device shows its guest of an object, and what it does not. */
#include "tests/unit/vmshm_rig.h"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <unistd.h>

#include "base/range.h"
#include "tests/unit/process.h"

static uint32_t state_of(struct vmshm_rig *r)
{
	return vmshm_rig_reg(r, VMSHM_STATUS) & 0xffff;
}

static unsigned generation(struct vmshm_rig *r)
{
	return vmshm_rig_reg(r, VMSHM_STATUS) >> VMSHM_S_GENERATION;
}

static uint64_t wide(struct vmshm_rig *r, unsigned lo)
{
	return vmshm_rig_reg(r, lo) | (uint64_t)vmshm_rig_reg(r, lo + 4) << 32;
}

static uint32_t open_with(struct vmshm_rig *r, const char *name, uint32_t flags, uint64_t offset)
{
	vmshm_rig_set(r, VMSHM_FLAGS, flags);
	vmshm_rig_set(r, VMSHM_OFFSET_LO, (uint32_t)offset);
	vmshm_rig_set(r, VMSHM_OFFSET_HI, (uint32_t)(offset >> 32));
	return vmshm_rig_open(r, name);
}

/* What is open is page @first of the object tagged @tag, and goes on for @pages. */
static void assert_shows(struct vmshm_rig *r, uint32_t tag, uint64_t first, uint64_t pages)
{
	assert_int_equal(wide(r, VMSHM_MAPPED_LO), pages * PAGE);
	for (uint64_t i = 0; i < 256; i++)
		assert_int_equal(*vmshm_rig_word(r, i), i < pages ? tag + first + i : 0);
}

static void the_rest_of_the_window_is_zeros(void **state)
{
	struct vmshm_rig *r = *state;
	int fd = vmshm_rig_offer(r, "obj", 0x1000, 4);

	*vmshm_rig_word(r, 200) = 5;
	assert_int_equal(ftruncate(fd, 3 * PAGE + 1), 0);
	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	assert_int_equal(wide(r, VMSHM_SIZE_LO), 3 * PAGE + 1);
	assert_int_equal(wide(r, VMSHM_MAPPED_LO), 4 * PAGE);
	assert_int_equal(*vmshm_rig_word(r, 2), 0x1002);
	assert_int_equal(*vmshm_rig_word(r, 200), 0);
	*vmshm_rig_word(r, 200) = 6;
	*vmshm_rig_word(r, 1) = 7;
	assert_int_equal(vmshm_rig_object_word(fd, 1), 7);
}

static void of_a_larger_object_there_is_what_fits(void **state)
{
	struct vmshm_rig *r = *state;

	vmshm_rig_offer(r, "obj", 0x1000, 300);
	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	assert_shows(r, 0x1000, 0, 256);
	assert_int_equal(open_with(r, "obj", 0, 20 * PAGE), 0);
	assert_shows(r, 0x1000, 20, 256);
	assert_int_equal(open_with(r, "obj", 0, 290 * PAGE), 0);
	assert_shows(r, 0x1000, 290, 10);
	assert_int_equal(wide(r, VMSHM_SIZE_LO), 300 * PAGE);
	/* Both were taken by the OPEN. */
	assert_int_equal(wide(r, VMSHM_OFFSET_LO), 0);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_OPEN), 0);
	assert_shows(r, 0x1000, 0, 256);
}

static void what_cannot_be_bound_leaves_what_is(void **state)
{
	struct vmshm_rig *r = *state;
	int empty = vmshm_rig_offer(r, "empty", 0, 1);
	unsigned was;

	vmshm_rig_offer(r, "obj", 0x1000, 4);
	vmshm_rig_offer(r, "big", 0x2000, 300);
	assert_int_equal(ftruncate(empty, 0), 0);
	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	was = generation(r);
	assert_int_equal(vmshm_rig_open(r, "absent"), VMSHM_ENOENT);
	assert_int_equal(vmshm_rig_open(r, "empty"), VMSHM_EEMPTY);
	assert_int_equal(open_with(r, "big", 0, 1), VMSHM_EBADOFFSET);
	assert_int_equal(open_with(r, "big", 0, 300 * PAGE), VMSHM_EBADOFFSET);
	assert_int_equal(open_with(r, "big", 0, UINT64_MAX - PAGE + 1), VMSHM_EBADOFFSET);
	assert_int_equal(open_with(r, "big", VMSHM_OPEN_WHOLE, 43 * PAGE), VMSHM_ETOOBIG);
	assert_int_equal(open_with(r, "big", VMSHM_OPEN_LARGE, 0), VMSHM_ENOTSUP);
	assert_int_equal(open_with(r, "big", 8, 0), VMSHM_ENOTSUP);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_ERROR), VMSHM_ENOTSUP);
	assert_int_equal(state_of(r), VMSHM_S_OPEN);
	assert_int_equal(generation(r), was);
	assert_shows(r, 0x1000, 0, 4);
	assert_int_equal(open_with(r, "big", VMSHM_OPEN_WHOLE, 44 * PAGE), 0);
	assert_shows(r, 0x2000, 44, 256);
	assert_int_equal(generation(r), was + 1);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_ERROR), 0);
}

/* Hazards 2 and 10: whatever the opener may hand over. */
static void only_regular_objects_of_others_are_bound(void **state)
{
	struct vmshm_rig *r = *state;
	int ram = vmshm_rig_offer(r, "ram", 0x1000, 4), pipes[2];

	assert_int_equal(pipe(pipes), 0);
	r->objects[1] = (struct vmshm_rig_object){ .name = "pipe", .fd = pipes[0], .rw = true };
	r->fake.mem.regions[1].fd = ram;
	r->fake.mem.count = 2;
	r->fake.mem.regions[0].fd = pipes[1];
	assert_int_equal(vmshm_rig_open(r, "ram"), VMSHM_ENOENT);
	assert_int_equal(vmshm_rig_open(r, "pipe"), VMSHM_EBADTYPE);
	assert_int_equal(state_of(r), 0);
	r->fake.mem.count = 0;
	assert_int_equal(vmshm_rig_open(r, "ram"), 0);
	close(pipes[1]);
}

static void read_only_is_what_the_guest_asks_for_or_what_it_gets(void **state)
{
	struct vmshm_rig *r = *state;
	int fd = vmshm_rig_offer(r, "obj", 0x1000, 2);

	assert_int_equal(open_with(r, "obj", VMSHM_OPEN_RO, 0), 0);
	assert_int_equal(state_of(r), VMSHM_S_OPEN | VMSHM_S_RO);
	*vmshm_rig_word(r, 1) = 5;
	assert_int_equal(vmshm_rig_object_word(fd, 1), 0x1001);
	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	assert_int_equal(state_of(r), VMSHM_S_OPEN);
	assert_int_equal(*vmshm_rig_word(r, 1), 0x1001);
	r->objects[0].rw = false;
	r->objects[0].sealed = true;
	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	assert_int_equal(state_of(r), VMSHM_S_OPEN | VMSHM_S_RO | VMSHM_S_SEALED);
	*vmshm_rig_word(r, 1) = 5;
	assert_int_equal(vmshm_rig_object_word(fd, 1), 0x1001);
	vmshm_rig_reg(r, VMSHM_CLOSE);
	assert_int_equal(state_of(r), 0);
}

static void a_closed_window_has_nothing_of_the_object(void **state)
{
	struct vmshm_rig *r = *state;
	int fd = vmshm_rig_offer(r, "obj", 0x1000, 2);
	unsigned was;

	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	*vmshm_rig_word(r, 9) = 9;
	was = generation(r);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_CLOSE), 0);
	assert_int_equal(generation(r), was + 1);
	assert_shows(r, 0, 0, 0);
	assert_int_equal(wide(r, VMSHM_SIZE_LO), 0);
	*vmshm_rig_word(r, 0) = 9;
	assert_int_equal(vmshm_rig_object_word(fd, 0), 0x1000);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_CLOSE), 0);
	assert_int_equal(generation(r), was + 1);
}

/* Hazard 3. */
static void a_truncated_object_is_told_until_the_next_open(void **state)
{
	struct vmshm_rig *r = *state;
	int fd = vmshm_rig_offer(r, "obj", 0x1000, 8);
	struct err e;
	unsigned was;

	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	was = generation(r);
	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	assert_int_equal(guest_windows_repair(&r->fake.machine, &e), 1);
	assert_int_equal(state_of(r), VMSHM_S_OPEN | VMSHM_S_TRUNCATED);
	assert_int_equal(generation(r), was + 1);
	assert_int_equal(wide(r, VMSHM_SIZE_LO), 8 * PAGE);
	assert_shows(r, 0x1000, 0, 2);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(guest_windows_repair(&r->fake.machine, &e), 1);
	assert_shows(r, 0, 0, 0);
	assert_int_equal(guest_windows_repair(&r->fake.machine, &e), 0);
	assert_int_equal(vmshm_rig_open(r, "obj"), VMSHM_EEMPTY);
	assert_int_equal(state_of(r), VMSHM_S_OPEN | VMSHM_S_TRUNCATED);
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	assert_int_equal(state_of(r), VMSHM_S_OPEN);
	assert_int_equal(wide(r, VMSHM_MAPPED_LO), 8 * PAGE);
}

static const struct fake_slot *slot_of(const struct vmshm_rig *r)
{
	return &r->fake.slots[r->dev.binding.window.window.slot];
}

static void a_guest_may_move_the_window_while_it_is_open(void **state)
{
	struct vmshm_rig *r = *state;
	unsigned reg = PCI_BASE_ADDRESS_0 + 4 * VMSHM_BAR_WINDOW;
	uint64_t home = slot_of(r)->gpa;

	vmshm_rig_offer(r, "obj", 0x1000, 4);
	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	vmshm_rig_configure(r, reg, 4, home + MIB(16));
	assert_true(slot_of(r)->gpa == home + MIB(16) && slot_of(r)->size == MIB(1));
	assert_ptr_equal(slot_of(r)->host, r->dev.binding.window.window.host);
	vmshm_rig_configure(r, PCI_COMMAND, 2, 0);
	assert_int_equal(slot_of(r)->size, 0);
	vmshm_rig_configure(r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(slot_of(r)->gpa == home + MIB(16) && slot_of(r)->size == MIB(1));
	assert_shows(r, 0x1000, 0, 4);
}

static void the_large_window_has_an_object_or_the_other_has(void **state)
{
	struct vmshm_rig *r = *state;
	int a = vmshm_rig_offer(r, "a", 0x1000, 600), b = vmshm_rig_offer(r, "b", 0x2000, 4);
	const struct mem_window *large;

	r->options.window = MIB(256);
	vmshm_rig_again(r);
	large = &r->dev.binding.large.window;
	assert_int_equal(wide(r, VMSHM_WINDOW_LO), MIB(256));
	assert_int_equal(vmshm_rig_open(r, "b"), 0);
	assert_int_equal(open_with(r, "a", VMSHM_OPEN_LARGE | VMSHM_OPEN_WHOLE, 0), 0);
	assert_int_equal(state_of(r), VMSHM_S_OPEN | VMSHM_S_LARGE);
	assert_int_equal(wide(r, VMSHM_MAPPED_LO), 600 * PAGE);
	assert_int_equal(*window_rig_word(large, 599), 0x1000 + 599);
	assert_int_equal(*vmshm_rig_word(r, 0), 0);
	*window_rig_word(large, 599) = 4;
	*vmshm_rig_word(r, 0) = 4;
	assert_int_equal(vmshm_rig_object_word(a, 599), 4);
	assert_int_equal(vmshm_rig_object_word(b, 0), 0x2000);
	assert_int_equal(vmshm_rig_open(r, "b"), 0);
	assert_int_equal(state_of(r), VMSHM_S_OPEN);
	assert_shows(r, 0x2000, 0, 4);
	assert_int_equal(*window_rig_word(large, 599), 0);
	vmshm_rig_reg(r, VMSHM_CLOSE);
	assert_shows(r, 0, 0, 0);
}

static void what_a_guest_could_make_of_the_host_is_bounded(void **state)
{
	struct vmshm_rig *r = *state;

	vmshm_rig_offer(r, "obj", 0x1000, 1200);
	r->options.window = MIB(256);
	r->options.window_idle_max = MIB(4);
	vmshm_rig_again(r);
	assert_int_equal(open_with(r, "obj", VMSHM_OPEN_LARGE | VMSHM_OPEN_RO, 0), VMSHM_ENOMEM);
	assert_int_equal(open_with(r, "obj", VMSHM_OPEN_LARGE, 0), 0);
}

static void ten_thousand_opens_leave_no_fd_and_no_area(void **state)
{
	struct vmshm_rig *r = *state;
	unsigned fds, areas;

	vmshm_rig_offer(r, "a", 0x1000, 4);
	vmshm_rig_offer(r, "b", 0x2000, 300);
	assert_int_equal(vmshm_rig_open(r, "a"), 0);
	fds = process_fds();
	areas = process_areas();
	for (unsigned i = 0; i < 10000; i++) {
		vmshm_rig_set(r, VMSHM_FLAGS, i % 2);
		assert_int_equal(vmshm_rig_open(r, i % 3 ? "a" : "b"), 0);
		assert_int_equal(vmshm_rig_open(r, "c"), VMSHM_ENOENT);
		if (i % 5)
			vmshm_rig_reg(r, VMSHM_CLOSE);
	}
	assert_int_equal(vmshm_rig_open(r, "a"), 0);
	assert_int_equal(process_fds(), fds);
	assert_true(process_areas() <= areas + 2);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, vmshm_rig_setup, vmshm_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_rest_of_the_window_is_zeros),
		CASE(of_a_larger_object_there_is_what_fits),
		CASE(what_cannot_be_bound_leaves_what_is),
		CASE(only_regular_objects_of_others_are_bound),
		CASE(read_only_is_what_the_guest_asks_for_or_what_it_gets),
		CASE(a_closed_window_has_nothing_of_the_object),
		CASE(a_truncated_object_is_told_until_the_next_open),
		CASE(a_guest_may_move_the_window_while_it_is_open),
		CASE(the_large_window_has_an_object_or_the_other_has),
		CASE(what_a_guest_could_make_of_the_host_is_bounded),
		CASE(ten_thousand_opens_leave_no_fd_and_no_area),
	};

	return cmocka_run_group_tests_name("vmshm_binding", tests, NULL, NULL);
}
