/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm_vmshm.h"

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
			log_warn("--vmshm: no object is allowed, every open will fail: add"
				 " allow=/NAME, or allow=/GLOB* for more than one");
	}
	return 0;
}

int vm_vmshm_listen(struct vm *vm, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < vm->options->n_vmshms && r == 0; i++) {
		const char *path = vm->options->vmshms[i].events;

		vm->events_socks[i] = -1;
		vm->events_names[i].dir = -1;
		vm->n_events_socks = i + 1;
		if (path)
			r = listener_open(&vm->events_names[i], SOCK_SEQPACKET, "--vmshm: events=",
					  path, &vm->events_socks[i], e);
	}
	return r;
}

void vm_vmshm_drop_names(struct vm *vm, bool remove)
{
	for (unsigned i = 0; i < vm->n_events_socks; i++) {
		if (remove)
			listener_close(&vm->events_names[i]);
		fd_close(&vm->events_names[i].dir);
	}
}
