/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/mem_options.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/range.h"
#include "memory/numa.h"
#include "memory/shm.h"

#define OPTION "--mem-backend"

static const char *const kind_words[] = {
	[MEM_SHM] = "shm", [MEM_MEMFD] = "memfd", [MEM_FILE] = "file", NULL
};
static const char *const thp_words[] = {
	[MEM_THP_AUTO] = "auto", [MEM_THP_ON] = "on", [MEM_THP_OFF] = "off", NULL
};
static const char *const policy_words[] = {
	[MEM_POLICY_DEFAULT] = "default", [MEM_POLICY_PREFERRED] = "preferred",
	[MEM_POLICY_BIND] = "bind", [MEM_POLICY_INTERLEAVE] = "interleave", NULL
};
static_assert(ARRAY_SIZE(kind_words) == MEM_KINDS + 1, "a word for every kind");

#define KEY(name, kind, field) \
	.key = name, .type = kind, .offset = offsetof(struct mem_options, field), \
	.given = offsetof(struct mem_options, given.field)

const struct keyval mem_option_table[] = {
	{ KEY("kind", KEYVAL_ENUM, kind), .words = kind_words,
	  .help = "shm (POSIX shared memory), memfd (sealed) or file" },
	{ KEY("name", KEYVAL_STRING, name),
	  .help = "shm: keep the object under this name, as in /ram1, until exit (mode 0600)" },
	{ KEY("thp", KEYVAL_ENUM, thp), .words = thp_words,
	  .help = "shm: huge pages through a private tmpfs; auto takes them where the kernel "
		  "allows it" },
	{ KEY("share", KEYVAL_BOOL, share),
	  .help = "always on: daemons and the guest see one memory" },
	{ KEY("merge", KEYVAL_BOOL, merge),
	  .help = "accepted; the kernel cannot merge pages of shared memory" },
	{ KEY("dump", KEYVAL_BOOL, dump), .help = "include guest RAM in a core file (off)" },
	{ KEY("prealloc", KEYVAL_BOOL, prealloc),
	  .help = "allocate all of RAM before the start (off)" },
	{ KEY("prealloc-threads", KEYVAL_UINT, prealloc_threads), .min = 1, .max = 256,
	  .help = "threads that preallocate (one for each CPU, at most 16)" },
	{ KEY("reserve", KEYVAL_BOOL, reserve),
	  .help = "reserve huge pages when RAM is mapped (on)" },
	{ KEY("host-nodes", KEYVAL_STRING, host_nodes),
	  .help = "NUMA nodes for policy, as in 0-1 or 0,,2 (a comma in a value is written "
		  "twice)" },
	{ KEY("policy", KEYVAL_ENUM, policy), .words = policy_words,
	  .help = "NUMA policy: default, preferred, bind or interleave" },
	{ KEY("seal", KEYVAL_BOOL, seal), .help = "memfd: forbid everybody to resize it (on)" },
	{ KEY("hugetlb", KEYVAL_BOOL, hugetlb),
	  .help = "memfd: take pages from the host's huge page pool" },
	{ KEY("hugetlbsize", KEYVAL_SIZE, hugetlbsize),
	  .help = "memfd: which pool, as in 2M or 1G" },
	{ KEY("path", KEYVAL_STRING, path),
	  .help = "file: the file that is RAM, made when missing, or a directory for an unnamed "
		  "one" },
	{ KEY("mem-path", KEYVAL_STRING, path), .help = "file: QEMU's name of path" },
	{ KEY("offset", KEYVAL_SIZE, offset), .help = "file: where in it RAM begins" },
	{ KEY("align", KEYVAL_SIZE, align), .help = "file: alignment of the mapping's address" },
	{ KEY("discard-data", KEYVAL_BOOL, discard_data),
	  .help = "file: free the blocks that were RAM at the end" },
	{ .key = "readonly",
	  .type = KEYVAL_REFUSED,
	  .help = "guest RAM is always writable; leave the key out" },
	{ .key = "rom",
	  .type = KEYVAL_REFUSED,
	  .help = "there is no ROM behind this option, guest RAM is always writable; leave the key "
		  "out" },
	{ .key = "pmem",
	  .type = KEYVAL_REFUSED,
	  .help = "RAM is not persistent memory; for that use a vhost-user pmem device" },
	{ .key = "prealloc-context",
	  .type = KEYVAL_REFUSED,
	  .help = "there are no thread contexts; run minivmm under numactl or taskset instead" },
	{ .key = "size",
	  .type = KEYVAL_REFUSED,
	  .help = "the size of RAM is --memory's, as in --memory 1G" },
	{ .key = "id",
	  .type = KEYVAL_REFUSED,
	  .help = "the machine has one memory, which needs no name; leave the key out" },
	{ .key = NULL }
};

