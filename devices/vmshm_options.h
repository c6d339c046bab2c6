/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --vmshm: one device, and what host objects its guest may open. Parsing allocates;
 * vmshm_options_free frees.
 */
#ifndef DEVICES_VMSHM_OPTIONS_H
#define DEVICES_VMSHM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/keyval.h"

enum { VMSHM_RULES_MAX = 32 };		/* of each kind, a device */

/* allow=GLOB[:ro]: fnmatch(3) of the host object's name with a slash before it; a dot that a name
 * begins with is matched by a dot alone. The first that matches decides. */
struct vmshm_allow {
	char *glob;			/* owned; begins with a slash, and has no other */
	bool ro;
};

/* map=/name:fd=N[:ro] */
struct vmshm_map {
	char *name;			/* owned; as vmshm_name_parse gives it */
	int fd;				/* inherited, borrowed: open as long as the process */
	bool ro;
};

struct vmshm_options {
	char *id;			/* NULL before the check: "vmshm0", "vmshm1".. then */
	unsigned number;		/* on the command line; of the check */
	struct vmshm_allow allow[VMSHM_RULES_MAX];
	unsigned n_allow;
	struct vmshm_map maps[VMSHM_RULES_MAX];
	unsigned n_maps;
	char *prefix;			/* put before the name the guest gives; NULL: nothing */
	uint64_t owner;			/* whose objects may be opened: by default the starter's */
	uint64_t window;		/* bytes of the large one, a power of two >= 2 MiB, or 0 */
	uint64_t window_idle_max;	/* as of --vhost-user (window_init's idle_max) */
	bool prealloc;			/* an OPEN into the large window allocates the object */
	uint64_t vectors;		/* MSI-X vectors; 0: no interrupts */
	char *events, *events_peer;	/* sockets; NULL: none */
	bool exclusive;			/* opens no object that another has open so */
	uint16_t pci_vendor, pci_device;
	uint64_t name_size;		/* bytes of BAR 2: 1 KiB or more, a power of two */
};

/* Its keys, for --help and the manual page. */
extern const struct keyval vmshm_keys[];

/* @text is what follows --vmshm, or NULL. 0, or -EINVAL with @e; free it either way. */
int vmshm_options_parse(struct vmshm_options *o, const char *text, struct err *e);
/* All of them together, @n in the order given: numbers them, and gives ids to those without. 0 or
 * -EINVAL with @e (an id twice, a socket twice). */
int vmshm_options_check(struct vmshm_options *o, unsigned n, struct err *e);
/* Works on a zeroed struct, twice. */
void vmshm_options_free(struct vmshm_options *o);

#endif
