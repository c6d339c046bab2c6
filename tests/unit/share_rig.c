/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/share_rig.h"

enum { PAGES = 64 };

int share_setup(void **state)
{
	struct share_rig *m = calloc(1, sizeof(*m));
	struct share_card *cards[] = { &m->a, &m->b, &m->c };

	fake_machine_init(&m->fake);
	guest_ram_init(&m->fake);
	assert_int_equal(pci_bus_init(&m->bus, &m->fake.machine, true, &m->e), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cards); i++) {
		struct share_card *c = cards[i];

		c->fake = &m->fake;
		c->id[0] = (char)('a' + i);
		c->sock = scripted_daemon_init(&c->daemon, &m->fake.loop);
		c->daemon.protocol |= BIT64(VU_PF_BACKEND_SEND_FD) |
				      BIT64(VU_PF_CONFIGURE_MEM_SLOTS) | BIT64(VU_PF_REPLY_ACK);
		c->daemon.slots = 32;
	}
	m->file = memfd_create("object", MFD_CLOEXEC);
	assert_int_equal(ftruncate(m->file, PAGES * PAGE), 0);
	*state = m;
	return 0;
}

int share_teardown(void **state)
{
	struct share_rig *m = *state;
	struct share_card *cards[] = { &m->a, &m->b, &m->c };
	struct err illegal = { "" };

	for (unsigned i = 0; i < ARRAY_SIZE(cards); i++) {
		struct share_card *c = cards[i];

		if (c->daemon.illegal.msg[0])
			illegal = c->daemon.illegal;
		vhost_user_device_fini(&c->dev);
		vhost_user_device_fini(&c->dev);
		vhost_user_options_free(&c->options);
		fd_close(&c->sock);
		scripted_daemon_fini(&c->daemon);
	}
	assert_null(m->fake.machine.shared.first);
	assert_null(m->fake.machine.shared.takers);
	fd_close(&m->file);
	pci_bus_fini(&m->bus);
	guest_ram_fini(&m->fake);
	fake_machine_fini(&m->fake);
	free(m);
	assert_string_equal(illegal.msg, "");
	return 0;
}

void share_settle(struct share_card *c)
{
	fake_machine_run_loop(c->fake);
}

void share_plug(struct share_rig *m, struct share_card *c, const char *keys)
{
	char text[128];

	if (!strncmp(keys, "pmem", 4)) {
		c->daemon.protocol |= BIT64(VU_PF_SHMEM);
		c->daemon.shmem.nregions = 1;
		c->daemon.shmem.sizes[0] = PAGES * PAGE;
	}
	c->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	snprintf(text, sizeof(text), keys, c->id);
	if (vhost_user_options_parse(&c->options, text, &m->e))
		fail_msg("%s", m->e.msg);
	vhost_user_device_init(&c->dev, &c->options, &m->fake.machine, &m->bus);
	assert_int_equal(vhost_user_device_connect(&c->dev, &c->sock, &m->e), 0);
	share_settle(c);
	if (vhost_user_device_realize(&c->dev, &m->e))
		fail_msg("%s", m->e.msg);
	c->guest = (struct virtio_guest){ &m->fake, c->dev.pci.pci.slot };
	guest_decode(&c->guest, true);
}

void share_run(struct share_card *c)
{
	assert_true(guest_negotiate(&c->guest, BIT64(VIRTIO_F_VERSION_1)));
	guest_queue(&c->guest, 0, 4, 0);
	guest_driver_ok(&c->guest);
	share_settle(c);
	assert_false(fake_vcpu_waits(c->fake));
	assert_int_equal(c->dev.run, VHOST_USER_RUNNING);
	scripted_daemon_order(&c->daemon);
}

struct share_rig *share_pair(void **state)
{
	struct share_rig *m = *state;

	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	share_run(&m->a);
	share_run(&m->b);
	return m;
}

void share_send_map(struct share_rig *m, struct share_card *c, uint64_t page, bool rw)
{
	struct vu_mmap w = { .fd_offset = page * PAGE, .shm_offset = page * PAGE, .len = PAGE,
			     .flags = rw ? VU_SHMEM_RW : 0 };

	scripted_daemon_back_request(&c->daemon, MAP, NEED_REPLY, &w, sizeof(w), &m->file, 1);
}

void share_send_unmap(struct share_card *c, uint64_t page)
{
	struct vu_mmap w = { .shm_offset = page * PAGE, .len = PAGE };

	scripted_daemon_back_request(&c->daemon, UNMAP, NEED_REPLY, &w, sizeof(w), NULL, 0);
}

int share_answer(struct share_card *c, uint32_t request)
{
	uint64_t value;
	int r = scripted_daemon_back_answer(&c->daemon, request, &value);

	return r > 0 ? value != 0 : r - 1;
}

void share_map(struct share_rig *m, struct share_card *c, uint64_t page)
{
	share_send_map(m, c, page, true);
	share_settle(c);
	assert_int_equal(share_answer(c, MAP), 0);
}

int share_unmap(struct share_card *c, uint64_t page)
{
	share_send_unmap(c, page);
	share_settle(c);
	return share_answer(c, UNMAP);
}

uint64_t share_home(struct share_card *c)
{
	return c->dev.shmem.window.window.gpa;
}

bool share_has(struct share_card *c, struct share_card *giver, uint64_t page)
{
	for (unsigned i = 0; i < c->daemon.n_regions; i++)
		if (c->daemon.regions[i].gpa == share_home(giver) + page * PAGE)
			return true;
	return false;
}

bool share_is_mapped(struct share_card *c, uint64_t page)
{
	return window_find(&c->dev.shmem.window.window, page * PAGE);
}

unsigned share_count(struct share_card *c, uint32_t request)
{
	return scripted_daemon_count(&c->daemon, request);
}

void share_fall_silent_at(struct share_card *c, uint32_t request)
{
	c->daemon.fault = FAULT_SILENT;
	c->daemon.fault_on = request;
	c->daemon.faulted = false;
}

void share_give_answers(struct share_card *c)
{
	scripted_daemon_give(&c->daemon);
	share_settle(c);
}

void share_miss_the_deadline(struct share_card *c)
{
	struct loop_timer *t = &c->dev.frontend.deadline;

	assert_true(t->at > 0);
	loop_timer_cancel(&c->fake->loop, t);
	t->expired(t->arg);
	share_settle(c);
}
