/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/pci_regs.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

#include "base/fd.h"
#include "base/range.h"
#include "devices/virtio_mmio.h"
#include "devices/virtio_pci.h"
#include "tests/unit/virtio_guest.h"

enum { PAGE = 4096, REGION_A = 1, REGION_B = 7, REGION_C = 255 };
#define WINDOW_AT GIB(64)

/* A device with regions, one for each way to be aligned, and a file to map. */
struct fixture {
	struct fake_machine fake;
	struct pci_bus bus;
	struct virtio_dev dev;
	struct virtio_pci pci;
	struct virtio_mmio mmio;
	struct shmem shmem;
	uint64_t sizes[VU_SHMEM_REGIONS];
	int file;
	uint8_t *file_bytes;
	struct virtio_guest guest;
	unsigned cuts;			/* times its owner was told that objects shrank */
	struct err e;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_machine_init(&f->fake);
	guest_ram_init(&f->fake);
	assert_int_equal(pci_bus_init(&f->bus, &f->fake.machine, true, &f->e), 0);
	assert_int_equal(virtio_init(&f->dev, "dev0", 27, 1, 8, 0, &f->fake.machine, &f->e), 0);
	f->sizes[REGION_A] = 3 * PAGE;
	f->sizes[REGION_B] = MIB(2);
	f->sizes[REGION_C] = PAGE;
	f->file = memfd_create("object", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->file, 4 * PAGE), 0);
	f->file_bytes = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f->file, 0);
	assert_true(f->file_bytes != MAP_FAILED);
	memset(f->file_bytes, 'o', 4 * PAGE);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->dev.transport)
		f->dev.transport->fini(&f->dev);
	shmem_fini(&f->shmem);
	shmem_fini(&f->shmem);
	virtio_fini(&f->dev);
	pci_bus_fini(&f->bus);
	munmap(f->file_bytes, 4 * PAGE);
	fd_close(&f->file);
	guest_ram_fini(&f->fake);
	fake_machine_fini(&f->fake);
	free(f);
	return 0;
}

static void cut_short(void *arg)
{
	((struct fixture *)arg)->cuts++;
}

/* Regions of @sizes, at most @max, whose window may cost @idle_max. */
static int try_init(struct fixture *f, const uint64_t sizes[VU_SHMEM_REGIONS], uint64_t max,
		    uint64_t idle_max)
{
	const struct guest_window_params p = {
		.name = "dev0", .idle_max = idle_max, .cut_short = cut_short, .arg = f,
	};

	return shmem_init(&f->shmem, &f->fake.machine, sizes, max, &p, &f->e);
}

static void init_shmem(struct fixture *f)
{
	assert_int_equal(try_init(f, f->sizes, GIB(1), GIB(1)), 0);
	f->dev.shmem = &f->shmem;
}

static void init_pci(struct fixture *f)
{
	init_shmem(f);
	assert_int_equal(virtio_pci_init(&f->pci, &f->dev, &f->bus, 0xff0000, &f->e), 0);
	f->guest = (struct virtio_guest){ &f->fake, f->pci.pci.slot };
}

static void init_mmio(struct fixture *f)
{
	init_shmem(f);
	assert_int_equal(virtio_mmio_init(&f->mmio, &f->dev, &f->e), 0);
}

static struct vu_shmem_map mapping(uint8_t id, uint64_t offset, uint64_t len)
{
	return (struct vu_shmem_map){ .shmid = id, .shm_offset = offset, .len = len, .rw = true };
}

static int map(struct fixture *f, uint8_t id, uint64_t offset, uint64_t len)
{
	struct vu_shmem_map m = mapping(id, offset, len);

	return shmem_map(&f->shmem, &m, f->file, &f->e);
}

static int unmap(struct fixture *f, uint8_t id, uint64_t offset, uint64_t len)
{
	struct vu_shmem_map m = mapping(id, offset, len);

	return shmem_unmap(&f->shmem, &m, &f->e);
}

