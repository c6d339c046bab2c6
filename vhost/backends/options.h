/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of minivmm-backend: TYPE, then options. One table says what options there are;
 * --help prints it, and a test holds the manual page against it.
 */
#ifndef VHOST_BACKENDS_OPTIONS_H
#define VHOST_BACKENDS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum option_type {
	OPTION_BLK, OPTION_CONSOLE, OPTION_NET, OPTION_PMEM, OPTION_RNG, OPTION_VSOCK, OPTION_TYPES
};

enum { BLK_QUEUES_MAX = 64, NET_PAIRS_MAX = 64 };

/* AUTO: io_uring where there is one. */
enum blk_io_way { BLK_AUTO, BLK_URING, BLK_SYNC };

enum blk_cache { BLK_WRITEBACK, BLK_WRITETHROUGH };

/* --file PATH[,key=value...]; pmem has file and readonly of it. */
struct blk_options {
	bool reserved;			/* keeps offset 0 free for keyval's `given` */
	char *file;			/* owned */
	bool readonly;
	uint64_t block_size;		/* bytes: logical block the guest sees */
	uint64_t seg_max, size_max;	/* pieces of a request, bytes of a piece */
	char *serial;			/* owned; what GET_ID answers */
	bool discard;			/* offer discard and write zeroes */
	int cache;			/* enum blk_cache */
	int io;				/* enum blk_io_way */
};

enum { PORTS_MAX = 16 };

/* --port; one of stdio, file, pty, socket. */
struct port_options {
	bool reserved;			/* as above */
	bool stdio, pty;
	char *file, *socket;		/* owned: paths */
	char *name;			/* owned; NULL: none */
	bool console;			/* is a console, or a plain port */
};

struct options {
	int type;			/* enum option_type; -1 without one (--help, --version) */
	const char *socket_path;	/* borrowed from argv; NULL when @fd is given */
	int fd;				/* inherited socket's number; -1 with socket_path */
	int seccomp;			/* enum seccomp_mode */
	bool seccomp_given;
	int log_level;
	bool print_capabilities, help, version;
	uint64_t queues;		/* blk */
	struct blk_options blk;		/* blk, pmem */
	const char *source;		/* rng; borrowed */
	struct port_options ports[PORTS_MAX];	/* console */
	unsigned n_ports;
	const char *tap;		/* net; borrowed; NULL with tap_fds */
	int tap_fds[NET_PAIRS_MAX];	/* net: inherited */
	unsigned n_tap_fds;
	uint64_t queue_pairs, mtu;	/* net; mtu 0: none is told */
	uint64_t guest_cid;		/* vsock */
	const char *uds_path;		/* vsock; borrowed */
};

/* 0, or -EINVAL with @e: a usage error. Call options_fini in either case. */
int options_parse(struct options *o, int argc, char **argv, struct err *e);
void options_fini(struct options *o);
/* What --help shows. */
void options_help(FILE *out);

/* "blk" */
const char *option_type_name(int type);

#endif
