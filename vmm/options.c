/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/keyval.h"
#include "base/log.h"
#include "base/range.h"
#include "memory/guest_mem.h"
#include "vmm/arch_x86.h"
#include "vmm/verbs.h"

/* OPT_TEXT may be empty and names no file; values of OPT_OPTIONALS, a list too, may be left out. */
enum option_type {
	OPT_FLAG, OPT_STRING, OPT_TEXT, OPT_LIST, OPT_OPTIONALS, OPT_SIZE, OPT_UINT, OPT_ENUM,
};

static const char *const machine_words[] = { "acpi", "mptable", "fdt", NULL };
static const char *const on_reset_words[] = { "reboot", "exit", NULL };
static const char *const transport_words[] = { "pci", "mmio", NULL };
static const char *const log_words[] = { "error", "warn", "info", "debug", NULL };

#define FIELD(f) offsetof(struct options, f)

/* A line of --help each; the manual page has a paragraph for each (tests/check). */
static const struct option_row {
	const char *name, *argument;
	enum option_type type;
	size_t offset;
	const char *const *words;
	uint64_t min, max;
	const char *help;
} rows[] = {
	{ "kernel", "FILE", OPT_STRING, FIELD(kernel),
	  .help = "kernel to boot: ELF vmlinux or bzImage (default: the tiny kernel that guest/ builds)" },
	{ "initrd", "FILE", OPT_LIST, FIELD(initrds), .help = "initial RAM disk; more than one are joined in order" },
	{ "cmdline", "STRING", OPT_TEXT, FIELD(cmdline),
	  .help = "kernel command line (default: console=ttyS0 reboot=k panic=-1 root=/dev/vda rw)" },
	{ "append", "STRING", OPT_TEXT, FIELD(append), .help = "adds to the kernel command line" },
	{ "memory", "SIZE", OPT_SIZE, FIELD(memory), .help = "guest RAM, as 512M or 4G (default: 256M)" },
	{ "mem-backend", "KIND[,KEY=VALUE...]", OPT_STRING, FIELD(mem_backend),
	  .help = "where RAM comes from: shm, memfd or file,path=FILE (default: shm)" },
	{ "cpus", "N", OPT_UINT, FIELD(cpus), .min = 1, .max = ARCH_VCPUS_MAX, .help = "virtual CPUs, 1 to 64 (default: 1)" },
	{ "machine", "acpi|mptable|fdt", OPT_ENUM, FIELD(machine), .words = machine_words,
	  .help = "how the machine is described to the kernel (default: acpi, with an MPTable beside it)" },
	{ "vhost-user", "[TYPE,]socket=PATH[,KEY=VALUE...] | PATH", OPT_LIST, FIELD(vhost_user),
	  .help = "a device served by the daemon that listens at PATH (default type: blk); repeatable" },
	{ "transport", "pci|mmio", OPT_ENUM, FIELD(transport), .words = transport_words,
	  .help = "how the guest reaches the devices of --vhost-user that do not say it (default: pci)" },
	{ "vmshm", "[KEY=VALUE[,KEY=VALUE...]]", OPT_OPTIONALS, FIELD(vmshm),
	  .help = "a device by which the guest opens shared memory objects of the host; repeatable" },
	{ "serial", "stdio|null|file=PATH", OPT_STRING, FIELD(serial),
	  .help = "where the serial port leads (default: stdio; Ctrl-A x quits)" },
	{ "on-reset", "reboot|exit", OPT_ENUM, FIELD(on_reset), .words = on_reset_words,
	  .help = "what a guest's reset does (default: reboot)" },
	{ "seccomp", "kill|log|errno|off", OPT_ENUM, FIELD(seccomp), .words = seccomp_mode_words,
	  .help = "what a forbidden system call of the VMM does (default: kill)" },
	{ "boot-report", "FILE", OPT_STRING, FIELD(boot_report),
	  .help = "writes times, exits and memory of the boot to FILE as JSON; - is standard error" },
	{ "vu-trace", "FILE | fd=N", OPT_STRING, FIELD(vu_trace),
	  .help = "writes a line of JSON to FILE for each vhost-user message; - is standard error" },
	{ "vu-fault", "DEVICE:MESSAGE,ACTION[,KEY=VALUE...]", OPT_LIST, FIELD(vu_faults),
	  .help = "does something to a vhost-user message, to test what the daemon makes of it; repeatable" },
	{ "log-level", "error|warn|info|debug", OPT_ENUM, FIELD(log_level), .words = log_words,
	  .help = "how much is told on standard error (default: warn)" },
	{ "help", NULL, OPT_FLAG, FIELD(help), .help = "prints this" },
	{ "version", NULL, OPT_FLAG, FIELD(version), .help = "prints the version" },
};

