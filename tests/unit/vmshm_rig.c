/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/vmshm_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"

static int ask(void *ctx, const struct vmshm_question *q, int held, struct err *e)
{
	struct vmshm_rig *r = ctx;

	assert_false(r->fake.in_vcpu);
	r->question = *q;
	r->asked++;
	r->held = held;
	if (r->refuses)
		return err_set(e, r->refuses, "the opener is not there");
	if (!r->late)
		loop_post(&r->fake.loop, &r->answer);
	return 0;
}

void vmshm_rig_answer(struct vmshm_rig *r)
{
	struct vmshm_answer a = { .device = r->question.device, .serial = r->question.serial,
				  .status = VMSHM_ENOENT };
	int fd = -1;

	for (unsigned i = 0; i < VMSHM_RIG_OBJECTS; i++) {
		const struct vmshm_rig_object *o = &r->objects[i];

		if (!o->name || strcmp(o->name, r->question.name) != 0)
			continue;
		fd = fcntl(o->fd, F_DUPFD_CLOEXEC, 0);
		a.status = VMSHM_OK;
		a.rw = o->rw;
		a.sealed = o->sealed;
	}
	vmshm_answered(&r->dev, &a, &fd);
	assert_int_equal(fd, -1);
}

static void answer_run(void *arg)
{
	vmshm_rig_answer(arg);
}

static void start(struct vmshm_rig *r)
{
	static const struct vmshm_opener opener = { .ask = ask };
	struct err e;

	if (vmshm_init(&r->dev, &r->options, &r->fake.machine, &r->bus, &opener, r, &e))
		fail_msg("%s", e.msg);
	vmshm_rig_configure(r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

int vmshm_rig_setup(void **state)
{
	struct vmshm_rig *r = calloc(1, sizeof(*r));
	static char id[] = "shm";
	struct err e;

	fake_machine_init(&r->fake);
	assert_int_equal(pci_bus_init(&r->bus, &r->fake.machine, true, &e), 0);
	r->answer = (struct loop_job){ .run = answer_run, .arg = r };
	r->options = (struct vmshm_options){
		.id = id, .number = 3, .window_idle_max = GIB(4), .name_size = VMSHM_NAME_SIZE,
		.pci_vendor = VMSHM_PCI_VENDOR, .pci_device = VMSHM_PCI_DEVICE,
	};
	start(r);
	*state = r;
	return 0;
}

int vmshm_rig_teardown(void **state)
{
	struct vmshm_rig *r = *state;

	vmshm_fini(&r->dev);
	vmshm_fini(&r->dev);
	pci_bus_fini(&r->bus);
	fake_machine_fini(&r->fake);
	for (unsigned i = 0; i < VMSHM_RIG_OBJECTS; i++)
		if (r->objects[i].name)
			close(r->objects[i].fd);
	free(r);
	return 0;
}

void vmshm_rig_again(struct vmshm_rig *r)
{
	vmshm_fini(&r->dev);
	start(r);
}

int vmshm_rig_offer(struct vmshm_rig *r, const char *name, uint32_t tag, uint64_t pages)
{
	unsigned i = 0;

	while (r->objects[i].name)
		i++;
	assert_true(i < VMSHM_RIG_OBJECTS);
	r->objects[i] = (struct vmshm_rig_object){ .name = name, .rw = true,
						   .fd = window_rig_object(tag, pages) };
	return r->objects[i].fd;
}

static void select_register(struct vmshm_rig *r, unsigned reg)
{
	fake_vcpu_write(&r->fake, &r->fake.machine.pio, PCI_CONF1_PORT, 4,
			UINT32_C(0x80000000) | r->dev.pci.slot << 11 | (reg & 0xfc));
}

uint64_t vmshm_rig_config(struct vmshm_rig *r, unsigned reg, unsigned size)
{
	select_register(r, reg);
	return fake_vcpu_read(&r->fake, &r->fake.machine.pio, PCI_CONF1_PORT + 4 + (reg & 3),
			      size);
}

void vmshm_rig_configure(struct vmshm_rig *r, unsigned reg, unsigned size, uint64_t value)
{
	select_register(r, reg);
	fake_vcpu_write(&r->fake, &r->fake.machine.pio, PCI_CONF1_PORT + 4 + (reg & 3), size,
			value);
}

uint64_t vmshm_rig_read(struct vmshm_rig *r, unsigned bar, uint64_t off, unsigned size)
{
	return fake_vcpu_read(&r->fake, &r->fake.machine.mmio, r->dev.pci.bars[bar].addr + off,
			      size);
}

void vmshm_rig_write(struct vmshm_rig *r, unsigned bar, uint64_t off, unsigned size,
		     uint64_t value)
{
	fake_vcpu_write(&r->fake, &r->fake.machine.mmio, r->dev.pci.bars[bar].addr + off, size,
			value);
}

uint32_t vmshm_rig_reg(struct vmshm_rig *r, unsigned off)
{
	return (uint32_t)vmshm_rig_read(r, VMSHM_BAR_REGS, off, 4);
}

void vmshm_rig_set(struct vmshm_rig *r, unsigned off, uint32_t value)
{
	vmshm_rig_write(r, VMSHM_BAR_REGS, off, 4, value);
}

uint32_t vmshm_rig_open(struct vmshm_rig *r, const char *name)
{
	size_t len = strlen(name);

	for (size_t at = 0; at <= len; at += 4) {
		uint32_t word = 0;

		memcpy(&word, name + at, min_u64(sizeof(word), len - at));
		vmshm_rig_write(r, VMSHM_BAR_NAME, at, 4, word);
	}
	return vmshm_rig_reg(r, VMSHM_OPEN);
}

volatile uint32_t *vmshm_rig_word(struct vmshm_rig *r, uint64_t page)
{
	return window_rig_word(&r->dev.binding.window.window, page);
}

uint32_t vmshm_rig_object_word(int fd, uint64_t page)
{
	uint32_t word = 0;

	assert_int_equal(pread(fd, &word, sizeof(word), (off_t)(page * PAGE)), sizeof(word));
	return word;
}
