/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backends/options.h"

#include <assert.h>
#include <errno.h>
#include <linux/if.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/keyval.h"
#include "base/log.h"
#include "base/range.h"
#include "base/seccomp.h"
#include "minivmm_config.h"
#include "vhost/ring.h"

enum { ANY_TYPE = 1 << OPTION_TYPES, SERIAL_MAX = 20 };

static const struct {
	const char *name, *help;
} types[] = {
	[OPTION_BLK] = { "blk", "a disk: a raw file or a block device" },
	[OPTION_CONSOLE] = { "console", "consoles and plain ports" },
	[OPTION_NET] = { "net", "a network interface, which is a tap of the host" },
	[OPTION_PMEM] = { "pmem", "persistent memory: a raw file, mapped into the guest" },
	[OPTION_RNG] = { "rng", "an entropy source" },
	[OPTION_VSOCK] = { "vsock", "connections to the host, whose Unix sockets they are there" },
};
static_assert(ARRAY_SIZE(types) == OPTION_TYPES, "every type has its words");

static const char *const cache_words[] = { [BLK_WRITEBACK] = "writeback", [BLK_WRITETHROUGH] = "writethrough", NULL };
static const char *const io_words[] = { [BLK_AUTO] = "auto", [BLK_URING] = "uring", [BLK_SYNC] = "sync", NULL };

#define AT(field) offsetof(struct blk_options, field)

#if HAVE_URING
#define IO_HELP "uring: many requests at a time; auto: where the kernel has io_uring"
#else
#define IO_HELP "sync: one request after the other; this build has no io_uring"
#endif

static const struct keyval file_table[] = {
	{ "path", KEYVAL_STRING, AT(file), .help = "raw file or block device" },
	{ "readonly", KEYVAL_BOOL, AT(readonly), .help = "the guest cannot write" },
	{ "block-size", KEYVAL_UINT, AT(block_size), 512, 65536, .help = "logical block in bytes, a power of two" },
	{ "seg-max", KEYVAL_UINT, AT(seg_max), 1, RING_SEGMENTS_MAX - 2, .help = "pieces a request may have" },
	{ "size-max", KEYVAL_SIZE, AT(size_max), .help = "bytes a piece may have" },
	{ "serial", KEYVAL_STRING, AT(serial), .help = "identity the guest reads, at most 20 bytes" },
	{ "discard", KEYVAL_BOOL, AT(discard), .help = "let the guest punch holes" },
	{ "cache", KEYVAL_ENUM, AT(cache), .words = cache_words, .help = "writethrough: every write is synced" },
	{ "io", KEYVAL_ENUM, AT(io), .words = io_words, .help = IO_HELP },
	{ NULL },
};

/* Those of them that pmem has. */
static const struct keyval pmem_table[] = {
	{ "path", KEYVAL_STRING, AT(file), .help = "raw file, of whole 2 MiB" },
	{ "readonly", KEYVAL_BOOL, AT(readonly), .help = "what the guest writes is not kept" },
	{ NULL },
};

static const struct keyval *const file_tables[OPTION_TYPES] = {
	[OPTION_BLK] = file_table, [OPTION_PMEM] = pmem_table,
};

#define PORT_AT(field) offsetof(struct port_options, field)

static const struct keyval port_table[] = {
	{ "stdio", KEYVAL_BOOL, PORT_AT(stdio), .help = "standard input and output" },
	{ "pty", KEYVAL_BOOL, PORT_AT(pty), .help = "a new pseudo-terminal, whose path is printed" },
	{ "file", KEYVAL_STRING, PORT_AT(file), .help = "a regular file that output is added to" },
	{ "socket", KEYVAL_STRING, PORT_AT(socket), .help = "a Unix socket to listen on, for one at a time" },
	{ "name", KEYVAL_STRING, PORT_AT(name), .help = "what the guest finds the port by" },
	{ "console", KEYVAL_BOOL, PORT_AT(console), .help = "a console (on), or a plain port" },
	{ NULL },
};

