/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/vu_check.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "tools/check.h"

enum { DONE = 0, FAILED = 1, USAGE = 2, TIMEOUT_SECONDS = 5, TIMEOUT_MAX = 3600 };

const struct keyval vu_check_keys[] = {
	{ "type", KEYVAL_STRING, offsetof(struct check_options, type),
	  .help = "what the device is, so that requests can be made: blk, rng, pmem, console, fs, net, vsock" },
	{ "socket", KEYVAL_STRING, offsetof(struct check_options, socket),
	  .help = "where the daemon listens" },
	{ "other", KEYVAL_STRING, offsetof(struct check_options, other),
	  .help = "of a console: the Unix socket that its other end listens at" },
	{ "timeout", KEYVAL_UINT, offsetof(struct check_options, timeout), 1, TIMEOUT_MAX,
	  .help = "seconds that an answer may take; default 5" },
	{ "write", KEYVAL_BOOL, offsetof(struct check_options, write),
	  .help = "the last sector of a disk may be written; it gets back what it had" },
	{ .key = NULL },
};

static const char usage[] = "usage: minivmm vu-check [--json] [TYPE,]socket=PATH, or --list";

/* 0, or the exit code with @e. */
static int parse(int argc, char **argv, struct check_options *o, bool *ret_json, struct err *e)
{
	const char *target = NULL;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			*ret_json = true;
		} else if (argv[i][0] == '-' || target) {
			err_set(e, -EINVAL, "vu-check: \"%s\"? %s", argv[i], usage);
			return USAGE;
		} else {
			target = argv[i];
		}
	}
	if (target && keyval_parse("vu-check", target, "type", vu_check_keys, o, e))
		return USAGE;
	if (!o->socket) {
		err_set(e, -EINVAL, "vu-check: no socket= is given: %s", usage);
		return USAGE;
	}
	if (o->type && !check_device_named(o->type)) {
		err_set(e, -EINVAL, "vu-check: no requests are known for type \"%s\"; without a type the rules"
			" that make none are tried", o->type);
		return USAGE;
	}
	return 0;
}

int vu_check_main(int argc, char **argv)
{
	struct check_options o = { .timeout = TIMEOUT_SECONDS };
	struct check_report report = { .json = false };
	struct err e = { "" };
	int code;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		check_report_list();
		return DONE;
	}
	code = parse(argc, argv, &o, &report.json, &e);
	if (!code) {
		check_report_begin(&report);
		code = check_run(&o, &report, &e) ? FAILED : DONE;
		check_report_end(&report, &o);
		/* What could not be tried and nobody is to blame for is no success either. */
		if (report.counts[CHECK_FAIL] || report.counts[CHECK_BLOCKED])
			code = FAILED;
	}
	if (e.msg[0])
		log_error("%s", e.msg);
	keyval_free(vu_check_keys, &o);
	return code;
}