static int set_enum(const struct option_row *row, const char *value, int *field, struct err *e)
{
	for (int i = 0; row->words[i]; i++) {
		if (!strcmp(row->words[i], value)) {
			*field = i;
			return 0;
		}
	}
	return err_set(e, -EINVAL, "--%s: %s is none of %s", row->name, value, row->argument);
}

static int set_option(struct options *o, const struct option_row *row, const char *value,
		      struct err *e)
{
	void *field = (char *)o + row->offset;
	struct option_list *list = field;
	char what[32];

	snprintf(what, sizeof(what), "--%s", row->name);
	if (row->argument && value && !*value && row->type != OPT_TEXT)
		return err_set(e, -EINVAL, "%s needs a value: %s", what, row->argument);
	switch (row->type) {
	case OPT_FLAG:
		*(bool *)field = true;
		return 0;
	case OPT_STRING:
	case OPT_TEXT:
		*(const char **)field = value;
		return 0;
	case OPT_LIST:
	case OPT_OPTIONALS:
		if (list->count == OPTIONS_LIST_MAX)
			return err_set(e, -EINVAL, "%s: at most %d of them", what, OPTIONS_LIST_MAX);
		list->items[list->count++] = value;
		return 0;
	case OPT_SIZE:
		return size_parse(what, value, field, e) ? -EINVAL : 0;
	case OPT_UINT:
		return uint_parse(what, value, row->min, row->max, field, e);
	case OPT_ENUM:
		return set_enum(row, value, field, e);
	}
	return err_set(e, -EINVAL, "%s: unknown kind of option", what);
}

/* Messages name a device by its id, of whatever kind it is. */
static int check_id(const struct options *o, const char *id, struct err *e)
{
	for (unsigned i = 0; i < o->n_devices; i++) {
		char name[VHOST_USER_ID_MAX + 1];

		vhost_user_options_name(&o->devices[i], name);
		if (!strcmp(name, id))
			return err_set(e, -EINVAL, "--vmshm: a device of --vhost-user is named %s, too;"
				       " give one another id=", id);
	}
	return 0;
}

static int check_vmshms(struct options *o, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < o->vmshm.count && r == 0; i++)
		r = vmshm_options_parse(&o->vmshms[o->n_vmshms++], o->vmshm.items[i], e);
	if (r == 0)
		r = vmshm_options_check(o->vmshms, o->n_vmshms, e);
	for (unsigned i = 0; i < o->n_vmshms && r == 0; i++)
		r = check_id(o, o->vmshms[i].id, e);
	return r;
}

static int check_faults(struct options *o, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < o->vu_faults.count && r == 0; i++) {
		struct vu_fault *f = &o->faults[o->n_faults++];
		bool known = false;

		r = vu_fault_parse(f, o->vu_faults.items[i], e);
		for (unsigned d = 0; d < o->n_devices && r == 0; d++) {
			char name[VHOST_USER_ID_MAX + 1];

			vhost_user_options_name(&o->devices[d], name);
			known = known || !strcmp(name, f->device);
		}
		if (r == 0 && !known)
			r = err_set(e, -EINVAL, "--vu-fault: no --vhost-user device is named %s; its name is its id=,"
				    " or its type and number, as in blk0", f->device);
	}
	return r;
}

/* A trace in a device's own socket would be messages to its daemon. What is no number, or not open,
 * is told when it is opened. */