enum option_id {
	OPT_SOCKET_PATH, OPT_FD, OPT_PRINT_CAPABILITIES, OPT_SECCOMP, OPT_LOG_LEVEL, OPT_HELP,
	OPT_VERSION, OPT_FILE, OPT_BLK_FILE, OPT_READ_ONLY, OPT_QUEUES, OPT_SOURCE,
	OPT_PORT, OPT_TAP, OPT_TAP_FD, OPT_QUEUE_PAIRS, OPT_MTU, OPT_UDS_PATH, OPT_GUEST_CID,
	OPT_IDS
};

static const struct option_row {
	const char *name;	/* without the dashes */
	const char *argument;	/* NULL: a flag */
	unsigned types;		/* mask of enum option_type, or ANY_TYPE */
	const char *help;
} rows[] = {
	[OPT_SOCKET_PATH] = { "socket-path", "PATH", ANY_TYPE, "listen on this socket, serve one front end after the other" },
	[OPT_FD] = { "fd", "FDNUM", ANY_TYPE, "serve this inherited socket instead" },
	[OPT_PRINT_CAPABILITIES] = { "print-capabilities", NULL, ANY_TYPE, "print what this device can do as JSON" },
	[OPT_SECCOMP] = { "seccomp", "kill|log|errno|off", ANY_TYPE, "what a system call off the list does (kill)" },
	[OPT_LOG_LEVEL] = { "log-level", "error|warn|info|debug", ANY_TYPE, "what is worth a line (warn)" },
	[OPT_HELP] = { "help", NULL, ANY_TYPE, "print this" },
	[OPT_VERSION] = { "version", NULL, ANY_TYPE, "print the version" },
	[OPT_FILE] = { "file", "PATH[,key=value...]", 1 << OPTION_BLK | 1 << OPTION_PMEM, "what to serve" },
	[OPT_BLK_FILE] = { "blk-file", "PATH", 1 << OPTION_BLK, "the same, as a plain path" },
	[OPT_READ_ONLY] = { "read-only", NULL, 1 << OPTION_BLK, "the guest cannot write" },
	[OPT_QUEUES] = { "queues", "N", 1 << OPTION_BLK, "most virtqueues the guest may use (1)" },
	[OPT_SOURCE] = { "source", "PATH", 1 << OPTION_RNG, "where the bytes come from (/dev/urandom)" },
	[OPT_PORT] = { "port", "KIND[,key=value...]", 1 << OPTION_CONSOLE, "a port; may come up to 16 times" },
	[OPT_TAP] = { "tap", "NAME", 1 << OPTION_NET, "the host's end, made if it is not there" },
	[OPT_TAP_FD] = { "tap-fd", "FDNUM", 1 << OPTION_NET, "an inherited tap instead; once for each pair of queues" },
	[OPT_QUEUE_PAIRS] = { "queue-pairs", "N", 1 << OPTION_NET, "most pairs of virtqueues the guest may use (1)" },
	[OPT_MTU] = { "mtu", "BYTES", 1 << OPTION_NET, "what the guest is told" },
	[OPT_UDS_PATH] = { "uds-path", "PATH", 1 << OPTION_VSOCK, "the host connects here; the guest's port P is PATH_P" },
	[OPT_GUEST_CID] = { "guest-cid", "N", 1 << OPTION_VSOCK, "the guest's address (3)" },
};
static_assert(ARRAY_SIZE(rows) == OPT_IDS, "every option has its row");

const char *option_type_name(int type)
{
	return types[type].name;
}

/* "blk, pmem: " in @buf; empty for what every type has. */
static void only_for(unsigned mask, char buf[64])
{
	size_t len;

	buf[0] = '\0';
	for (unsigned i = 0; i < OPTION_TYPES && !(mask & ANY_TYPE); i++)
		if (mask & 1u << i)
			err_list_add(buf, 64, types[i].name);
	len = strlen(buf);
	if (len)
		snprintf(buf + len, 64 - len, ": ");
}

static void help_keys(FILE *out, const char *option, int type, const struct keyval *table)
{
	fprintf(out, "\nkeys of %s of %s:\n", option, types[type].name);
	for (const struct keyval *k = table; k->key; k++)
		fprintf(out, "  %-28s %s\n", k->key, k->help);
}

