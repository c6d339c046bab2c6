/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/range.h"
#include "vhost/fields.h"

#define FIELD(f) offsetof(struct vu_fault, f)
#define GIVEN(f) .given = offsetof(struct vu_fault, f)

enum { DELAY_MAX_MS = 600000, EVER = INT32_MAX };

const struct keyval vu_fault_keys[] = {
	{ "message", KEYVAL_STRING, FIELD(message),
	  .help = "the message's name in the specification, without VHOST_USER_; the key may be left out in front" },
	{ "answer", KEYVAL_BOOL, FIELD(answer), .help = "not the request but what it is answered" },
	{ "nth", KEYVAL_UINT, FIELD(nth), .min = 1, .max = EVER,
	  .help = "the first such message that is meant, counted over all connections (default: 1)" },
	{ "times", KEYVAL_UINT, FIELD(times), .min = 1, .max = EVER,
	  .help = "how many are meant from there on (default: 1)" },
	{ "drop", KEYVAL_BOOL, FIELD(drop), .help = "it does not arrive" },
	{ "delay", KEYVAL_UINT, FIELD(delay_ms), .min = 1, .max = DELAY_MAX_MS, GIVEN(delay_given),
	  .help = "it, and what follows it, arrives so many milliseconds later" },
	{ "duplicate", KEYVAL_BOOL, FIELD(duplicate), .help = "it arrives twice" },
	{ "corrupt", KEYVAL_LIST, FIELD(corrupt),
	  .help = "FIELD:VALUE, a field by its name in a trace, or id, flags, size, or a byte of the payload by its"
		  " number; repeatable" },
	{ "short", KEYVAL_UINT, FIELD(cut), .max = sizeof(struct vu_header) + VU_PAYLOAD_MAX, GIVEN(cut_given),
	  .help = "its first so many bytes arrive, header included, and nothing after them" },
	{ "extra-fds", KEYVAL_UINT, FIELD(extra_fds), .min = 1, .max = VU_FAULT_FDS,
	  .help = "so many descriptors more arrive with it" },
	{ "close", KEYVAL_BOOL, FIELD(close), .help = "the channel is closed instead" },
	{ 0 },
};

static int find_message(struct vu_fault *f, struct err *e)
{
	for (uint32_t i = 0; i < VU_REQUEST_END; i++)
		if (vu_msg_types[i].name && !strcmp(vu_msg_types[i].name, f->message)) {
			f->id = i;
			return 0;
		}
	f->back = true;
	for (uint32_t i = 0; i < VU_BACKEND_REQUEST_END; i++)
		if (vu_backend_msg_types[i].name &&
		    !strcmp(vu_backend_msg_types[i].name, f->message)) {
			f->id = i;
			return 0;
		}
	return err_set(e, -EINVAL, "--vu-fault: %s is no message; the specification's names without VHOST_USER_ are,"
		       " such as SET_VRING_KICK or BACKEND_CONFIG_CHANGE_MSG", f->message);
}

/* Where the field called @name is. */
static int find_field(const struct vu_fault *f, const char *name, struct vu_fault_field *ret,
		      struct err *e)
{
	static const char *const header[] = { "id", "flags", "size" };
	char known[256] = "id, flags, size";
	uint64_t byte;

	for (unsigned i = 0; i < ARRAY_SIZE(header); i++)
		if (!strcmp(name, header[i])) {
			*ret = (struct vu_fault_field){ .in_header = true, .header_at = 4 * i,
							.size = 4 };
			return 0;
		}
	if (*name >= '0' && *name <= '9') {
		if (uint_parse("--vu-fault: corrupt: byte", name, 0, VU_PAYLOAD_MAX - 1, &byte, e))
			return -EINVAL;
		*ret = (struct vu_fault_field){ .offset = (uint16_t)byte, .size = 1 };
		return 0;
	}
	for (const struct vu_field *p = vu_fields(f->back, f->id, f->answer); p->name; p++) {
		if (!strcmp(name, p->name) && p->kind != VU_FIELD_BYTES) {
			*ret = (struct vu_fault_field){ .offset = p->offset, .size = p->size };
			return 0;
		}
		if (p->kind != VU_FIELD_BYTES)
			err_list_add(known, sizeof(known), p->name);
	}
	return err_set(e, -EINVAL, "--vu-fault: corrupt: %s%s has no field %s, but %s, and bytes by number",
		       f->answer ? "the answer to " : "", f->message, name, known);
}

