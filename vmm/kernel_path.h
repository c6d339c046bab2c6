/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_KERNEL_PATH_H
#define VMM_KERNEL_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * The kernel to boot when none is given: the one guest/ built, beside this program in its build
 * tree, else in the data directory. Writes its path to @buf. 0, or -ENOENT with @e saying where
 * was looked and how to get one.
 */
int kernel_path_default(char *buf, size_t len, struct err *e);

#endif