static int check_trace(const struct options *o, struct err *e)
{
	char name[VHOST_USER_ID_MAX + 1];
	struct err ignored;
	uint64_t fd;

	if (!o->vu_trace || strncmp(o->vu_trace, "fd=", 3) ||
	    uint_parse("fd", o->vu_trace + 3, 0, INT32_MAX, &fd, &ignored) < 0)
		return 0;
	for (unsigned i = 0; i < o->n_devices; i++) {
		if (!o->devices[i].fd_given || o->devices[i].fd != fd)
			continue;
		vhost_user_options_name(&o->devices[i], name);
		return err_set(e, -EINVAL, "--vu-trace: fd=%d is the socket of device %s; give another descriptor",
			       (int)fd, name);
	}
	return 0;
}

static int check(struct options *o, struct err *e)
{
	int r = 0;

	if (o->serial && strcmp(o->serial, "stdio") && strcmp(o->serial, "null") &&
	    (strncmp(o->serial, "file=", 5) || !o->serial[5]))
		return err_set(e, -EINVAL, "--serial: %s is none of stdio, null, file=PATH", o->serial);
	r = guest_mem_check_size(o->memory, e);
	for (unsigned i = 0; i < o->vhost_user.count && r == 0; i++) {
		struct vhost_user_options *d = &o->devices[o->n_devices++];

		r = vhost_user_options_parse(d, o->vhost_user.items[i], e);
		if (!d->transport_given)
			d->transport = o->transport;
		d->number = i;
		d->vcpus = (unsigned)o->cpus;
	}
	if (r == 0)
		r = vhost_user_options_check(o->devices, o->n_devices, e);
	if (r == 0)
		r = check_vmshms(o, e);
	if (r == 0)
		r = check_faults(o, e);
	if (r == 0)
		r = check_trace(o, e);
	if (r == 0)
		r = mem_options_parse(&o->mem, o->mem_backend ? o->mem_backend : "shm", e);
	return r;
}

static int has_arg(enum option_type type)
{
	if (type == OPT_OPTIONALS)
		return optional_argument;
	return type == OPT_FLAG ? no_argument : required_argument;
}

/* getopt takes a value that may be left out only behind "=": here the next word is one, too. */
static char *value_of(enum option_type type, int argc, char **argv)
{
	if (type == OPT_OPTIONALS && !optarg && optind < argc && argv[optind][0] != '-')
		return argv[optind++];
	return optarg;
}

int options_parse(struct options *o, int argc, char **argv, struct err *e)
{
	struct option longs[ARRAY_SIZE(rows) + 1] = { 0 };
	int r = 0, i, row;

	*o = (struct options){ .memory = MIB(256), .cpus = 1, .log_level = LOG_WARN,
			       .mem = MEM_OPTIONS_DEFAULT };
	for (size_t n = 0; n < ARRAY_SIZE(rows); n++)
		longs[n] = (struct option){
			.name = rows[n].name,
			.has_arg = has_arg(rows[n].type),
		};
	optind = 1;
	while (r == 0 && (i = getopt_long(argc, argv, ":h", longs, &row)) != -1) {
		if (i == 0)
			r = set_option(o, &rows[row], value_of(rows[row].type, argc, argv), e);
		else if (i == 'h')
			o->help = true;
		else if (i == ':')
			r = err_set(e, -EINVAL, "%s needs a value", argv[optind - 1]);
		else
			r = err_set(e, -EINVAL, "%s is not an option, or not one option only; --help lists them", argv[optind - 1]);
	}
	if (r == 0 && optind < argc)
		r = err_set(e, -EINVAL, "\"%s\" belongs to no option; --help lists them", argv[optind]);
	if (r == 0 && !o->help && !o->version)
		r = check(o, e);
	return r;
}

/* The least number from @from on that @path names as /dev/fd/N or /proc/self/fd/N, or @least. */
static unsigned path_fd(const char *path, unsigned from, unsigned least)
{
	static const char folder[] = "/fd/";

	for (const char *at = path; at && (at = strstr(at, folder));) {
		char *end;
		unsigned long n;

		at += sizeof(folder) - 1;
		n = strtoul(at, &end, 10);
		if (end > at && n >= from && n < least)
			least = (unsigned)n;
	}
	return least;
}

