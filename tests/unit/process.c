/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/process.h"

unsigned process_count_names(const char *dir, const char *prefix)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	assert_non_null(d);
	for (struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			n += !strncmp(entry->d_name, prefix, strlen(prefix));
	}
	closedir(d);
	return n;
}

unsigned process_fds(void)
{
	/* Without the one that looks. */
	return process_count_names("/proc/self/fd", "") - 1;
}

unsigned process_areas(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned n = 0;
	int c;

	assert_non_null(f);
	while ((c = fgetc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

uint64_t process_memory(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	uint64_t kib = 0;
	char line[128];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) && sscanf(line, "Pss: %" SCNu64, &kib) != 1)
		;
	fclose(f);
	assert_true(kib > 0);
	return kib * 1024;
}

enum { AREAS_PAGE = 4096 };

/* How many areas a process may have; 0 when that is not known. */
static size_t area_limit(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	size_t limit = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%zu", &limit) != 1)
		limit = 0;
	fclose(f);
	return limit;
}

void process_areas_can_end(void)
{
	size_t limit = area_limit();

	if (limit > 0 && limit <= 300000)
		return;
	print_message("SKIPPED: too many areas, or nobody knows how many\n");
	skip();
}

struct process_areas process_areas_end(void)
{
	struct process_areas all = { .len = 2 * area_limit() * AREAS_PAGE };
	uint8_t *base =
		mmap(NULL, all.len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(base, MAP_FAILED);
	for (size_t i = 1; i < all.len / AREAS_PAGE - 1; i += 2) {
		if (mprotect(base + i * AREAS_PAGE, AREAS_PAGE, PROT_READ) < 0)
			break;
	}
	all.base = base;
	return all;
}

void process_areas_go_on(const struct process_areas *all)
{
	munmap(all->base, all->len);
}
