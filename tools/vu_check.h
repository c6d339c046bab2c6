/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `minivmm vu-check [TYPE,]socket=PATH`: whether a vhost-user daemon does what the specification
 * says. It plays a driver on shared memory of its own, without a guest and without KVM.
 */
#ifndef TOOLS_VU_CHECK_H
#define TOOLS_VU_CHECK_H

#include "base/keyval.h"

/* The keys of its argument, ended by key NULL; the manual page is tested against them. */
extern const struct keyval vu_check_keys[];

/* The verb's main function. 0: no rule failed; 1: one did, or nothing can be tried; 2: usage. */
int vu_check_main(int argc, char **argv);

#endif