/* The same of the descriptors that map= names. */
static unsigned map_fd(const struct vmshm_options *o, unsigned from, unsigned least)
{
	for (unsigned i = 0; i < o->n_maps; i++)
		if ((unsigned)o->maps[i].fd >= from && (unsigned)o->maps[i].fd < least)
			least = (unsigned)o->maps[i].fd;
	return least;
}

/* The same of a number by itself. */
static unsigned own_fd(const char *text, unsigned from, unsigned least)
{
	struct err e;
	uint64_t fd;

	if (uint_parse("fd", text, from, INT_MAX, &fd, &e) == 0 && fd < least)
		least = (unsigned)fd;
	return least;
}

unsigned options_next_fd(const struct options *o, unsigned from)
{
	unsigned least = UINT_MAX;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const void *field = (const char *)o + rows[i].offset;
		const struct option_list *list = field;

		if (rows[i].type == OPT_STRING)
			least = path_fd(*(const char *const *)field, from, least);
		for (unsigned n = 0; rows[i].type == OPT_LIST && n < list->count; n++)
			least = path_fd(list->items[n], from, least);
	}
	for (unsigned i = 0; i < o->n_devices; i++)
		if (o->devices[i].fd_given && o->devices[i].fd >= from && o->devices[i].fd < least)
			least = (unsigned)o->devices[i].fd;
	for (unsigned i = 0; i < o->n_vmshms; i++)
		least = map_fd(&o->vmshms[i], from, least);
	if (o->vu_trace && !strncmp(o->vu_trace, "fd=", 3))
		least = own_fd(o->vu_trace + 3, from, least);
	return least;
}

void options_fini(struct options *o)
{
	for (unsigned i = 0; i < o->n_devices; i++)
		vhost_user_options_free(&o->devices[i]);
	for (unsigned i = 0; i < o->n_vmshms; i++)
		vmshm_options_free(&o->vmshms[i]);
	for (unsigned i = 0; i < o->n_faults; i++)
		vu_fault_free(&o->faults[i]);
	mem_options_fini(&o->mem);
}

static void help_keys(FILE *out, const char *option, const struct keyval *table)
{
	fprintf(out, "\nKeys of %s:\n", option);
	for (const struct keyval *k = table; k->key; k++)
		if (k->type != KEYVAL_REFUSED)
			fprintf(out, "  %-18s %s\n", k->key, k->help);
}

void options_help(FILE *out)
{
	fputs("usage: minivmm [OPTION]...\n       minivmm VERB [ARGUMENT]...\n\n"
	      "Boots a Linux guest whose RAM is shared memory and whose devices are vhost-user daemons:\n\n"
	      "  minivmm --mem-backend=shm --vhost-user blk.sock\n\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		fprintf(out, "  --%s%s%s\n        %s\n", rows[i].name, rows[i].argument ? " " : "",
			rows[i].argument ? rows[i].argument : "", rows[i].help);
	help_keys(out, "--mem-backend", mem_option_table);
	help_keys(out, "--vhost-user", vhost_user_keys);
	help_keys(out, "--vmshm", vmshm_keys);
	help_keys(out, "--vu-fault", vu_fault_keys);
	fputs("\nTypes of --vhost-user:\n", out);
	for (const struct vu_device_type *t = vu_device_types; t->name; t++)
		fprintf(out, "  %-18s %s\n", t->name, t->about);
	fputs("\nVerbs, which run a tool instead of a VM:\n", out);
	for (const struct verb *v = verbs; v->name; v++)
		fprintf(out, "  %s %s\n        %s\n", v->name, v->arguments, v->about);
	fputs("\nExit status: 0 power off or exit; 1 set-up; 2 usage; 3 host memory exhausted; 4 guest crash;\n"
	      "5 blocked system call; 6 a daemon ended, with on-lost=exit; 128+N signal N.\n"
	      "minivmm(1) has the details.\n", out);
}