#define GIVEN(field) offsetof(struct mem_options, given.field)

/* Keys that only one kind understands. */
static const struct {
	const char *key;
	size_t given;
	enum mem_kind kind;
} kind_keys[] = {
	{ "name", GIVEN(name), MEM_SHM },
	{ "thp", GIVEN(thp), MEM_SHM },
	{ "seal", GIVEN(seal), MEM_MEMFD },
	{ "hugetlb", GIVEN(hugetlb), MEM_MEMFD },
	{ "hugetlbsize", GIVEN(hugetlbsize), MEM_MEMFD },
	{ "path", GIVEN(path), MEM_FILE },
	{ "offset", GIVEN(offset), MEM_FILE },
	{ "align", GIVEN(align), MEM_FILE },
	{ "discard-data", GIVEN(discard_data), MEM_FILE },
};

const char *mem_kind_name(enum mem_kind kind)
{
	return kind_words[kind];
}

static int check_kind_keys(const struct mem_options *o, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(kind_keys); i++) {
		const bool *given = (const bool *)((const char *)o + kind_keys[i].given);

		if (*given && o->kind != (int)kind_keys[i].kind)
			return err_set(e, -EINVAL, OPTION ": %s is a key of %s, not of %s",
				       kind_keys[i].key, kind_words[kind_keys[i].kind],
				       kind_words[o->kind]);
	}
	return 0;
}

static int check_common(const struct mem_options *o, struct err *e)
{
	if (!o->share)
		return err_set(e, -EINVAL,
			       OPTION ": share=off is refused: a daemon would see another copy of "
				      "RAM than the guest; leave the key out");
	if (o->prealloc && !o->reserve)
		return err_set(e, -EINVAL,
			       OPTION ": prealloc=on and reserve=off contradict each other; "
				      "give one of them");
	if (o->given.prealloc_threads && !o->prealloc)
		return err_set(e, -EINVAL, OPTION ": prealloc-threads needs prealloc=on");
	if (o->policy == MEM_POLICY_DEFAULT && o->host_nodes)
		return err_set(e, -EINVAL,
			       OPTION ": host-nodes needs policy=preferred, bind or interleave");
	if (o->policy != MEM_POLICY_DEFAULT && !o->host_nodes)
		return err_set(e, -EINVAL,
			       OPTION ": policy=%s needs host-nodes, as in host-nodes=0-1",
			       policy_words[o->policy]);
	if (o->host_nodes) {
		struct numa_nodes nodes;

		return numa_parse(o->host_nodes, &nodes, e);
	}
	return 0;
}

static int check_shm(const struct mem_options *o, struct err *e)
{
	if (!o->name)
		return 0;
	if (o->thp == MEM_THP_ON)
		return err_set(e, -EINVAL,
			       OPTION
			       ": thp=on and name= exclude each other: a named object lies in "
			       "/dev/shm, whose mount (huge=) decides about its pages");
	return shm_object_check_name(o->name, e);
}

static int check_memfd(const struct mem_options *o, struct err *e)
{
	if (o->given.hugetlbsize && !o->hugetlb)
		return err_set(e, -EINVAL, OPTION ": hugetlbsize needs hugetlb=on");
	if (o->given.hugetlbsize && !is_pow2(o->hugetlbsize))
		return err_set(e, -EINVAL,
			       OPTION ": hugetlbsize must be a power of two, as 2M or 1G");
	return 0;
}

static int check_file(const struct mem_options *o, struct err *e)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!o->path)
		return err_set(e, -EINVAL,
			       OPTION ": file needs path=, the file or directory for RAM");
	if (o->offset % page)
		return err_set(e, -EINVAL,
			       OPTION ": offset must be a multiple of the page size, %u bytes",
			       (unsigned)page);
	if (o->given.align && (!is_pow2(o->align) || o->align < page || o->align > GIB(1)))
		return err_set(e, -EINVAL,
			       OPTION ": align must be a power of two from %u bytes to 1G",
			       (unsigned)page);
	return 0;
}

static int (*const kind_checks[MEM_KINDS])(const struct mem_options *o, struct err *e) = {
	[MEM_SHM] = check_shm, [MEM_MEMFD] = check_memfd, [MEM_FILE] = check_file,
};

int mem_options_parse(struct mem_options *o, const char *text, struct err *e)
{
	int r = keyval_parse(OPTION, text, "kind", mem_option_table, o, e);

	r = r ? r : check_kind_keys(o, e);
	r = r ? r : check_common(o, e);
	r = r ? r : kind_checks[o->kind](o, e);
	if (r)
		return r;
	if (o->merge)
		log_warn(OPTION ": merge=on has no effect: the kernel merges private pages only, "
				"and guest RAM is shared memory");
	return 0;
}

void mem_options_fini(struct mem_options *o)
{
	keyval_free(mem_option_table, o);
}
