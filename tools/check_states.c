/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of what a daemon tells and keeps: config, shared memory regions, in-flight, status. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/range.h"
#include "tools/check.h"

enum {
	CONFIG_LEN = 8,			/* the first field of the least config space there is */
	CONFIG_FAR = 0xfff0,		/* no config space has it */
	STATUS_SEEN = 3,		/* ACKNOWLEDGE, DRIVER: VIRTIO 1.3, 2.1 */
};

/* An answered GET_CONFIG. */
static int get_config(struct check *c, uint32_t off, uint32_t len, struct vu_msg *ret)
{
	*ret = vu_client_msg(VU_GET_CONFIG);
	ret->payload.config.head = (struct vu_config){ .offset = off, .size = len };
	ret->header.size = sizeof(struct vu_config) + len;
	return vu_client_ask(&c->client, ret, &c->e);
}

static int config(struct check *c)
{
	struct vu_msg m;
	int r = get_config(c, 0, CONFIG_LEN, &m);

	if (r)
		return r;
	vu_msg_close_fds(&m);
	if (m.header.size != sizeof(struct vu_config) + CONFIG_LEN)
		return check_fail(c, "a question of %d bytes is answered with %d", CONFIG_LEN,
				  (int)(m.header.size - sizeof(struct vu_config)));
	return 0;
}

static int config_parts(struct check *c)
{
	struct vu_msg whole, half;
	int r = get_config(c, 0, CONFIG_LEN, &whole);

	if (!r)
		r = get_config(c, CONFIG_LEN / 2, CONFIG_LEN / 2, &half);
	if (r)
		return r;
	if (whole.header.size != sizeof(struct vu_config) + CONFIG_LEN)
		return check_skip(c, "the answer has not the size of the question");
	if (half.header.size == sizeof(struct vu_config) + CONFIG_LEN / 2 &&
	    memcmp(half.payload.config.data, whole.payload.config.data + CONFIG_LEN / 2,
		   CONFIG_LEN / 2) == 0)
		return 0;
	return check_fail(c, "bytes %d to %d are others than when asked for with those before",
			  CONFIG_LEN / 2, CONFIG_LEN - 1);
}

static int config_far(struct check *c)
{
	struct vu_msg m;
	int r = get_config(c, CONFIG_FAR, CONFIG_LEN, &m);

	if (r == -ECONNRESET)
		return 0;
	if (r || m.header.size <= sizeof(struct vu_config))
		return r;
	return check_fail(c, "bytes 0x%x and on are answered as if they were there", CONFIG_FAR);
}

static int get_shmem(struct check *c, struct vu_shmem_config *ret)
{
	struct vu_msg m = vu_client_msg(VU_GET_SHMEM_CONFIG);
	int r = vu_client_ask(&c->client, &m, &c->e);

	if (r)
		return r;
	vu_msg_close_fds(&m);
	*ret = m.payload.shmem;
	return 0;
}

static int shmem(struct check *c)
{
	struct vu_shmem_config first, second;
	unsigned count = 0;
	int r = get_shmem(c, &first);

	if (!r)
		r = get_shmem(c, &second);
	if (r)
		return r;
	for (unsigned i = 0; i < VU_SHMEM_REGIONS; i++) {
		count += first.sizes[i] != 0;
		if (first.sizes[i] % VU_SHMEM_PAGE)
			return check_fail(c, "region %u has 0x%" PRIx64 " bytes, no multiple of a page",
					  i, first.sizes[i]);
	}
	if (count != first.nregions)
		return check_fail(c, "%u regions are counted, %u have a size", first.nregions, count);
	if (memcmp(&first, &second, sizeof(first)))
		return check_fail(c, "a second answer is another one");
	return 0;
}

/* GET_INFLIGHT_FD for the queues of the device: an answer, its fd the caller's. */
static int get_inflight(struct check *c, struct vu_msg *ret)
{
	*ret = vu_client_msg(VU_GET_INFLIGHT_FD);
	ret->payload.inflight = (struct vu_inflight){
		.num_queues = c->device ? c->device->queues : 1, .queue_size = DRIVER_RING_SIZE,
	};
	ret->header.size = sizeof(ret->payload.inflight);
	return vu_client_ask(&c->client, ret, &c->e);
}

static int inflight(struct check *c)
{
	struct vu_msg m;
	struct stat st = { 0 };
	int r = get_inflight(c, &m);
	const struct vu_inflight *got = &m.payload.inflight;

	if (r)
		return r;
	if (got->mmap_size && !m.nfds)
		r = check_fail(c, "a buffer of %" PRIu64 " bytes comes without file descriptor",
			       got->mmap_size);
	else if (got->mmap_size && !fstat(m.fds[0], &st) && S_ISREG(st.st_mode) &&
		 !range_ok(got->mmap_offset, got->mmap_size, (uint64_t)st.st_size))
		r = check_fail(c, "a buffer of %" PRIu64 " bytes is in a file of %" PRIu64,
			       got->mmap_size, (uint64_t)st.st_size);
	vu_msg_close_fds(&m);
	return r;
}

