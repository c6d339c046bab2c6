/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One POSIX shared memory object. shm.c is portable: it compiles with only
 * _POSIX_C_SOURCE=200809L, and CI does so; keep this header free of anything else.
 */
#ifndef MEMORY_SHM_H
#define MEMORY_SHM_H

#include <stdint.h>

#include "base/err.h"

/* Names that begin so are minivmm's own, for the instant between shm_open and shm_unlink. */
#define SHM_OBJECT_PREFIX "/minivmm-"

/* A name the user may choose: one slash, at most 255 bytes behind it, not ours. 0 or -EINVAL. */
int shm_object_check_name(const char *name, struct err *e);

/*
 * Makes an object of @size bytes. Without @name it has mode 0 and no name any more: nobody can open
 * it, only an fd that was passed on leads to it. With @name it has mode 0600 and keeps the name
 * until shm_object_remove. @total is what all objects together will hold, checked against the
 * mount: more than it can ever hold is refused, more than is free now is warned of on the log; 0:
 * not checked. 0 with *@ret_fd the caller's, or -errno with @e and nothing left behind.
 */
int shm_object_create(const char *name, uint64_t size, uint64_t total, int *ret_fd, struct err *e);

/*
 * Removes the name of @fd's object, unless somebody did so before: then the name is another's by
 * now. Only fstat(2), shm_unlink(3); safe in a signal handler with glibc and musl, where the latter
 * is a copy on the stack and unlink(2).
 */
void shm_object_remove(const char *name, int fd);

#endif
