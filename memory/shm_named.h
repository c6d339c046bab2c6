/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shm object with a name, `--mem-backend shm,name=/x`, whose life can be ended from outside at
 * any moment without the name being left.
 *
 * Theory of operation. shm_open(3) gives the fd after the name exists: whoever is killed in between
 * leaves a name that nobody can tell from another's of the same name. So it is done the other way
 * round: the object is made without a name, every process that is to remove the name is forked with
 * its fd, and only then the name is linked, which fails when it exists, as O_EXCL would. Each of
 * them can compare at any time: what the name leads to is the object it holds, or somebody else's.
 * The fd keeps the inode, hence no other object can come to have its number.
 *
 * The name is one of /dev/shm, where glibc and musl look for it. Linux only, unlike shm.h.
 */
#ifndef MEMORY_SHM_NAMED_H
#define MEMORY_SHM_NAMED_H

#include <stdbool.h>

#include "base/err.h"

/*
 * Makes an object of 0 bytes and mode 0600, whatever the umask, that has no name yet. 0 with
 * *@ret_fd the caller's, or -errno with @e. Set-up only.
 */
int shm_named_create(int *ret_fd, struct err *e);
/*
 * Gives the object of @fd the name @name ("/x", checked by shm_object_check_name). 0 or -errno with
 * @e; -EEXIST with the way out when there is such a name, which stays as it is. Set-up only. Needs
 * /proc, or CAP_DAC_READ_SEARCH, or Linux 6.10.
 */
int shm_named_link(int fd, const char *name, struct err *e);
/*
 * Removes @name if it leads to the object of @fd; harmless otherwise, and twice. Any thread or
 * process whose filter allows fstat(2), stat(2) of a path and unlink(2). A stranger who removes the
 * name and gives it to an object of his own between the last two loses that name: nothing in
 * Linux compares and unlinks in one step.
 */
void shm_named_unlink(int fd, const char *name);
/* Whether the object of @fd still has a name. */
bool shm_named_is_left(int fd);

#endif
