/* SPDX-License-Identifier: Apache-2.0 */
/* What this process holds on to, counted, so that a test can tell what was left behind. */
#ifndef TESTS_UNIT_PROCESS_H
#define TESTS_UNIT_PROCESS_H

#include <stddef.h>
#include <stdint.h>

/* A sanitizer needs address space and areas: cases that take them away are not built then. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROCESS_SANITIZED 1
#else
#define PROCESS_SANITIZED 0
#endif

/* Names in @dir that begin with @prefix. */
unsigned process_count_names(const char *dir, const char *prefix);
/* Open file descriptors. */
unsigned process_fds(void);
/* Areas of memory. */
unsigned process_areas(void);
/* Bytes of memory that would be free without it: its share of each page (Pss). */
uint64_t process_memory(void);

/* Uses up every area the process may have, and gives them back; skips the test when the host lets
 * it have too many for that. Not under a sanitizer. */
struct process_areas {
	void *base;
	size_t len;
};

void process_areas_can_end(void);
struct process_areas process_areas_end(void);
void process_areas_go_on(const struct process_areas *all);

#endif
