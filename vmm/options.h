/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line. One table says what options there are; --help prints it and the manual page is
 * tested against it. Parsing allocates strings; options_fini frees them.
 */
#ifndef VMM_OPTIONS_H
#define VMM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/seccomp.h"
#include "devices/vhost_user_options.h"
#include "devices/vmshm_options.h"
#include "memory/backend.h"
#include "vhost/fault.h"

enum { OPTIONS_LIST_MAX = 32 };

enum machine_kind { MACHINE_ACPI, MACHINE_MPTABLE, MACHINE_FDT };
enum on_reset { ON_RESET_REBOOT, ON_RESET_EXIT };

/* A repeatable option's values, in the order given; borrowed from argv. */
struct option_list {
	const char *items[OPTIONS_LIST_MAX];	/* NULL: given without a value, where it may be */
	unsigned count;
};

struct options {
	const char *kernel, *cmdline, *append;	/* NULL: default */
	struct option_list initrds, vhost_user, vmshm, vu_faults;
	struct vhost_user_options devices[OPTIONS_LIST_MAX];	/* of vhost_user.items, parsed */
	unsigned n_devices;
	struct vmshm_options vmshms[OPTIONS_LIST_MAX];		/* of vmshm.items, parsed */
	unsigned n_vmshms;
	const char *vu_trace;			/* as vu_trace_open takes it; NULL: none */
	struct vu_fault faults[OPTIONS_LIST_MAX];	/* of vu_faults.items, parsed */
	unsigned n_faults;
	uint64_t memory;
	const char *mem_backend;		/* as written; parsed into `mem` */
	struct mem_options mem;
	uint64_t cpus;
	int machine;				/* enum machine_kind */
	int on_reset;				/* enum on_reset */
	int transport;				/* enum vhost_user_transport */
	int seccomp;				/* enum seccomp_mode */
	const char *serial;			/* stdio, null or file=PATH */
	const char *boot_report;		/* path, NULL for none */
	int log_level;
	bool help, version;
};

/* Defaults, then @argv. 0, or -EINVAL with @e: a usage error. */
int options_parse(struct options *o, int argc, char **argv, struct err *e);
void options_fini(struct options *o);
/* The lowest descriptor from @from on that an option names, as fd=N or by a path /dev/fd/N or
 * /proc/self/fd/N; UINT_MAX when none does. */
unsigned options_next_fd(const struct options *o, unsigned from);
/* What --help shows. */
void options_help(FILE *out);

#endif
