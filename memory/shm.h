/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One POSIX shared memory object, without a name. shm.c is portable: it compiles with only
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
 * Makes an object of @size bytes. It has mode 0 and no name any more: nobody can open it, only an
 * fd that was passed on leads to it. One that is to have a name is shm_named.h's. @total as below.
 * 0 with *@ret_fd the caller's, or -errno with @e and nothing left behind.
 */
int shm_object_create(uint64_t size, uint64_t total, int *ret_fd, struct err *e);

/*
 * Gives the object of @fd its size in bytes. @total is what all objects together will hold, checked
 * against the mount: more than it can ever hold is refused, more than is free now is warned of on
 * the log; 0: not checked. 0 or -errno with @e.
 */
int shm_object_set_size(int fd, uint64_t size, uint64_t total, struct err *e);

#endif