void options_help(FILE *out)
{
	fputs("usage: minivmm-backend TYPE (--socket-path PATH | --fd FDNUM) [OPTION...]\n"
	      "A vhost-user device for minivmm, QEMU and every other front end.\n\ntypes:\n", out);
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		fprintf(out, "  %-28s %s\n", types[i].name, types[i].help);
	fputs("\noptions:\n", out);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct option_row *r = &rows[i];
		char left[64], only[64];

		snprintf(left, sizeof(left), "--%s%s%s", r->name, r->argument ? " " : "",
			 r->argument ? r->argument : "");
		only_for(r->types, only);
		fprintf(out, "  %-34s %s%s\n", left, only, r->help);
	}
	help_keys(out, "--file", OPTION_BLK, file_table);
	help_keys(out, "--file", OPTION_PMEM, pmem_table);
	help_keys(out, "--port", OPTION_CONSOLE, port_table);
}

/* "blk, pmem" in @buf of 64 bytes, which is empty; returns it. */
static const char *type_list(char *buf)
{
	for (unsigned i = 0; i < OPTION_TYPES; i++)
		err_list_add(buf, 64, types[i].name);
	return buf;
}

static int parse_type(struct options *o, const char *word, struct err *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		if (!strcmp(types[i].name, word)) {
			o->type = (int)i;
			return 0;
		}
	}
	return err_set(e, -EINVAL, "\"%s\" is no device type: the first word is one of %s; see --help", word,
		       type_list((char[64]){ "" }));
}

static int take_string(const char **field, const char *name, const char *value, struct err *e)
{
	if (*field)
		return err_set(e, -EINVAL, "--%s is given twice", name);
	if (!*value)
		return err_set(e, -EINVAL, "--%s needs a value that is not empty", name);
	*field = value;
	return 0;
}

static int take_file(struct options *o, const char *path, struct err *e)
{
	if (o->blk.file)
		return err_set(e, -EINVAL, "the disk's file is given twice, as %s and %s", o->blk.file, path);
	o->blk.file = strdup(path);
	return o->blk.file ? 0 : err_set(e, -ENOMEM, "--blk-file: out of memory");
}

static int take_port(struct options *o, const char *value, struct err *e)
{
	struct port_options *p = &o->ports[o->n_ports];
	int r, kinds;

	if (o->n_ports == PORTS_MAX)
		return err_set(e, -EINVAL, "--port is given more than %d times", PORTS_MAX);
	o->n_ports++;
	p->console = true;
	r = keyval_parse("--port", value, NULL, port_table, p, e);
	if (r)
		return r;
	kinds = p->stdio + p->pty + !!p->file + !!p->socket;
	if (kinds != 1)
		return err_set(e, -EINVAL, "--port %s: say one of stdio, pty, file=PATH and socket=PATH", value);
	for (unsigned i = 0; i + 1 < o->n_ports && p->stdio; i++)
		if (o->ports[i].stdio)
			return err_set(e, -EINVAL, "--port: two ports cannot both be stdio");
	return 0;
}

static int take_tap_fd(struct options *o, const char *value, struct err *e)
{
	uint64_t n;
	int r;

	if (o->n_tap_fds == NET_PAIRS_MAX)
		return err_set(e, -EINVAL, "--tap-fd is given more than %d times", NET_PAIRS_MAX);
	r = uint_parse("--tap-fd", value, 0, 1 << 20, &n, e);
	for (unsigned i = 0; i < o->n_tap_fds && !r; i++)
		if (o->tap_fds[i] == (int)n)
			r = err_set(e, -EINVAL, "--tap-fd %s is given twice", value);
	if (!r)
		o->tap_fds[o->n_tap_fds++] = (int)n;
	return r;
}

static int take_seccomp(struct options *o, const char *value, struct err *e)
{
	for (int i = 0; seccomp_mode_words[i]; i++) {
		if (!strcmp(seccomp_mode_words[i], value)) {
			o->seccomp = i;
			o->seccomp_given = true;
			return 0;
		}
	}
	return err_set(e, -EINVAL, "--seccomp: %s is none of kill, log, errno, off", value);
}

