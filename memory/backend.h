/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where guest RAM comes from: one ops table row for each of shm, memfd and file.
 * Options carry QEMU's names and meanings (qapi/qom.json, MemoryBackendProperties).
 */
#ifndef MEMORY_BACKEND_H
#define MEMORY_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/keyval.h"

enum mem_kind { MEM_SHM, MEM_MEMFD, MEM_FILE, MEM_KINDS };
enum mem_thp { MEM_THP_AUTO, MEM_THP_ON, MEM_THP_OFF };

/* Target of keyval_parse with mem_option_table. Zero-initialise with MEM_OPTIONS_DEFAULT. */
struct mem_options {
	bool reserved;			/* keeps offset 0 free for keyval's `given` */
	int kind;			/* enum mem_kind */
	char *name;			/* shm: name=/x */
	int thp;			/* shm: enum mem_thp */
	bool share, merge, dump, prealloc, reserve;
	bool prealloc_given, reserve_given;
	uint64_t prealloc_threads;	/* 0: one for each CPU, at most 16 */
	char *host_nodes;		/* "0-1,3" style list */
	int policy;			/* index of default, preferred, bind, interleave */
	bool seal, hugetlb;		/* memfd */
	uint64_t hugetlbsize;		/* memfd; 0: the system's default */
	char *path;			/* file: path= or mem-path= */
	uint64_t offset, align;		/* file */
	bool discard_data;		/* file */
};

#define MEM_OPTIONS_DEFAULT { .share = true, .reserve = true, .seal = true }

extern const struct keyval mem_option_table[];

/* Parses `KIND[,key=value...]` and refuses keys that do not belong to the kind. 0 or -EINVAL with
 * @e. Strings of @o are freed by mem_options_fini, also after a failure. */
int mem_options_parse(struct mem_options *o, const char *text, struct err *e);
void mem_options_fini(struct mem_options *o);

/* What a backend got, for the boot report, the daemons' alignment and removal at exit. */
struct mem_backing {
	const char *kind;	/* "shm", "shm (private huge tmpfs)", "memfd", "memfd (hugetlb)", "file" */
	uint64_t page_size;	/* of the backing: 4 KiB, 2 MiB, 1 GiB; offsets and sizes are multiples */
	char *unlink_name;	/* shm object name to remove at the end, NULL for none */
};

#endif
