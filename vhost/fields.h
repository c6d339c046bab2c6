/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the payload of a message holds, by name: what traces show and faults may change. Beside the
 * table of proto.h, which says how large a payload is. Sources as there.
 */
#ifndef VHOST_FIELDS_H
#define VHOST_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

#include "vhost/proto.h"

enum vu_field_kind {
	VU_FIELD_DEC, VU_FIELD_HEX,
	VU_FIELD_PROTOCOL,	/* a mask of protocol features */
	VU_FIELD_BYTES,		/* from offset to the payload's end */
};

struct vu_field {
	const char *name;
	uint16_t offset;	/* in the payload, bytes */
	uint8_t size;		/* 1, 2, 4 or 8 bytes of a number; 0 of VU_FIELD_BYTES */
	uint8_t stride;		/* 0; or bytes between elements of an array, to the payload's end */
	enum vu_field_kind kind;
};

/* The fields of request @id of the main or @back channel, or of its answer; they end with a row
 * without a name. An id or answer without any has an empty table. */
const struct vu_field *vu_fields(bool back, uint32_t id, bool answer);

/* The number that @f is in @payload, of element 0. Not of VU_FIELD_BYTES. */
uint64_t vu_field_get(const struct vu_field *f, const uint8_t *payload);

#endif
