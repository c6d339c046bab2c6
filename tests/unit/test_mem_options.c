/* SPDX-License-Identifier: Apache-2.0 */
/* --mem-backend: what it accepts, and the sentence for everything it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/range.h"
#include "memory/mem_options.h"
#include "memory/numa.h"

static struct mem_options parsed(const char *text)
{
	struct mem_options o = MEM_OPTIONS_DEFAULT;
	struct err e = { "" };

	if (mem_options_parse(&o, text, &e))
		fail_msg("%s: %s", text, e.msg);
	return o;
}

static void nothing_given_is_anonymous_shm_that_is_shared_and_not_dumped(void **state)
{
	struct mem_options o = MEM_OPTIONS_DEFAULT;

	(void)state;
	assert_int_equal(o.kind, MEM_SHM);
	assert_int_equal(o.thp, MEM_THP_AUTO);
	assert_true(o.share && o.reserve && o.seal);
	assert_false(o.dump || o.merge || o.prealloc || o.hugetlb || o.discard_data);
	assert_null(o.name);
}

static void every_key_reaches_its_field(void **state)
{
	struct mem_options o = parsed(
		"shm,thp=on,dump=on,prealloc,prealloc-threads=3,policy=bind,host-nodes=0-1,,4");

	(void)state;
	assert_int_equal(o.thp, MEM_THP_ON);
	assert_true(o.dump && o.prealloc);
	assert_int_equal(o.prealloc_threads, 3);
	assert_int_equal(o.policy, MEM_POLICY_BIND);
	assert_string_equal(o.host_nodes, "0-1,4");
	mem_options_fini(&o);
	assert_null(o.host_nodes);

	o = parsed("shm,name=/ram,thp=off,share=on,reserve=off");
	assert_string_equal(o.name, "/ram");
	assert_int_equal(o.thp, MEM_THP_OFF);
	assert_false(o.reserve);
	mem_options_fini(&o);

	o = parsed("memfd,seal=off,hugetlb=on,hugetlbsize=1G");
	assert_int_equal(o.kind, MEM_MEMFD);
	assert_false(o.seal);
	assert_true(o.hugetlb);
	assert_int_equal(o.hugetlbsize, GIB(1));
	mem_options_fini(&o);

	o = parsed("file,path=/a,,b,offset=8K,align=2M,discard-data=on");
	assert_int_equal(o.kind, MEM_FILE);
	assert_string_equal(o.path, "/a,b");
	assert_int_equal(o.offset, 8192);
	assert_int_equal(o.align, MIB(2));
	assert_true(o.discard_data);
	mem_options_fini(&o);
	mem_options_fini(&o);
}

static void qemu_s_mem_path_is_path(void **state)
{
	struct mem_options o = parsed("file,mem-path=/ram");

	(void)state;
	assert_string_equal(o.path, "/ram");
	mem_options_fini(&o);
}

static const struct {
	const char *text, *sentence;
} refused[] = {
	{ "malloc", "kind: malloc is none of shm, memfd, file" },
	{ "shm,speed=1", "\"speed\" is not a key of this option" },
	{ "shm,dump=perhaps", "dump: perhaps is neither on nor off" },
	{ "shm,dump=on,dump=on", "dump is given twice" },
	{ "shm,share=off", "a daemon would see another copy of RAM than the guest" },
	{ "shm,readonly=on", "guest RAM is always writable" },
	{ "shm,rom=off", "there is no ROM behind this option" },
	{ "shm,pmem=on", "RAM is not persistent memory" },
	{ "shm,prealloc-context=tc1", "there are no thread contexts" },
	{ "shm,size=1G", "the size of RAM is --memory's" },
	{ "shm,id=mem", "the machine has one memory" },
	{ "shm,prealloc=on,reserve=off", "contradict each other" },
	{ "shm,prealloc-threads=2", "prealloc-threads needs prealloc=on" },
	{ "shm,prealloc=on,prealloc-threads=0", "0 is outside 1 to 256" },
	{ "shm,host-nodes=0", "host-nodes needs policy=" },
	{ "shm,policy=bind", "policy=bind needs host-nodes" },
	{ "shm,policy=luck,host-nodes=0", "luck is none of default, preferred, bind, interleave" },
	{ "shm,policy=bind,host-nodes=a", "\"a\" is not a list of node numbers" },
	{ "shm,policy=bind,host-nodes=3-1", "\"3-1\" is not a list of node numbers" },
	{ "shm,policy=bind,host-nodes=0-", "\"0-\" is not a list of node numbers" },
	{ "shm,policy=bind,host-nodes=0,,", "\"0,\" is not a list of node numbers" },
	{ "shm,policy=bind,host-nodes=1024", "node numbers below 1024" },
	{ "shm,thp=maybe", "maybe is none of auto, on, off" },
	{ "shm,thp=on,name=/x", "thp=on and name= exclude each other" },
	{ "shm,name=x", "write one slash and then a word" },
	{ "shm,name=/", "write one slash and then a word" },
	{ "shm,name=/..", "write one slash and then a word" },
	{ "shm,name=/a/b", "write one slash and then a word" },
	{ "shm,name=/minivmm-1", "kept for RAM without a name" },
	{ "shm,seal=on", "seal is a key of memfd, not of shm" },
	{ "shm,path=/x", "path is a key of file, not of shm" },
	{ "memfd,name=/x", "name is a key of shm, not of memfd" },
	{ "memfd,thp=on", "thp is a key of shm, not of memfd" },
	{ "memfd,offset=4K", "offset is a key of file, not of memfd" },
	{ "memfd,hugetlbsize=2M", "hugetlbsize needs hugetlb=on" },
	{ "memfd,hugetlb=on,hugetlbsize=3M", "hugetlbsize must be a power of two" },
	{ "memfd,hugetlb=on,hugetlbsize=0", "hugetlbsize must be a power of two" },
	{ "memfd,hugetlb=on,hugetlbsize=2", "2 is not a size: write a number with a unit" },
	{ "file", "file needs path=" },
	{ "file,path=/a,mem-path=/b", "mem-path is given twice" },
	{ "file,path=/a,hugetlb=on", "hugetlb is a key of memfd, not of file" },
	{ "file,path=/a,offset=1K", "offset must be a multiple of the page size" },
	{ "file,path=/a,align=1K", "align must be a power of two" },
	{ "file,path=/a,align=12K", "align must be a power of two" },
	{ "file,path=/a,align=2G", "align must be a power of two" },
	{ "file,path=/a,offset=99999999T", "the size 99999999T is too large" },
	{ "memfd,discard-data=on", "discard-data is a key of file, not of memfd" },
	{ "memfd,align=2M", "align is a key of file, not of memfd" },
};

static void what_cannot_be_is_refused_with_its_sentence(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct mem_options o = MEM_OPTIONS_DEFAULT;
		struct err e = { "" };

		if (!mem_options_parse(&o, refused[i].text, &e))
			fail_msg("%s was accepted", refused[i].text);
		if (!strstr(e.msg, refused[i].sentence))
			fail_msg("%s: \"%s\" does not say \"%s\"", refused[i].text, e.msg,
				 refused[i].sentence);
		if (!strstr(e.msg, "--mem-backend"))
			fail_msg("%s: \"%s\" does not name the option", refused[i].text, e.msg);
		mem_options_fini(&o);
	}
}

static void a_name_of_255_bytes_is_the_longest(void **state)
{
	struct mem_options o = MEM_OPTIONS_DEFAULT;
	char text[300] = "shm,name=/";
	struct err e = { "" };

	(void)state;
	memset(text + strlen("shm,name=/"), 'n', 255);
	o = parsed(text);
	mem_options_fini(&o);
	o = (struct mem_options)MEM_OPTIONS_DEFAULT;
	text[strlen("shm,name=/") + 255] = 'n';
	assert_int_equal(mem_options_parse(&o, text, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "longer than 255 bytes"));
	mem_options_fini(&o);
}

static void merge_is_accepted_and_warned_of(void **state)
{
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
	struct mem_options o;
	char text[512] = "";

	(void)state;
	dup2(log, STDERR_FILENO);
	o = parsed("memfd,merge=on");
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_true(pread(log, text, sizeof(text) - 1, 0) > 0);
	close(log);
	assert_non_null(strstr(text, "merge=on has no effect"));
	assert_true(o.merge);
	mem_options_fini(&o);
}

static void node_lists_become_masks(void **state)
{
	struct numa_nodes n;
	struct err e;

	(void)state;
	assert_int_equal(numa_parse("0-2,2,65", &n, &e), 0);
	assert_int_equal(n.mask[0], 7);
	assert_int_equal(n.mask[1], 2);
	assert_int_equal(n.count, 4);
	assert_int_equal(n.highest, 65);
}

static void every_key_has_help_and_a_given_flag_of_its_own(void **state)
{
	(void)state;
	for (const struct keyval *k = mem_option_table; k->key; k++) {
		assert_true(k->help && *k->help);
		if (k->type == KEYVAL_REFUSED)
			continue;
		assert_true(k->given > 0);
		for (const struct keyval *other = mem_option_table; other != k; other++)
			assert_true(other->given != k->given || other->offset == k->offset);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_given_is_anonymous_shm_that_is_shared_and_not_dumped),
		cmocka_unit_test(every_key_reaches_its_field),
		cmocka_unit_test(qemu_s_mem_path_is_path),
		cmocka_unit_test(what_cannot_be_is_refused_with_its_sentence),
		cmocka_unit_test(a_name_of_255_bytes_is_the_longest),
		cmocka_unit_test(merge_is_accepted_and_warned_of),
		cmocka_unit_test(node_lists_become_masks),
		cmocka_unit_test(every_key_has_help_and_a_given_flag_of_its_own),
	};

	return cmocka_run_group_tests_name("mem_options", tests, NULL, NULL);
}
