/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Daemons that are not what the specification says. A quirk cannot be told from what a daemon
 * offers, so the user names it (quirk=); then the front end speaks as the daemon understands.
 */
#ifndef VHOST_QUIRK_H
#define VHOST_QUIRK_H

#include <stdint.h>

#include "vhost/proto.h"

/* A protocol feature that is on another bit than its own. */
struct vu_quirk {
	const char *name;		/* of quirk= */
	uint8_t bit;			/* what the daemon offers and expects to be acked */
	uint8_t feature;		/* what it means: an enum vu_protocol_feature */
	const char *who;		/* the daemons, for messages and the manual */
};

/* Ended by name NULL. */
extern const struct vu_quirk vu_quirks[];

/* NULL when there is none of that name. */
const struct vu_quirk *vu_quirk_named(const char *name);
/* "a, b" of all names, cut off to @size bytes; returns @buf. */
const char *vu_quirk_list(char *buf, size_t size);

/* What a daemon that has @q (NULL: none) means by its @offer, in the specification's bits. One that
 * also offers the feature on its own bit has been mended, and its offer is what it says. */
uint64_t vu_quirk_read(const struct vu_quirk *q, uint64_t offer);
/* How it is told of @acked, which are the specification's bits, after that @offer. */
uint64_t vu_quirk_write(const struct vu_quirk *q, uint64_t offer, uint64_t acked);
/* The quirk with which a daemon of that @offer would have all of @missing; NULL: none. */
const struct vu_quirk *vu_quirk_to_get(uint64_t missing, uint64_t offer);

#endif
