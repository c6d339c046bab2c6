/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mapping and unmapping, timed: the program of tests/bench/shmem.
 *
 *	swap bare		itself, into a memory slot of a machine of its own
 *	swap asked		another process does, asked over a socket; no more than that
 *	swap daemon FD [HUGE]	minivmm does: FD is its connection, its guest touch.c
 *
 * All three do the same: objects whose pages are there, mapped at the beginning of a window while
 * many other mappings lie behind. Every figure is a line of JSON: what was done, with how many
 * bytes, beside how many mappings, and the nanoseconds, the median of some. One thread.
 */
#ifndef BENCH_SWAP_H
#define BENCH_SWAP_H

#include <stdint.h>

/* Who maps: [at, at + len) of the window shows @fd from its beginning, and no more. Both end the
 * program when they fail. */
struct swapper {
	void (*map)(void *arg, uint64_t at, uint64_t len, int fd);
	void (*unmap)(void *arg, uint64_t at, uint64_t len);
	void *arg;
};

/* Ends the program; @what failed, with errno. */
__attribute__((noreturn)) void swap_fail(const char *what);
/* Prints a figure. */
void swap_say(const char *what, uint64_t size, unsigned live, uint64_t ns);
/* An object of @size bytes whose pages are there, those of its first 64 MiB; the caller owns it. */
int swap_object(uint64_t size);
/* Maps and unmaps all sizes beside all numbers of live mappings, and says what that took. Leaves
 * those that were live. */
void swap_measure(const struct swapper *s);

/* The three programs. */
void swap_bare(void);
void swap_asked(void);
void swap_daemon(int sock, const char *huge);

#endif
