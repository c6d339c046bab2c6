/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verbs: `minivmm VERB ...` runs a tool instead of a VM. The table is what --help lists and what
 * the manual page is tested against. A verb needs neither KVM nor a filter: it is a program of its
 * own that came with this one.
 */
#ifndef VMM_VERBS_H
#define VMM_VERBS_H

struct verb {
	const char *name, *arguments;
	/* Its main function: @argv[0] is the verb's name. The exit code, of vm.h's meaning: 0 done,
	 * 1 could not, 2 usage. It writes errors itself. */
	int (*run)(int argc, char **argv);
	const char *about;
};

/* Ends with a row without a name. */
extern const struct verb verbs[];

/* The row of @name, or NULL: it is no verb (also when @name is NULL). */
const struct verb *verbs_find(const char *name);

#endif
