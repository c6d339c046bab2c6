/* SPDX-License-Identifier: Apache-2.0 */
/* What this process holds on to, counted, so that a test can tell what was left behind. */
#ifndef TESTS_UNIT_PROCESS_H
#define TESTS_UNIT_PROCESS_H

/* Names in @dir that begin with @prefix. */
unsigned process_count_names(const char *dir, const char *prefix);
/* Open file descriptors. */
unsigned process_fds(void);
/* Areas of memory. */
unsigned process_areas(void);

#endif
