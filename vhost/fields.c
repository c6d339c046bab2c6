/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/fields.h"

#include <string.h>

#define FIELDS static const struct vu_field
#define NONE { 0 }
#define AT(type, field) offsetof(type, field), sizeof(((type *)0)->field), 0

#define STATE(what, kind) { "ring", AT(struct vu_vring_state, index), VU_FIELD_DEC }, \
	{ what, AT(struct vu_vring_state, num), kind }, NONE
#define U64(what, kind) { what, 0, 8, 0, kind }, NONE
#define REGION(base, type, stride_) \
	{ "gpa", base + offsetof(type, gpa), 8, stride_, VU_FIELD_HEX }, \
	{ "bytes", base + offsetof(type, size), 8, stride_, VU_FIELD_HEX }, \
	{ "user_addr", base + offsetof(type, user_addr), 8, stride_, VU_FIELD_HEX }, \
	{ "mmap_offset", base + offsetof(type, mmap_offset), 8, stride_, VU_FIELD_HEX }, NONE

FIELDS none[] = { NONE };
FIELDS result[] = { U64("result", VU_FIELD_HEX) };
FIELDS features[] = { U64("features", VU_FIELD_HEX) };
FIELDS protocol[] = { U64("protocol_features", VU_FIELD_PROTOCOL) };
FIELDS queues[] = { U64("queues", VU_FIELD_DEC) };
FIELDS slots[] = { U64("slots", VU_FIELD_DEC) };
FIELDS status[] = { U64("status", VU_FIELD_HEX) };
FIELDS mtu[] = { U64("mtu", VU_FIELD_DEC) };
FIELDS mac[] = { U64("mac", VU_FIELD_HEX) };
FIELDS session[] = { U64("session", VU_FIELD_HEX) };
FIELDS vring_num[] = { STATE("num", VU_FIELD_DEC) };
FIELDS vring_base[] = { STATE("base", VU_FIELD_HEX) };
FIELDS vring_enable[] = { STATE("enable", VU_FIELD_DEC) };
FIELDS vring_endian[] = { STATE("endian", VU_FIELD_DEC) };
/* Of the u64, bits 0 to 7 and bit 8: of a little-endian host, as all that KVM on x86 runs on. */
FIELDS vring_file[] = {
	{ "ring", 0, 1, 0, VU_FIELD_DEC }, { "no_fd", 1, 1, 0, VU_FIELD_DEC }, NONE
};
FIELDS vring_addr[] = {
	{ "ring", AT(struct vu_vring_addr, index), VU_FIELD_DEC },
	{ "ring_flags", AT(struct vu_vring_addr, flags), VU_FIELD_HEX },
	{ "desc", AT(struct vu_vring_addr, desc), VU_FIELD_HEX },
	{ "used", AT(struct vu_vring_addr, used), VU_FIELD_HEX },
	{ "avail", AT(struct vu_vring_addr, avail), VU_FIELD_HEX },
	{ "log", AT(struct vu_vring_addr, log), VU_FIELD_HEX },
	NONE
};
FIELDS mem_table[] = {
	{ "count", AT(struct vu_mem_table, count), VU_FIELD_DEC },
	REGION(offsetof(struct vu_mem_table, regions), struct vu_mem_region,
	       sizeof(struct vu_mem_region))
};
FIELDS mem_reg[] = { REGION(offsetof(struct vu_mem_reg, region), struct vu_mem_region, 0) };
FIELDS config[] = {
	{ "offset", AT(struct vu_config, offset), VU_FIELD_DEC },
	{ "config_size", AT(struct vu_config, size), VU_FIELD_DEC },
	{ "config_flags", AT(struct vu_config, flags), VU_FIELD_HEX },
	{ "config", sizeof(struct vu_config), 0, 0, VU_FIELD_BYTES },
	NONE
};
FIELDS inflight[] = {
	{ "mmap_size", AT(struct vu_inflight, mmap_size), VU_FIELD_HEX },
	{ "mmap_offset", AT(struct vu_inflight, mmap_offset), VU_FIELD_HEX },
	{ "num_queues", AT(struct vu_inflight, num_queues), VU_FIELD_DEC },
	{ "queue_size", AT(struct vu_inflight, queue_size), VU_FIELD_DEC },
	NONE
};
FIELDS shmem_config[] = {
	{ "nregions", AT(struct vu_shmem_config, nregions), VU_FIELD_DEC },
	{ "regions", offsetof(struct vu_shmem_config, sizes), 8, 8, VU_FIELD_HEX },
	NONE
};
FIELDS mapping[] = {
	{ "shmid", AT(struct vu_mmap, shmid), VU_FIELD_DEC },
	{ "fd_offset", AT(struct vu_mmap, fd_offset), VU_FIELD_HEX },
	{ "shm_offset", AT(struct vu_mmap, shm_offset), VU_FIELD_HEX },
	{ "len", AT(struct vu_mmap, len), VU_FIELD_HEX },
	{ "map_flags", AT(struct vu_mmap, flags), VU_FIELD_HEX },
	NONE
};
FIELDS log_base[] = {
	{ "mmap_size", 0, 8, 0, VU_FIELD_HEX }, { "mmap_offset", 8, 8, 0, VU_FIELD_HEX }, NONE
};
FIELDS device_state[] = {
	{ "direction", 0, 4, 0, VU_FIELD_DEC }, { "phase", 4, 4, 0, VU_FIELD_DEC }, NONE
};
FIELDS uuid[] = { { "uuid", 0, 0, 0, VU_FIELD_BYTES }, NONE };
FIELDS iotlb[] = {
	{ "iova", 0, 8, 0, VU_FIELD_HEX }, { "bytes", 8, 8, 0, VU_FIELD_HEX },
	{ "user_addr", 16, 8, 0, VU_FIELD_HEX }, { "access", 24, 1, 0, VU_FIELD_DEC },
	{ "iotlb_type", 25, 1, 0, VU_FIELD_DEC }, NONE
};
FIELDS notifier[] = {
	{ "ring", 0, 1, 0, VU_FIELD_DEC }, { "no_fd", 1, 1, 0, VU_FIELD_DEC },
	{ "bytes", 8, 8, 0, VU_FIELD_HEX }, { "mmap_offset", 16, 8, 0, VU_FIELD_HEX }, NONE
};

