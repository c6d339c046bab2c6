/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minivmm: boots a Linux guest whose RAM is shared memory and whose devices are vhost-user daemons.
 * The only place that prints a set-up error and chooses the exit code.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/seccomp.h"
#include "minivmm_config.h"
#include "vmm/options.h"
#include "vmm/verbs.h"
#include "vmm/vm.h"

static int run(const struct options *o)
{
	static struct vm vm;	/* large, and one a process */
	struct err e = { "" };
	int code = VM_EXIT_SETUP;

	seccomp_report_setup();
	if (vm_init(&vm, o, &e) == 0)
		code = vm_run(&vm);
	else if (vm.ended)
		code = vm.exit_code;
	if (e.msg[0])
		log_error("%s", e.msg);
	if (vm_fini(&vm) && code == VM_EXIT_OK)
		code = VM_EXIT_SETUP;
	return code;
}

/* For fd_close_others, of struct options. */
static unsigned next_named(const void *options, unsigned from)
{
	return options_next_fd(options, from);
}

/* Not exit(): vCPU threads still exist, parked; nobody unmaps gigabytes only to end. */
static _Noreturn void end(int code)
{
	if (fflush(stdout)) {
		log_error("standard output: %s", strerror(errno));
		code = code ? code : VM_EXIT_SETUP;
	}
	_exit(code);
}

int main(int argc, char **argv)
{
	const struct verb *verb = verbs_find(argc > 1 ? argv[1] : NULL);
	struct err e = { "" };
	struct options o;
	int code;

	/* Threads here hardly allocate: no arena of 128 MiB address space for each. */
	mallopt(M_ARENA_MAX, 1);
	if (fd_fill_standard()) {
		log_error("/dev/null: %s", strerror(errno));
		return VM_EXIT_SETUP;
	}
	if (verb)
		end(verb->run(argc - 1, argv + 1));
	if (options_parse(&o, argc, argv, &e)) {
		log_error("%s", e.msg);
		options_fini(&o);
		return VM_EXIT_USAGE;
	}
	log_setup("minivmm", o.log_level);
	if (o.help) {
		options_help(stdout);
		code = VM_EXIT_OK;
	} else if (o.version) {
		puts("minivmm " MINIVMM_VERSION);
		code = VM_EXIT_OK;
	} else {
		/* What was inherited and no option names is nobody's here: code that a guest
		 * smuggled into this process must not find it, and who waits for its end must not
		 * wait for ours. */
		fd_close_others(next_named, &o);
		code = run(&o);
	}
	options_fini(&o);
	end(code);
}