/* What the guest reads at @offset of region @id. */
static uint8_t *at(struct fixture *f, uint8_t id, uint64_t offset)
{
	return f->shmem.window.window.host + shmem_find(&f->shmem, id)->offset + offset;
}

/* Layout */

static void regions_are_aligned_and_apart(void **state)
{
	struct fixture *f = *state;

	init_shmem(f);
	assert_int_equal(f->shmem.count, 3);
	assert_int_equal(shmem_find(&f->shmem, REGION_A)->offset, 0);
	assert_int_equal(shmem_find(&f->shmem, REGION_B)->offset, MIB(2));
	assert_int_equal(shmem_find(&f->shmem, REGION_C)->offset, MIB(4));
	assert_null(shmem_find(&f->shmem, 0));
	assert_null(shmem_find(&f->shmem, VU_SHMEM_REGIONS + REGION_A));
	assert_int_equal(shmem_size(&f->shmem), MIB(8));
}

static void a_device_without_regions_has_no_window(void **state)
{
	struct fixture *f = *state;
	const uint64_t none[VU_SHMEM_REGIONS] = { 0 };

	assert_int_equal(try_init(f, none, GIB(1), GIB(1)), 0);
	assert_int_equal(shmem_size(&f->shmem), 0);
	assert_null(f->fake.machine.windows);
	shmem_clear(&f->shmem);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
	static const struct {
		uint64_t a, b, max;
		int r;
		const char *says;
	} cases[] = {
		{ PAGE + 1, 0, GIB(1), -EINVAL, "region 1 has 4097 bytes" },
		{ 2 * PAGE, PAGE, 2 * PAGE, -E2BIG, "shmem-max=" },
		{ MIB(2), PAGE, MIB(2), -E2BIG, "region 7 of 4K" },
		{ UINT64_MAX - PAGE + 1, 0, GIB(1), -E2BIG, "shmem-max=" },
		{ PAGE, UINT64_MAX - PAGE + 1, UINT64_MAX, -E2BIG, "shmem-max=" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t sizes[VU_SHMEM_REGIONS] = { [REGION_A] = cases[i].a,
						     [REGION_B] = cases[i].b };

		assert_int_equal(try_init(f, sizes, cases[i].max, GIB(1)), cases[i].r);
		assert_non_null(strstr(f->e.msg, cases[i].says));
		assert_int_equal(shmem_size(&f->shmem), 0);
	}
}

/* Mappings */

static void a_mapping_is_the_object_until_it_is_taken_away(void **state)
{
	struct fixture *f = *state;

	init_shmem(f);
	assert_int_equal(map(f, REGION_A, PAGE, 2 * PAGE), 0);
	assert_int_equal(*at(f, REGION_A, PAGE), 'o');
	*at(f, REGION_A, PAGE) = 'g';
	assert_int_equal(f->file_bytes[0], 'g');
	assert_int_equal(unmap(f, REGION_A, PAGE, 2 * PAGE), 0);
	*at(f, REGION_A, PAGE) = 'x';
	assert_int_equal(f->file_bytes[0], 'g');
}

static void a_mapping_stays_within_its_region(void **state)
{
	struct fixture *f = *state;

	init_shmem(f);
	assert_int_equal(map(f, REGION_A, 2 * PAGE, 2 * PAGE), -EINVAL);
	assert_int_equal(map(f, REGION_A, 4 * PAGE, PAGE), -EINVAL);
	assert_int_equal(map(f, REGION_A, -(uint64_t)PAGE, 2 * PAGE), -EINVAL);
	assert_int_equal(map(f, REGION_A, 0, 0), -EINVAL);
	assert_int_equal(map(f, 0, 0, PAGE), -ENXIO);
	assert_non_null(strstr(f->e.msg, "no shared memory region 0"));
	assert_int_equal(map(f, REGION_C, 0, PAGE), 0);
	assert_int_equal(unmap(f, REGION_C, 0, 2 * PAGE), -EINVAL);
	assert_int_equal(unmap(f, REGION_B, 0, PAGE), -ENOENT);
	assert_int_equal(unmap(f, REGION_C, 0, PAGE), 0);
}

static void clear_takes_everything_away(void **state)
{
	struct fixture *f = *state;

	init_shmem(f);
	assert_int_equal(map(f, REGION_A, 0, PAGE), 0);
	assert_int_equal(map(f, REGION_B, 0, PAGE), 0);
	shmem_clear(&f->shmem);
	assert_int_equal(*at(f, REGION_A, 0), 0);
	assert_int_equal(unmap(f, REGION_A, 0, PAGE), -ENOENT);
	assert_int_equal(map(f, REGION_A, 0, PAGE), 0);
}

static void an_object_that_shrinks_is_repaired_once(void **state)
{
	struct fixture *f = *state;

	init_shmem(f);
	assert_int_equal(map(f, REGION_B, 0, 4 * PAGE), 0);
	assert_int_equal(guest_windows_repair(&f->fake.machine, &f->e), 0);
	assert_int_equal(ftruncate(f->file, PAGE), 0);
	assert_int_equal(f->cuts, 0);
	assert_int_equal(guest_windows_repair(&f->fake.machine, &f->e), 1);
	assert_int_equal(f->cuts, 1);
	assert_int_equal(*at(f, REGION_B, 0), 'o');
	assert_int_equal(*at(f, REGION_B, PAGE), 0);
	assert_int_equal(guest_windows_repair(&f->fake.machine, &f->e), 0);
	assert_int_equal(f->cuts, 1);
}

/* A vCPU whose fault is looked into too late to find why can tell that there was a reason. */
static void every_change_of_a_window_can_be_told(void **state)
{
	struct fixture *f = *state;
	uint64_t last = guest_windows_changes(&f->fake.machine), now;

	init_shmem(f);
	for (unsigned step = 0; step < 4; step++) {
		switch (step) {
		case 0:
			assert_int_equal(map(f, REGION_B, 0, 4 * PAGE), 0);
			assert_int_equal(map(f, REGION_B, 4 * PAGE, PAGE), 0);
			break;
		case 1:
			assert_int_equal(unmap(f, REGION_B, 4 * PAGE, PAGE), 0);
			break;
		case 2:
			assert_int_equal(ftruncate(f->file, PAGE), 0);
			assert_int_equal(guest_windows_repair(&f->fake.machine, &f->e), 1);
			break;
		case 3:
			shmem_clear(&f->shmem);
			break;
		}
		now = guest_windows_changes(&f->fake.machine);
		assert_int_not_equal(now, last);
		last = now;
	}
	assert_int_equal(map(f, REGION_B, 0, 5 * PAGE), -EINVAL);
	assert_int_equal(guest_windows_changes(&f->fake.machine), last);
}

/* The timer is due. */
static void look(struct fixture *f)
{
	struct loop_timer *t = &f->shmem.window.look;

	assert_true(t->at > 0);
	loop_timer_cancel(&f->fake.loop, t);
	t->expired(t->arg);
}

/* Without an EFAULT, which KVM spares a vCPU that can be interrupted. */
static void an_object_that_shrinks_is_noticed_by_the_clock(void **state)
{
	struct fixture *f = *state;

	init_shmem(f);
	assert_int_equal(f->shmem.window.look.at, 0);
	assert_int_equal(map(f, REGION_B, 0, 4 * PAGE), 0);
	look(f);
	assert_int_equal(*at(f, REGION_B, PAGE), 'o');
	assert_int_equal(ftruncate(f->file, PAGE), 0);
	look(f);
	look(f);
	assert_int_equal(f->cuts, 1);
	assert_int_equal(*at(f, REGION_B, 0), 'o');
	assert_int_equal(*at(f, REGION_B, PAGE), 0);
	assert_int_equal(unmap(f, REGION_B, 0, 4 * PAGE), 0);
	look(f);
	assert_int_equal(f->shmem.window.look.at, 0);
	assert_int_equal(map(f, REGION_C, 0, PAGE), 0);
	assert_true(f->shmem.window.look.at > 0);
}

static void access_page(struct fixture *f, struct guest_access *a, unsigned page, uint8_t *word,
			bool is_write)
{
	const uint8_t *host = f->shmem.window.window.host;
	uint64_t gpa = WINDOW_AT + (uint64_t)(at(f, REGION_B, page * PAGE) - host);

	f->fake.until = NULL;
	assert_true(guest_windows_access(&f->fake.machine, a, gpa, word, 8, is_write));
	assert_false(f->fake.until(f->fake.until_arg));
	fake_machine_run_loop(&f->fake);
	assert_true(f->fake.until(f->fake.until_arg));
}

/* Nor with one: where KVM emulates the access, that is an exit to a device. Done by this process,
 * it is no SIGBUS, and meets the zeros that took the page's place. */
static void an_object_that_shrinks_is_noticed_by_an_access(void **state)
{
	struct fixture *f = *state;
	struct machine *m = &f->fake.machine;
	struct guest_access a = { 0 };
	uint8_t word[8] = "stored.";
	uint64_t size;

	init_shmem(f);
	size = shmem_size(&f->shmem);
	assert_false(guest_windows_access(m, &a, WINDOW_AT, word, 8, true));
	guest_window_move(&f->shmem.window, WINDOW_AT);
	assert_int_equal(map(f, REGION_B, 0, 4 * PAGE), 0);
	assert_int_equal(ftruncate(f->file, PAGE), 0);
	f->fake.in_vcpu = true;
	assert_false(guest_windows_access(m, &a, WINDOW_AT - 1, word, 8, true));
	assert_false(guest_windows_access(m, &a, WINDOW_AT + size, word, 8, true));
	assert_int_equal(f->fake.waits, 0);
	access_page(f, &a, 1, word, true);
	assert_string_equal((char *)at(f, REGION_B, PAGE), "stored.");
	memset(word, 0xff, 8);
	access_page(f, &a, 1, word, false);
	assert_string_equal((char *)word, "stored.");
	access_page(f, &a, 2, word, false);
	assert_int_equal(word[0], 0);
	access_page(f, &a, 0, word, false);
	assert_int_equal(word[0], 'o');
	f->fake.in_vcpu = false;
	assert_int_equal(guest_windows_repair(m, &f->e), 0);
}

/* What the guest can cost */

static void a_window_that_would_cost_too_much_is_refused_by_name(void **state)
{
	struct fixture *f = *state;
	unsigned taken = f->fake.machine.areas.taken;

	f->sizes[REGION_B] = GIB(1);
	assert_int_equal(try_init(f, f->sizes, GIB(2), KIB(128)), -E2BIG);
	assert_non_null(strstr(f->e.msg, "device dev0"));
	assert_non_null(strstr(f->e.msg, "window-idle-max="));
	assert_int_equal(shmem_size(&f->shmem), 0);
	assert_int_equal(f->fake.machine.areas.taken, taken);
	assert_int_equal(try_init(f, f->sizes, GIB(2), KIB(256)), 0);
}

static void a_read_only_mapping_beyond_the_bound_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct vu_shmem_map ro = mapping(REGION_B, 0, 4 * PAGE);
	uint64_t idle;

	ro.rw = false;
	assert_int_equal(try_init(f, f->sizes, GIB(1), MIB(2) + 3 * PAGE), 0);
	idle = f->shmem.window.window.idle;
	assert_int_equal(idle, MIB(2));
	assert_int_equal(shmem_map(&f->shmem, &ro, f->file, &f->e), -E2BIG);
	assert_non_null(strstr(f->e.msg, "of 16K"));
	assert_non_null(strstr(f->e.msg, "already 2064K of the host's memory, more than 2060K"));
	assert_non_null(strstr(f->e.msg, "window-idle-max="));
	assert_int_equal(*at(f, REGION_B, 0), 0);
	assert_int_equal(f->shmem.window.window.idle, idle);
	assert_int_equal(map(f, REGION_B, 0, 4 * PAGE), 0);
}

