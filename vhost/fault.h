/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --vu-fault DEVICE:MESSAGE,ACTION...: what is to be done to which message of a device. The rules
 * and their counting; tap.c does what they say.
 *
 * A rule counts the messages it is about, over all connections of its device, and acts on the nth
 * and as many as `times` says. Parsing allocates; vu_fault_free frees.
 */
#ifndef VHOST_FAULT_H
#define VHOST_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/keyval.h"
#include "vhost/proto.h"

enum {
	VU_FAULT_FIELDS = 8,		/* corrupt= of one rule */
	VU_FAULT_FDS = 4,		/* extra-fds= */
};

/* corrupt=FIELD:VALUE, where it applies. */
struct vu_fault_field {
	uint32_t header_at;		/* offset in struct vu_header when in_header */
	bool in_header;
	uint16_t offset;		/* else in the payload */
	uint8_t size;			/* bytes */
	uint64_t value;
};

struct vu_fault {
	char *device;			/* id; owned */
	char *message;			/* name of the table; owned */
	struct keyval_list corrupt;	/* as written; owned */
	uint64_t nth, times, delay_ms, cut, extra_fds;
	bool answer, drop, duplicate, close, delay_given, cut_given;

	/* Of the above, resolved. */
	bool back;
	uint32_t id;
	struct vu_fault_field fields[VU_FAULT_FIELDS];

	uint64_t seen;			/* messages counted so far */
};

/* The keys, for --help and the manual page. */
extern const struct keyval vu_fault_keys[];

/* Parses the option's value. 0 or -EINVAL with @e; free either way. */
int vu_fault_parse(struct vu_fault *f, const char *text, struct err *e);
/* Works on a zeroed struct, twice. */
void vu_fault_free(struct vu_fault *f);

/* Counts a message that @f's device sent or received on that channel; whether @f acts on it. */
bool vu_fault_hits(struct vu_fault *f, bool back, bool answer, uint32_t id);
/* Changes the fields that @f says; those beyond the message's payload are left out. */
void vu_fault_corrupt(const struct vu_fault *f, struct vu_msg *m);
/* Adds what @f does to the list of words in @buf of @size bytes ("drop, close"). */
void vu_fault_words(const struct vu_fault *f, char *buf, size_t size);

#endif
