/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/quirk.h"

#include <string.h>

#include "base/err.h"
#include "base/range.h"

const struct vu_quirk vu_quirks[] = {
	/* Never acked as what the specification has there: see frontend_connect.c. */
	{ "shmem-bit-21", VU_PF_GPA_ADDRESSES, VU_PF_SHMEM,
	  "daemons on release 0.16 of the Rust crate vhost" },
	{ .name = NULL },
};

const struct vu_quirk *vu_quirk_named(const char *name)
{
	for (const struct vu_quirk *q = vu_quirks; q->name; q++)
		if (!strcmp(q->name, name))
			return q;
	return NULL;
}

const char *vu_quirk_list(char *buf, size_t size)
{
	buf[0] = '\0';
	for (const struct vu_quirk *q = vu_quirks; q->name; q++)
		err_list_add(buf, size, q->name);
	return buf;
}

static bool shows(const struct vu_quirk *q, uint64_t offer)
{
	return q && offer & BIT64(q->bit) && !(offer & BIT64(q->feature));
}

uint64_t vu_quirk_read(const struct vu_quirk *q, uint64_t offer)
{
	return shows(q, offer) ? (offer & ~BIT64(q->bit)) | BIT64(q->feature) : offer;
}

uint64_t vu_quirk_write(const struct vu_quirk *q, uint64_t offer, uint64_t acked)
{
	if (!shows(q, offer) || !(acked & BIT64(q->feature)))
		return acked;
	return (acked & ~BIT64(q->feature)) | BIT64(q->bit);
}

const struct vu_quirk *vu_quirk_to_get(uint64_t missing, uint64_t offer)
{
	for (const struct vu_quirk *q = vu_quirks; q->name; q++)
		if (shows(q, offer) && !(missing & ~vu_features_ack(vu_quirk_read(q, offer))))
			return q;
	return NULL;
}
