/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm_devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/listener.h"
#include "base/log.h"
#include "devices/vhost_user_socket.h"
#include "vmm/vm.h"

int vm_devices_check(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->options->n_devices; i++) {
		const struct vhost_user_options *o = &vm->options->devices[i];
		int r = o->fd_given ? vhost_user_check_inherited((int)o->fd, e) : 0;

		if (r)
			return err_prefix(e, r, "--vhost-user: ");
	}
	return 0;
}

int vm_devices_listen(struct vm *vm, struct err *e)
{
	mode_t before = umask(0177);
	int r = 0;

	for (unsigned i = 0; i < vm->options->n_devices && r == 0; i++) {
		const struct vhost_user_options *o = &vm->options->devices[i];
		int sock = -1;

		if (o->server)
			r = listener_open(&vm->names[vm->n_names++], SOCK_STREAM,
					  "--vhost-user: socket=", o->socket, &sock, e);
		vhost_user_door_init(&vm->doors[i], &vm->loop, &sock);
	}
	umask(before);
	return r;
}

int vm_devices_start_spawners(struct vm *vm, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < vm->options->n_devices && r == 0; i++)
		if (vm->options->devices[i].exec)
			r = spawner_start(&vm->spawners[i], &vm->options->devices[i], e);
	return r;
}

int vm_devices_start_helpers(struct vm *vm, struct err *e)
{
	const struct options *o = vm->options;
	int r = 0;

	for (; vm->n_helpers < o->n_devices && r == 0; vm->n_helpers++) {
		struct helper *h = &vm->helpers[vm->n_helpers];

		*h = (struct helper)HELPER_NONE;
		if (vhost_user_control_is_needed(&o->devices[vm->n_helpers]))
			r = helper_start(h, o->seccomp, e);
	}
	return r;
}

/* Of type gpu; before its daemon, which is given it. */
static int connect_display(struct vm *vm, struct vhost_user_device *d, struct err *e)
{
	unsigned number = ERRANDS_DISPLAY + d->options->number;
	int sock;

	if (!d->options->display)
		return 0;
	sock = supervisor_connect(&vm->supervisor, number, e);
	if (sock < 0)
		return err_prefix(e, sock, "device %s: display: ", d->id);
	vhost_user_display_use(d, &sock, &errands_dialer, &vm->errands, number);
	return 0;
}

static int connect_device(struct vm *vm, struct vhost_user_device *d, struct err *e)
{
	const struct vhost_user_options *o = d->options;
	struct helper *helper = &vm->helpers[o->number];
	int sock, r = 0;

	if (helper->sock >= 0)
		r = vhost_user_control_connect(d, &helper->sock, &helper->questions, e);
	if (r)
		return r;
	if (o->server) {
		log_info("device %s: waits at %s for its daemon", d->id, o->socket);
		vhost_user_link_begin(&d->link, &vhost_user_door_dialer, &vm->doors[o->number],
				      o->number);
		return 0;
	}
	if (o->exec) {
		spawner_use(&vm->spawners[o->number], &vm->loop);
		vhost_user_link_begin(&d->link, &spawner_dialer, &vm->spawners[o->number],
				      o->number);
		return 0;
	}
	sock = o->fd_given ? (int)o->fd : supervisor_connect(&vm->supervisor, o->number, e);
	if (sock < 0)
		return err_prefix(e, sock, "device %s: ", d->id);
	r = vhost_user_device_connect(d, &sock, e);
	if (r == 0 && o->reconnect)
		vhost_user_link_use(&d->link, &errands_dialer, &vm->errands, o->number);
	return r;
}

/* Who watches the devices' messages, or changes them: nobody as a rule. */
static int init_taps(struct vm *vm, struct err *e)
{
	const struct options *o = vm->options;
	int r = 0;

	if (!o->vu_trace && !o->n_faults)
		return 0;
	memcpy(vm->faults, o->faults, sizeof(vm->faults));
	vm->taps = calloc(o->n_devices + 1, sizeof(*vm->taps));
	if (!vm->taps)
		return err_set(e, -ENOMEM, "devices: out of memory");
	for (unsigned i = 0; i < o->n_devices && r == 0; i++) {
		vm->devices[i].tap = &vm->taps[i];
		r = vu_tap_init(&vm->taps[i], vm->devices[i].id, &vm->loop, &vm->trace, vm->faults,
				o->n_faults, e);
	}
	return r;
}

int vm_devices_connect(struct vm *vm, struct err *e)
{
	unsigned n = vm->options->n_devices;
	int r = 0;

	errands_init(&vm->errands, &vm->supervisor, &vm->loop);
	vm->devices = calloc(n + 1, sizeof(*vm->devices));
	if (!vm->devices)
		return err_set(e, -ENOMEM, "devices: out of memory");
	for (unsigned i = 0; i < n; i++)
		vhost_user_device_init(&vm->devices[i], &vm->options->devices[i], &vm->machine,
				       &vm->pci);
	vm->n_devices = n;
	r = init_taps(vm, e);
	for (unsigned i = 0; i < n && r == 0; i++) {
		r = connect_display(vm, &vm->devices[i], e);
		if (r == 0)
			r = connect_device(vm, &vm->devices[i], e);
	}
	/* What is to be asked for, is now: daemons of exec= start while the kernel is loaded. */
	if (r == 0)
		loop_once(&vm->loop, 0);
	return r;
}

int vm_devices_realize(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->n_devices; i++) {
		struct vhost_user_device *d = &vm->devices[i];
		int r = 0;

		while (!vm->ended && !d->failed &&
		       (!d->ready || !vhost_user_control_is_settled(d)))
			loop_once(&vm->loop, -1);
		if (vm->ended)
			return -EINTR;
		if (d->failed)
			r = err_set(e, -EPROTO, "%s", d->why.msg);
		if (r == 0)
			r = vhost_user_device_realize(d, e);
		if (r)
			return r;
		if (!d->options->reconnect) {
			vhost_user_link_fini(&d->link);
			vhost_user_door_fini(&vm->doors[d->options->number]);
		}
	}
	kvm_coalesce_ports(&vm->kvm, vm->n_vmshms || vm->n_devices > vm->machine.mmio_devices);
	report_stamp(&vm->report, STAMP_DAEMONS_READY);
	return 0;
}

void vm_devices_fini(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_devices; i++)
		vhost_user_device_fini(&vm->devices[i]);
	for (unsigned i = 0; i < vm->n_helpers; i++)
		helper_fini(&vm->helpers[i]);
	for (unsigned i = 0; i < vm->options->n_devices; i++)
		vhost_user_door_fini(&vm->doors[i]);
	for (unsigned i = 0; vm->taps && i < vm->n_devices; i++)
		vu_tap_fini(&vm->taps[i]);
	vu_trace_close(&vm->trace);
	spawners_end(vm->spawners, vm->options->n_devices);
}
