/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM as --mem-backend's text makes it, files to make it of, and what to look at. */
#ifndef TESTS_UNIT_RAM_H
#define TESTS_UNIT_RAM_H

#include <sys/stat.h>

#include "memory/guest_mem.h"

#define RAM_PAGE ((uint64_t)sysconf(_SC_PAGESIZE))

/* RAM of @size bytes, ended by guest_mem_fini; try gives guest_mem_init's result. */
struct guest_mem ram_new(const char *option, uint64_t size);
int ram_try(struct guest_mem *m, const char *option, uint64_t size, struct err *e);
/* That it is refused with @code and a message that holds @sentence, and that nothing is left. */
void ram_assert_refused(const char *option, uint64_t size, int code, const char *sentence);
/* An option's text, good until the next call. */
const char *ram_option(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* fstat of a region's object. */
struct stat ram_status(const struct guest_mem *m, unsigned region);
/* Names in /dev/shm that this process's RAM has. */
unsigned ram_shm_names(void);

/* A file of @size bytes, gone after fini. */
struct ram_file {
	char path[256];
};

struct ram_file ram_file_new(uint64_t size);
void ram_file_fini(const struct ram_file *f);

/* Sets a soft limit (RLIMIT_*); reset makes it the hard one. */
void ram_limit_set(int resource, uint64_t value);
void ram_limit_reset(int resource);

#endif
