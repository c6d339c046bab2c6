/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens host objects for one VMShm device, by its policy. For a process that may open paths, which
 * the loop's may not: the supervisor. Never creates, waits, or follows a link.
 *
 * The guest must not learn what is in /dev/shm: of a name that is not allowed nothing is looked at,
 * and the answer is that of one that is absent. By the time of the answer it may learn whether a
 * name is allowed, not more.
 */
#ifndef DEVICES_VMSHM_OBJECT_H
#define DEVICES_VMSHM_OBJECT_H

#include "base/err.h"
#include "base/log.h"
#include "devices/vmshm_open.h"
#include "devices/vmshm_options.h"

struct vmshm_object_opener {
	const struct vmshm_options *options;	/* borrowed, as all here */
	int dir;		/* of vmshm_object_dir; -1: nothing but maps is opened */
	int never;		/* an object that is never opened: the machine's RAM; or -1 */
	struct misuse refused, unfit;
};

/* /dev/shm, for opening objects beneath it. An fd, which the caller owns, or -errno with @e.
 * Set-up. */
int vmshm_object_dir(struct err *e);
/* Set-up, before anything is opened here. Whether the fds of map= are what it needs: 0, or -errno
 * with @e that names the one that is not. */
int vmshm_object_check_maps(const struct vmshm_options *o, struct err *e);

/*
 * Answers @q, of which nothing is taken for granted. @ret is complete, and *@ret_fd is the
 * caller's, or -1 unless the status is VMSHM_OK. An object whose mode lets it be read only is
 * opened so.
 *
 * @held, taken, is what the device has open, or -1. With exclusive=on an object is locked by its
 * description (flock(2)), which must be the one that is handed over, as the lock lives as long as
 * the device has it; so the answer to a question for the object that is held is @held itself.
 * Whoever sends a wrong one gets it back at best.
 */
void vmshm_object_open(struct vmshm_object_opener *p, const struct vmshm_question *q, int *held,
		       struct vmshm_answer *ret, int *ret_fd);

#endif
