/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file with a disk's contents: opened, of a kind that can be served, and locked for as long as
 * it is open, so that no two programs write it.
 */
#ifndef VHOST_BACKENDS_IMAGE_H
#define VHOST_BACKENDS_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum image_use {
	/*
	 * By requests: a file or a block device. The kernel may still be at work on those of a
	 * daemon that was killed: its lock is waited for, 1 second.
	 */
	IMAGE_SERVED,
	/*
	 * By front ends that have it mapped: a file. They have the fd, and so the lock, too, as
	 * long as their guest may write it: one whose daemon has just ended is waited for, 3
	 * seconds.
	 */
	IMAGE_MAPPED,
};

/* Set-up. Opens and locks what is at @path. The fd, which the caller owns, or -errno with @e: what
 * is wrong with it, and the way out. */
int image_open(const char *path, bool readonly, enum image_use use, struct err *e);
/* Bytes that the open image has now, by its @fd (borrowed) alone; @path is for the message. 0, or
 * -errno with @e, also for an image that is empty. */
int image_size(int fd, const char *path, uint64_t *ret, struct err *e);

#endif
