/* SPDX-License-Identifier: Apache-2.0 */
/* What this process holds on to, counted, so that a test can tell what was left behind. */
#ifndef TESTS_UNIT_PROCESS_H
#define TESTS_UNIT_PROCESS_H

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

#endif