/* @value is NULL exactly for flags. */
static int take_option(struct options *o, enum option_id id, const char *value, struct err *e)
{
	uint64_t n;
	int r;

	switch (id) {
	case OPT_SOCKET_PATH:
		return take_string(&o->socket_path, "socket-path", value, e);
	case OPT_FD:
		r = uint_parse("--fd", value, 0, 1 << 20, &n, e);
		o->fd = r ? -1 : (int)n;
		return r;
	case OPT_PRINT_CAPABILITIES: /* seen before all others */
		return 0;
	case OPT_SECCOMP:
		return take_seccomp(o, value, e);
	case OPT_LOG_LEVEL:
		r = log_level_parse(value);
		if (r < 0)
			return err_set(e, r, "--log-level: %s is none of error, warn, info, debug", value);
		o->log_level = r;
		return 0;
	case OPT_HELP:
		o->help = true;
		return 0;
	case OPT_VERSION:
		o->version = true;
		return 0;
	case OPT_FILE:
		if (o->blk.file)
			return err_set(e, -EINVAL, "the disk's file is given twice, as %s and %s", o->blk.file, value);
		/* Without a type, which check() refuses, any will do. */
		return keyval_parse("--file", value, "path", file_tables[o->type < 0 ? OPTION_BLK : o->type],
				    &o->blk, e);
	case OPT_BLK_FILE:
		return take_file(o, value, e);
	case OPT_READ_ONLY:
		o->blk.readonly = true;
		return 0;
	case OPT_QUEUES:
		return uint_parse("--queues", value, 1, BLK_QUEUES_MAX, &o->queues, e);
	case OPT_SOURCE:
		return take_string(&o->source, "source", value, e);
	case OPT_PORT:
		return take_port(o, value, e);
	case OPT_TAP:
		return take_string(&o->tap, "tap", value, e);
	case OPT_TAP_FD:
		return take_tap_fd(o, value, e);
	case OPT_QUEUE_PAIRS:
		return uint_parse("--queue-pairs", value, 1, NET_PAIRS_MAX, &o->queue_pairs, e);
	case OPT_MTU:
		return uint_parse("--mtu", value, 68, 65535, &o->mtu, e);
	case OPT_UDS_PATH:
		return take_string(&o->uds_path, "uds-path", value, e);
	case OPT_GUEST_CID:
		return uint_parse("--guest-cid", value, 3, UINT32_MAX - 1, &o->guest_cid, e);
	case OPT_IDS:
		break;
	}
	return err_set(e, -EINVAL, "an option without a meaning");
}

/* The row of "--name" or "--name=value"; *ret_value is behind the "=", or NULL. */
static int find_option(const char *word, const char **ret_value)
{
	const char *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - word) : strlen(word);

	*ret_value = eq ? eq + 1 : NULL;
	for (int i = 0; i < (int)ARRAY_SIZE(rows) && len > 2 && !strncmp(word, "--", 2); i++)
		if (strlen(rows[i].name) == len - 2 && !strncmp(rows[i].name, word + 2, len - 2))
			return i;
	return -1;
}

static int parse_words(struct options *o, int argc, char **argv, int first, struct err *e)
{
	for (int i = first; i < argc; i++) {
		const char *value;
		int id = find_option(argv[i], &value), r;

		if (id < 0 || (o->type >= 0 && !(rows[id].types & (ANY_TYPE | 1u << o->type))))
			return err_set(e, -EINVAL, "\"%s\" is no option of minivmm-backend%s%s; --help lists them", argv[i],
				       o->type < 0 ? "" : " ", o->type < 0 ? "" : types[o->type].name);
		if (!rows[id].argument && value)
			return err_set(e, -EINVAL, "--%s takes no value", rows[id].name);
		if (rows[id].argument && !value) {
			if (++i == argc)
				return err_set(e, -EINVAL, "--%s needs a value: %s", rows[id].name, rows[id].argument);
			value = argv[i];
		}
		r = take_option(o, (enum option_id)id, value, e);
		if (r)
			return r;
	}
	return 0;
}