/* The buffer goes back before the rings start, as it does after a daemon was restarted. */
static int inflight_served(struct check *c)
{
	struct vu_msg m, back = vu_client_msg(VU_SET_INFLIGHT_FD);
	int r = get_inflight(c, &m);

	if (r)
		return r;
	if (!m.payload.inflight.mmap_size || !m.nfds) {
		vu_msg_close_fds(&m);
		return check_skip(c, "the daemon wants no buffer");
	}
	back.payload.inflight = m.payload.inflight;
	back.payload.inflight.num_queues = c->device->queues;
	back.payload.inflight.queue_size = DRIVER_RING_SIZE;
	back.header.size = sizeof(back.payload.inflight);
	back.fds[0] = m.fds[0];
	back.nfds = 1;
	r = check_tell(c, back);
	vu_msg_close_fds(&m);
	if (!r)
		r = check_start(c, c->device->queues, 0);
	if (!r)
		r = check_enable(c, true);
	return r ? r : check_serve(c);
}

static int status(struct check *c)
{
	uint64_t got;
	int r = check_tell(c, vu_client_msg_u64(VU_SET_STATUS, STATUS_SEEN));

	if (!r)
		r = vu_client_get(&c->client, VU_GET_STATUS, &got, &c->e);
	if (r)
		return r;
	if ((got & STATUS_SEEN) != STATUS_SEEN)
		return check_fail(c, "after status 0x%x, GET_STATUS gives 0x%" PRIx64, STATUS_SEEN, got);
	return 0;
}

static int status_reset(struct check *c)
{
	uint64_t got;
	int r = check_tell(c, vu_client_msg_u64(VU_SET_STATUS, STATUS_SEEN));

	if (!r)
		r = check_tell(c, vu_client_msg_u64(VU_SET_STATUS, 0));
	if (!r)
		r = vu_client_get(&c->client, VU_GET_STATUS, &got, &c->e);
	if (r || !got)
		return r;
	return check_fail(c, "after status 0, GET_STATUS gives 0x%" PRIx64, got);
}

static int queue_num(struct check *c)
{
	uint64_t queues;
	int r = vu_client_get(&c->client, VU_GET_QUEUE_NUM, &queues, &c->e);

	if (r)
		return r;
	if (!queues || queues > VU_VRING_IDX_MASK + 1)
		return check_fail(c, "GET_QUEUE_NUM gives %" PRIu64 ", 1 to 256 can be named", queues);
	return 0;
}

#define CONFIG .from = CHECK_FROM_NEGOTIATED, .protocol = BIT64(VU_PF_CONFIG)
#define INFLIGHT .protocol = BIT64(VU_PF_INFLIGHT_SHMFD)
#define STATUS .from = CHECK_FROM_NEGOTIATED, .protocol = BIT64(VU_PF_STATUS)

const struct check_rule check_state_rules[] = {
	{ "state.queues", "Multiple queue support", "the number of queues is one that can be",
	  .from = CHECK_FROM_NEGOTIATED, .protocol = BIT64(VU_PF_MQ), .run = queue_num },
	{ "config.size", "Front-end message types: GET_CONFIG",
	  "an answer has as many bytes of config space as were asked for", CONFIG, .run = config },
	{ "config.offset", "Front-end message types: GET_CONFIG",
	  "bytes of the config space are those at the offset asked for", CONFIG,
	  .run = config_parts },
	{ "config.beyond", "Front-end message types: GET_CONFIG",
	  "what is beyond every config space is not answered", CONFIG, .run = config_far },
	{ "shmem.config", "VIRTIO Shared Memory Region configuration",
	  "regions are counted, of whole pages, and stay", .from = CHECK_FROM_NEGOTIATED,
	  .protocol = BIT64(VU_PF_SHMEM), .run = shmem },
	{ "inflight.buffer", "Inflight I/O tracking",
	  "the buffer for requests in flight is a file that is large enough",
	  .from = CHECK_FROM_MEMORY, INFLIGHT, .run = inflight },
	{ "inflight.served", "Inflight I/O tracking", "rings with that buffer are served",
	  .from = CHECK_FROM_MEMORY, INFLIGHT, .requests = true, .run = inflight_served },
	{ "status.kept", "Front-end message types: SET_STATUS, GET_STATUS",
	  "a device status that was set is told", STATUS, .run = status },
	{ "status.reset", "Front-end message types: SET_STATUS",
	  "after status 0 the status is 0", STATUS, .run = status_reset },
	{ .id = NULL },
};
