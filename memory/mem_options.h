/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the user says about guest RAM: `--mem-backend KIND[,key=value...]`. Keys carry QEMU's names
 * and meanings (qapi/qom.json, MemoryBackendProperties). Set-up only.
 */
#ifndef MEMORY_MEM_OPTIONS_H
#define MEMORY_MEM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/keyval.h"

enum mem_kind { MEM_SHM, MEM_MEMFD, MEM_FILE, MEM_KINDS };
enum mem_thp { MEM_THP_AUTO, MEM_THP_ON, MEM_THP_OFF };
enum mem_policy {
	MEM_POLICY_DEFAULT,
	MEM_POLICY_PREFERRED,
	MEM_POLICY_BIND,
	MEM_POLICY_INTERLEAVE,
};

/* Initialise with MEM_OPTIONS_DEFAULT; the strings are owned, mem_options_fini frees them. */
struct mem_options {
	int kind;			/* enum mem_kind; the default is shm */
	char *name;			/* shm: name=/x; NULL: anonymous */
	int thp;			/* shm: enum mem_thp */
	bool share, merge, dump, prealloc, reserve;
	uint64_t prealloc_threads;	/* 0: one for each CPU, at most 16 */
	char *host_nodes;		/* "0-1,3"; NULL: none */
	int policy;			/* enum mem_policy */
	bool seal, hugetlb;		/* memfd */
	uint64_t hugetlbsize;		/* memfd: bytes; 0: the system's default */
	char *path;			/* file: path= or mem-path= */
	uint64_t offset;		/* file: bytes into it where RAM begins */
	uint64_t align;			/* file: of the mapping's address; 0: as pages ask for */
	bool discard_data;		/* file: free its blocks at the end */
	struct {			/* which keys came, kept by keyval_parse */
		bool kind, thp, share, merge, dump, prealloc, prealloc_threads, reserve, policy;
		bool name, host_nodes, seal, hugetlb, hugetlbsize;
		bool path, offset, align, discard_data;
	} given;
};

#define MEM_OPTIONS_DEFAULT { .share = true, .reserve = true, .seal = true }

/* Every key, for --help and the manual page; ended by key NULL. */
extern const struct keyval mem_option_table[];

/*
 * Parses @text and refuses what contradicts itself and keys that are not for the kind; what depends
 * on the host is guest_mem_init's business. Warns on the log of merge=on, which has no effect. 0,
 * or -EINVAL or -ERANGE with @e; strings of @o are the caller's to free also after a failure.
 */
int mem_options_parse(struct mem_options *o, const char *text, struct err *e);
/* Frees the strings. Works twice. */
void mem_options_fini(struct mem_options *o);

/* The kind's word on the command line: "shm", "memfd", "file". */
const char *mem_kind_name(enum mem_kind kind);

#endif