struct vu_payload_fields {
	const struct vu_field *request, *answer;	/* NULL: none; answer: that of REPLY_ACK */
};

static const struct vu_payload_fields main_fields[VU_REQUEST_END] = {
	[VU_GET_FEATURES] = { NULL, features },
	[VU_SET_FEATURES] = { features, NULL },
	[VU_SET_MEM_TABLE] = { mem_table, NULL },
	[VU_SET_LOG_BASE] = { log_base, NULL },
	[VU_SET_VRING_NUM] = { vring_num, NULL },
	[VU_SET_VRING_ADDR] = { vring_addr, NULL },
	[VU_SET_VRING_BASE] = { vring_base, NULL },
	[VU_GET_VRING_BASE] = { vring_base, vring_base },
	[VU_SET_VRING_KICK] = { vring_file, NULL },
	[VU_SET_VRING_CALL] = { vring_file, NULL },
	[VU_SET_VRING_ERR] = { vring_file, NULL },
	[VU_GET_PROTOCOL_FEATURES] = { NULL, protocol },
	[VU_SET_PROTOCOL_FEATURES] = { protocol, NULL },
	[VU_GET_QUEUE_NUM] = { NULL, queues },
	[VU_SET_VRING_ENABLE] = { vring_enable, NULL },
	[VU_SEND_RARP] = { mac, NULL },
	[VU_NET_SET_MTU] = { mtu, NULL },
	[VU_IOTLB_MSG] = { iotlb, NULL },
	[VU_SET_VRING_ENDIAN] = { vring_endian, NULL },
	[VU_GET_CONFIG] = { config, config },
	[VU_SET_CONFIG] = { config, NULL },
	[VU_CLOSE_CRYPTO_SESSION] = { session, NULL },
	[VU_GET_INFLIGHT_FD] = { inflight, inflight },
	[VU_SET_INFLIGHT_FD] = { inflight, NULL },
	[VU_VRING_KICK] = { vring_num, NULL },
	[VU_GET_MAX_MEM_SLOTS] = { NULL, slots },
	[VU_ADD_MEM_REG] = { mem_reg, NULL },
	[VU_REM_MEM_REG] = { mem_reg, NULL },
	[VU_SET_STATUS] = { status, NULL },
	[VU_GET_STATUS] = { NULL, status },
	[VU_GET_SHARED_OBJECT] = { uuid, NULL },
	[VU_SET_DEVICE_STATE_FD] = { device_state, NULL },
	[VU_GET_SHMEM_CONFIG] = { NULL, shmem_config },
	[VU_GET_VRING_BASE_SKIP_DRAIN] = { vring_base, vring_base },
};

static const struct vu_payload_fields back_fields[VU_BACKEND_REQUEST_END] = {
	[VU_BACKEND_IOTLB_MSG] = { iotlb, NULL },
	[VU_BACKEND_VRING_HOST_NOTIFIER_MSG] = { notifier, NULL },
	[VU_BACKEND_VRING_CALL] = { vring_num, NULL },
	[VU_BACKEND_VRING_ERR] = { vring_num, NULL },
	[VU_BACKEND_SHARED_OBJECT_ADD] = { uuid, NULL },
	[VU_BACKEND_SHARED_OBJECT_REMOVE] = { uuid, NULL },
	[VU_BACKEND_SHARED_OBJECT_LOOKUP] = { uuid, NULL },
	[VU_BACKEND_SHMEM_MAP] = { mapping, NULL },
	[VU_BACKEND_SHMEM_UNMAP] = { mapping, NULL },
};

const struct vu_field *vu_fields(bool back, uint32_t id, bool answer)
{
	const struct vu_payload_fields *all = back ? back_fields : main_fields;
	const struct vu_field *f;

	if (id >= (back ? (uint32_t)VU_BACKEND_REQUEST_END : (uint32_t)VU_REQUEST_END))
		return none;
	if (answer)
		f = all[id].answer ? all[id].answer : result;
	else
		f = all[id].request ? all[id].request : none;
	return f;
}

uint64_t vu_field_get(const struct vu_field *f, const uint8_t *payload)
{
	uint64_t n = 0;

	memcpy(&n, payload + f->offset, f->size);
	return n;
}