static int check_file(const struct options *o, struct err *e)
{
	const struct blk_options *b = &o->blk;

	if (!b->file)
		return err_set(e, -EINVAL, "%s needs --file PATH: the disk to serve", types[o->type].name);
	if (!is_pow2(b->block_size))
		return err_set(e, -EINVAL, "--file: block-size: %u is no power of two", (unsigned)b->block_size);
	if (b->size_max < KIB(4) || b->size_max > GIB(1) || b->size_max % b->block_size)
		return err_set(e, -EINVAL, "--file: size-max must be a multiple of block-size from 4K to 1G");
	if (b->serial && strlen(b->serial) > SERIAL_MAX)
		return err_set(e, -EINVAL, "--file: serial: \"%s\" is longer than %d bytes", b->serial, SERIAL_MAX);
	return 0;
}

static int check_net(const struct options *o, struct err *e)
{
	if (o->tap && o->n_tap_fds)
		return err_set(e, -EINVAL, "--tap and --tap-fd exclude each other: give one");
	if (!o->tap && !o->n_tap_fds)
		return err_set(e, -EINVAL, "net needs --tap NAME or --tap-fd FDNUM: the host's end");
	if (o->tap && strlen(o->tap) >= IFNAMSIZ)
		return err_set(e, -EINVAL, "--tap: \"%s\" is longer than %d bytes", o->tap, IFNAMSIZ - 1);
	if (o->n_tap_fds && o->queue_pairs && o->queue_pairs != o->n_tap_fds)
		return err_set(e, -EINVAL, "--queue-pairs is %u, but there are %u --tap-fd",
			       (unsigned)o->queue_pairs, o->n_tap_fds);
	return 0;
}

static int check(const struct options *o, struct err *e)
{
	if (o->help || o->version)
		return 0;
	if (o->type < 0)
		return err_set(e, -EINVAL, "the first word must be a device type, one of %s; --help explains",
			       type_list((char[64]){ "" }));
	if (o->print_capabilities)
		return 0;
	if (o->socket_path && o->fd >= 0)
		return err_set(e, -EINVAL, "--socket-path and --fd exclude each other: give one");
	if (!o->socket_path && o->fd < 0)
		return err_set(e, -EINVAL, "no socket: give --socket-path PATH or --fd FDNUM");
	if (o->type == OPTION_CONSOLE && !o->n_ports)
		return err_set(e, -EINVAL, "console needs --port KIND: stdio, pty, file=PATH or socket=PATH");
	if (o->type == OPTION_VSOCK && !o->uds_path)
		return err_set(e, -EINVAL, "vsock needs --uds-path PATH: the socket that programs of the host connect to");
	if (o->type == OPTION_NET)
		return check_net(o, e);
	return file_tables[o->type] ? check_file(o, e) : 0;
}

int options_parse(struct options *o, int argc, char **argv, struct err *e)
{
	int first = 1, r = 0;

	*o = (struct options){
		.type = -1,
		.fd = -1,
		.seccomp = HAVE_SECCOMP ? SECCOMP_KILL : SECCOMP_OFF,
		.log_level = LOG_WARN,
		.queues = 1,
		.guest_cid = 3,
		.blk = { .block_size = 512, .seg_max = 126, .size_max = MIB(1), .discard = true },
	};
	if (argc > 1 && argv[1][0] != '-') {
		r = parse_type(o, argv[1], e);
		first = 2;
	}
	/* "Backend program conventions": other options and arguments are ignored then. */
	for (int i = first; i < argc; i++)
		o->print_capabilities |= !strcmp(argv[i], "--print-capabilities");
	if (!r && !o->print_capabilities)
		r = parse_words(o, argc, argv, first, e);
	return r ? r : check(o, e);
}

void options_fini(struct options *o)
{
	keyval_free(file_table, &o->blk);
	for (unsigned i = 0; i < o->n_ports; i++)
		keyval_free(port_table, &o->ports[i]);
}
