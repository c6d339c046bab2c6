/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that the VMM forks before it has a thread, and that end when it does. */
#ifndef VMM_CHILD_H
#define VMM_CHILD_H

#include <sys/types.h>

/* fork(2). The child ignores the signals of a terminal, which are meant for the VMM, and there is
 * no moment in which one could end it. */
pid_t child_fork(void);

#endif
