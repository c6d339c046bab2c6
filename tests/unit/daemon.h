/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minivmm-backend as a process, in a directory of its own with a disk image, and a driver for it.
 */
#ifndef TESTS_UNIT_DAEMON_H
#define TESTS_UNIT_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver.h"
#include "spawn.h"

enum { DISK = 8 << 20 };

struct daemon {
	char dir[64], disk[96], socket[96];
	int watch;		/* inotify of dir: names that appear */
	struct spawn program;
	struct driver driver;
	bool driving;
};

/* cmocka's set-up and tear-down: directory and disk, nothing started. */
int daemon_setup(void **state);
int daemon_teardown(void **state);

/* Starts the program in f->dir with @args, NULL at the end; @inherit goes along as SPAWN_FD (-1:
 * nothing). */
void daemon_start(struct daemon *f, const char *const *args, int inherit);
/* Waits for its end: the exit code, or -signal. */
int daemon_finish(struct daemon *f);
/* Waits until f->socket has appeared. */
void daemon_wait_for_socket(struct daemon *f);
/* Ends it by @signal and wants silence, 0 and the socket gone. */
void daemon_stop(struct daemon *f, int signal);

/* Runs it to its end with the arguments; starts it and waits for its socket. */
#define RUN(f, ...) \
	(daemon_start(f, (const char *const[]){ __VA_ARGS__, NULL }, -1), daemon_finish(f))
#define START(f, ...)                                                                  \
	do {                                                                           \
		daemon_start(f, (const char *const[]){ __VA_ARGS__, NULL }, -1);              \
		daemon_wait_for_socket(f);                                                    \
	} while (0)

/* What it wrote is one line on standard error, which holds @words. */
void daemon_assert_sentence(const struct daemon *f, const char *words);
bool daemon_exists(const char *path);

/* A connection to the socket @path. */
int daemon_connect(const char *path);
/* Takes *@sock and brings queue 0 up over it. */
void daemon_drive(struct daemon *f, int *sock);
/* A disk request with @len bytes of data at DRIVER_DATA + 0x1000; returns its status. */
uint8_t daemon_blk_request(struct daemon *f, uint32_t type, uint64_t sector, uint32_t len);
/* Writes a sector of @letter, reads it back, and finds it in the file. */
void daemon_assert_disk_works(struct daemon *f, char letter);

#endif
