/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VMShm device shows its guest: two windows, of which one may have an object.
 *
 *     window (1 MiB)   |  object, whole pages  |  zeros  |     bound
 *     large            |  filler                         |
 *
 * An object that is bound takes the place of the one before; what fails leaves that as it is.
 * Under the device lock; in the loop, but for what is marked.
 */
#ifndef DEVICES_VMSHM_BINDING_H
#define DEVICES_VMSHM_BINDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "devices/guest_window.h"
#include "devices/machine.h"
#include "devices/vmshm_events.h"
#include "devices/vmshm_open.h"
#include "devices/vmshm_options.h"

/* What the guest asks for. */
struct vmshm_wish {
	char name[VMSHM_NAME_MAX + 1];	/* as vmshm_name_parse gives it */
	uint32_t flags;			/* VMSHM_OPEN_*, known ones */
	uint64_t offset;		/* in the object */
};

struct vmshm_binding {
	const struct vmshm_options *options;	/* NULL: not initialised */
	struct guest_window window;
	struct guest_window large;	/* not initialised without options->window */

	/* Any thread: */
	bool open;
	bool ro, sealed, truncated;
	struct vmshm_wish wish;
	uint64_t size, mapped;		/* bytes: of the object, of the window that are its */

	int fd;				/* owned: the object; -1: nothing is open */
	struct misuse failed;		/* objects that could not be bound, ... */
	struct misuse kept;		/* ... or not be taken away */
};

/* Set-up. Nothing is bound. @o, and @arg of @cut_short, which follows vmshm_binding_cut_short each
 * time that the object was found shrunk, are borrowed until vmshm_binding_fini; @b must not move. 0
 * or -errno with @e. */
int vmshm_binding_init(struct vmshm_binding *b, const struct vmshm_options *o, struct machine *m,
		       void (*cut_short)(void *arg), void *arg, struct err *e);
/* Works on a zeroed struct, twice. */
void vmshm_binding_fini(struct vmshm_binding *b);

/*
 * Binds the object behind *@fd, which is taken, as @w says; @rw: the guest may write it. VMSHM_OK,
 * or a VMSHM_E* of guest/vmshm/vmshm_regs.h; what was bound before is then so still.
 */
uint32_t vmshm_binding_open(struct vmshm_binding *b, const struct vmshm_wish *w, int *fd, bool rw,
			    bool sealed);
/* When it returns no vCPU reaches the object, and where it was are zeros. */
void vmshm_binding_close(struct vmshm_binding *b);
/* The same, and what the guest wrote into either window is gone. */
void vmshm_binding_reset(struct vmshm_binding *b);
/* Takes note of what the object has lost; false when it has not. */
bool vmshm_binding_cut_short(struct vmshm_binding *b);
/* As struct vmshm_news says, but for the generation. */
void vmshm_binding_news(const struct vmshm_binding *b, struct vmshm_news *ret);

#endif
