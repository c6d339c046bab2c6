/* SPDX-License-Identifier: Apache-2.0 */
/* A /dev/shm of 8 MiB that only this test's process sees, and somebody who fills it. */
#ifndef TESTS_UNIT_SMALL_SHM_H
#define TESTS_UNIT_SMALL_SHM_H

#include <stdbool.h>
#include <stdint.h>

/* Mounts it in a mount namespace of this process; false, with errno, where that is impossible. */
bool small_shm_mount(void);
/* Says that it is impossible; main returns what this returns. */
int small_shm_skip(void);
/* Takes @size bytes of it until the fd is closed. */
int small_shm_take(uint64_t size);

#endif
