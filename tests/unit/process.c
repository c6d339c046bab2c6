/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <string.h>

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