static int parse_field(const struct vu_fault *f, char *text, struct vu_fault_field *ret,
		       struct err *e)
{
	char *value = strchr(text, ':');
	uint64_t max;

	if (!value)
		return err_set(e, -EINVAL, "--vu-fault: corrupt: %s is not FIELD:VALUE", text);
	*value++ = '\0';
	if (find_field(f, text, ret, e) < 0)
		return -EINVAL;
	max = ret->size == 8 ? UINT64_MAX : BIT64(8 * ret->size) - 1;
	return uint_parse("--vu-fault: corrupt", value, 0, max, &ret->value, e);
}

static int check(struct vu_fault *f, struct err *e)
{
	bool acts = f->drop || f->delay_given || f->duplicate || f->corrupt.count || f->cut_given ||
		    f->extra_fds || f->close;
	bool passes = acts && !f->drop && !f->close;

	if (!f->message)
		return err_set(e, -EINVAL, "--vu-fault: %s: which message? As in blk0:SET_VRING_KICK,drop",
			       f->device);
	if (!acts)
		return err_set(e, -EINVAL, "--vu-fault: what is to happen to %s? One or more of drop, delay, duplicate,"
			       " corrupt, short, extra-fds, close", f->message);
	if (!passes && (f->delay_given || f->duplicate || f->corrupt.count || f->cut_given ||
			f->extra_fds || (f->drop && f->close)))
		return err_set(e, -EINVAL, "--vu-fault: %s: after drop or close nothing is left to do something else to",
			       f->message);
	if (f->corrupt.count > VU_FAULT_FIELDS)
		return err_set(e, -EINVAL, "--vu-fault: %s: at most %d times corrupt", f->message,
			       VU_FAULT_FIELDS);
	return find_message(f, e);
}

int vu_fault_parse(struct vu_fault *f, const char *text, struct err *e)
{
	const char *rule = strchr(text, ':');
	int r;

	*f = (struct vu_fault){ .nth = 1, .times = 1 };
	if (!rule || rule == text)
		return err_set(e, -EINVAL, "--vu-fault: %s does not begin with a device's name and a colon, as in"
			       " blk0:SET_VRING_KICK,drop", text);
	f->device = strndup(text, (size_t)(rule - text));
	if (!f->device)
		return err_set(e, -ENOMEM, "--vu-fault: out of memory");
	r = keyval_parse("--vu-fault", rule + 1, "message", vu_fault_keys, f, e);
	if (r == 0)
		r = check(f, e);
	for (unsigned i = 0; i < f->corrupt.count && r == 0; i++)
		r = parse_field(f, f->corrupt.items[i], &f->fields[i], e);
	return r;
}

void vu_fault_free(struct vu_fault *f)
{
	keyval_free(vu_fault_keys, f);
	free(f->device);
	f->device = NULL;
}

bool vu_fault_hits(struct vu_fault *f, bool back, bool answer, uint32_t id)
{
	if (f->back != back || f->answer != answer || f->id != id)
		return false;
	f->seen++;
	return f->seen >= f->nth && f->seen - f->nth < f->times;
}

void vu_fault_corrupt(const struct vu_fault *f, struct vu_msg *m)
{
	uint32_t len = m->header.size;

	for (unsigned i = 0; i < f->corrupt.count; i++) {
		const struct vu_fault_field *at = &f->fields[i];

		if (at->in_header)
			memcpy((uint8_t *)&m->header + at->header_at, &at->value, at->size);
		else if (range_ok(at->offset, at->size, len))
			memcpy(m->payload.bytes + at->offset, &at->value, at->size);
	}
}

void vu_fault_words(const struct vu_fault *f, char *buf, size_t size)
{
	if (f->drop)
		err_list_add(buf, size, "drop");
	if (f->delay_given)
		err_list_add(buf, size, "delay");
	if (f->duplicate)
		err_list_add(buf, size, "duplicate");
	if (f->corrupt.count)
		err_list_add(buf, size, "corrupt");
	if (f->cut_given)
		err_list_add(buf, size, "short");
	if (f->extra_fds)
		err_list_add(buf, size, "extra-fds");
	if (f->close)
		err_list_add(buf, size, "close");
}