/* On PCI */

static const struct fake_slot *slot(struct fixture *f)
{
	return &f->fake.slots[f->shmem.window.window.slot];
}

static uint64_t bar(struct fixture *f)
{
	const unsigned reg = PCI_BASE_ADDRESS_0 + 4 * VIRTIO_PCI_SHMEM_BAR;

	return guest_config_read(&f->guest, reg, 8) & ~UINT64_C(0xf);
}

static void pci_shows_each_region_by_a_capability_before_all_others(void **state)
{
	struct fixture *f = *state;
	unsigned found = 0;

	init_pci(f);
	for (unsigned cap = guest_config_read(&f->guest, PCI_CAPABILITY_LIST, 1); cap;
	     cap = guest_config_read(&f->guest, cap + PCI_CAP_LIST_NEXT, 1)) {
		const struct shmem_region *r;
		uint64_t off, len;

		if (guest_config_read(&f->guest, cap, 1) != PCI_CAP_ID_VNDR ||
		    guest_config_read(&f->guest, cap + 3, 1) != VIRTIO_PCI_CAP_SHARED_MEMORY_CFG) {
			assert_int_equal(found, 3);
			continue;
		}
		assert_int_equal(guest_config_read(&f->guest, cap + 2, 1), 24);
		assert_int_equal(guest_config_read(&f->guest, cap + 4, 1), VIRTIO_PCI_SHMEM_BAR);
		r = shmem_find(&f->shmem, (uint32_t)guest_config_read(&f->guest, cap + 5, 1));
		assert_non_null(r);
		off = guest_config_read(&f->guest, cap + 8, 4) |
		      guest_config_read(&f->guest, cap + 16, 4) << 32;
		len = guest_config_read(&f->guest, cap + 12, 4) |
		      guest_config_read(&f->guest, cap + 20, 4) << 32;
		assert_int_equal(off, r->offset);
		assert_int_equal(len, r->size);
		found++;
	}
	assert_int_equal(found, 3);
	assert_int_equal(guest_config_read(&f->guest,
					   PCI_BASE_ADDRESS_0 + 4 * VIRTIO_PCI_SHMEM_BAR, 1) & 0xf,
			 PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
}

static void the_slot_follows_the_bar_before_the_exit_ends(void **state)
{
	struct fixture *f = *state;
	uint64_t home;

	init_pci(f);
	home = bar(f);
	assert_int_equal(slot(f)->size, 0);
	guest_decode(&f->guest, true);
	assert_int_equal(slot(f)->gpa, home);
	assert_int_equal(slot(f)->size, MIB(8));
	assert_ptr_equal(slot(f)->host, f->shmem.window.window.host);
	guest_config_write(&f->guest, PCI_BASE_ADDRESS_0 + 4 * VIRTIO_PCI_SHMEM_BAR, 4,
			   (uint32_t)home + MIB(8));
	assert_int_equal(slot(f)->gpa, home + MIB(8));
	guest_decode(&f->guest, false);
	assert_int_equal(slot(f)->size, 0);
}

static void a_place_the_machine_does_not_take_is_nowhere(void **state)
{
	struct fixture *f = *state;

	init_pci(f);
	f->fake.fail = -EINVAL;
	guest_decode(&f->guest, true);
	f->fake.fail = 0;
	assert_int_equal(slot(f)->size, 0);
	guest_decode(&f->guest, false);
	guest_decode(&f->guest, true);
	assert_int_equal(slot(f)->size, MIB(8));
}

static void pci_has_room_for_three_regions(void **state)
{
	struct fixture *f = *state;

	f->sizes[9] = PAGE;
	init_shmem(f);
	assert_int_equal(virtio_pci_init(&f->pci, &f->dev, &f->bus, 0xff0000, &f->e), -E2BIG);
	assert_non_null(strstr(f->e.msg, "transport=mmio"));
}

/* By MMIO */

static uint64_t shm_reg(struct fixture *f, unsigned low)
{
	struct bus *b = &f->fake.machine.mmio;

	return fake_vcpu_read(&f->fake, b, VIRTIO_MMIO_BASE + low, 4) |
	       fake_vcpu_read(&f->fake, b, VIRTIO_MMIO_BASE + low + 4, 4) << 32;
}

static void select_region(struct fixture *f, uint32_t id)
{
	fake_vcpu_write(&f->fake, &f->fake.machine.mmio, VIRTIO_MMIO_BASE + VIRTIO_MMIO_SHM_SEL, 4,
			id);
}

static void mmio_shows_the_region_that_is_selected(void **state)
{
	struct fixture *f = *state;

	init_mmio(f);
	assert_int_equal(slot(f)->gpa, VIRTIO_MMIO_WINDOWS);
	assert_int_equal(shm_reg(f, VIRTIO_MMIO_SHM_LEN_LOW), UINT64_MAX);
	select_region(f, REGION_B);
	assert_int_equal(shm_reg(f, VIRTIO_MMIO_SHM_LEN_LOW), MIB(2));
	assert_int_equal(shm_reg(f, VIRTIO_MMIO_SHM_BASE_LOW), VIRTIO_MMIO_WINDOWS + MIB(2));
	select_region(f, VU_SHMEM_REGIONS + REGION_B);
	assert_int_equal(shm_reg(f, VIRTIO_MMIO_SHM_LEN_LOW), UINT64_MAX);
	assert_int_equal(shm_reg(f, VIRTIO_MMIO_SHM_BASE_LOW), UINT64_MAX);
}

static void windows_by_mmio_have_places_of_their_own_and_an_end(void **state)
{
	struct fixture *f = *state;

	f->fake.machine.mmio_windows = PAGE;
	init_mmio(f);
	assert_int_equal(slot(f)->gpa, VIRTIO_MMIO_WINDOWS + MIB(8));
	f->dev.transport->fini(&f->dev);
	f->fake.machine.mmio_windows = VIRTIO_MMIO_WINDOWS_END - VIRTIO_MMIO_WINDOWS - MIB(4);
	assert_int_equal(virtio_mmio_init(&f->mmio, &f->dev, &f->e), -ENOSPC);
	assert_non_null(strstr(f->e.msg, "no room left"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(regions_are_aligned_and_apart),
		CASE(a_device_without_regions_has_no_window),
		CASE(sizes_that_cannot_be_are_refused),
		CASE(a_mapping_is_the_object_until_it_is_taken_away),
		CASE(a_mapping_stays_within_its_region),
		CASE(clear_takes_everything_away),
		CASE(an_object_that_shrinks_is_repaired_once),
		CASE(an_object_that_shrinks_is_noticed_by_an_access),
		CASE(every_change_of_a_window_can_be_told),
		CASE(an_object_that_shrinks_is_noticed_by_the_clock),
		CASE(a_window_that_would_cost_too_much_is_refused_by_name),
		CASE(a_read_only_mapping_beyond_the_bound_changes_nothing),
		CASE(pci_shows_each_region_by_a_capability_before_all_others),
		CASE(the_slot_follows_the_bar_before_the_exit_ends),
		CASE(a_place_the_machine_does_not_take_is_nowhere),
		CASE(pci_has_room_for_three_regions),
		CASE(mmio_shows_the_region_that_is_selected),
		CASE(windows_by_mmio_have_places_of_their_own_and_an_end),
	};

	return cmocka_run_group_tests_name("shmem", tests, NULL, NULL);
}
