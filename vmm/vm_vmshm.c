/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm_vmshm.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/listener.h"
#include "base/log.h"
#include "devices/vmshm_object.h"
#include "vmm/vm.h"

int vm_vmshm_check(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->options->n_vmshms; i++) {
		const struct vmshm_options *o = &vm->options->vmshms[i];
		int r = vmshm_object_check_maps(o, e);

		if (r)
			return r;
		if (!o->n_allow && !o->n_maps)
			log_warn("--vmshm: no object is allowed to %s, every open will fail: add"
				 " allow=/NAME, or allow=/GLOB* for more than one", o->id);
	}
	return 0;
}

int vm_vmshm_listen(struct vm *vm, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < vm->options->n_vmshms && r == 0; i++) {
		const char *path = vm->options->vmshms[i].events;

		vm->events_socks[i] = -1;
		vm->n_events_socks = i + 1;
		if (path)
			r = listener_open(&vm->names[vm->n_names++], SOCK_SEQPACKET,
					  "--vmshm: events=", path, &vm->events_socks[i], e);
	}
	return r;
}

static void answered(void *arg, const struct vmshm_answer *a, int *fd)
{
	struct vm *vm = arg;

	if (a->device < vm->n_vmshms)
		vmshm_answered(&vm->vmshms[a->device], a, fd);
}

static void gone(void *arg)
{
	struct vm *vm = arg;

	for (unsigned i = 0; i < vm->n_vmshms; i++)
		vmshm_opener_gone(&vm->vmshms[i]);
}

static const struct errands_vmshm_ops errands_ops = { .answered = answered, .gone = gone };

int vm_vmshm_init(struct vm *vm, struct err *e)
{
	unsigned n = vm->options->n_vmshms;
	int r = 0;

	vm->vmshms = calloc(n + 1, sizeof(*vm->vmshms));
	if (!vm->vmshms)
		return err_set(e, -ENOMEM, "devices: out of memory");
	errands_serve_vmshm(&vm->errands, &errands_ops, vm);
	for (; vm->n_vmshms < n && r == 0; vm->n_vmshms++) {
		unsigned i = vm->n_vmshms;
		struct vmshm *d = &vm->vmshms[i];

		r = vmshm_init(d, &vm->options->vmshms[i], &vm->machine, &vm->pci, &errands_opener,
			       &vm->errands, e);
		if (r == 0 && vm->events_socks[i] >= 0)
			r = vmshm_events_listen(&d->events, &vm->events_socks[i], e);
		if (r == 0 && vm->options->vmshms[i].events_peer)
			vmshm_events_dial(&d->events, &errands_dialer, &vm->errands,
					  ERRANDS_EVENTS_PEER + i);
	}
	return r;
}

void vm_vmshm_reset(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_vmshms; i++)
		vmshm_reset(&vm->vmshms[i]);
}

void vm_vmshm_fini(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_vmshms; i++)
		vmshm_fini(&vm->vmshms[i]);
}
