/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user protocol's words: message ids, payloads, feature bits, and one table of each that
 * traces, checks and documentation read. Source: the vhost-user specification, "Message
 * Specification", "Protocol features", "Front-end message types", "Back-end message types".
 */
#ifndef VHOST_PROTO_H
#define VHOST_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	VU_FLAG_VERSION = 0x1,
	VU_FLAG_VERSION_MASK = 0x3,
	VU_FLAG_REPLY = 0x4,
	VU_FLAG_NEED_REPLY = 0x8,
};

struct vu_header {
	uint32_t request, flags, size;
};

enum vu_request {
	VU_GET_FEATURES = 1, VU_SET_FEATURES, VU_SET_OWNER, VU_RESET_OWNER, VU_SET_MEM_TABLE,
	VU_SET_LOG_BASE, VU_SET_LOG_FD, VU_SET_VRING_NUM, VU_SET_VRING_ADDR, VU_SET_VRING_BASE,
	VU_GET_VRING_BASE, VU_SET_VRING_KICK, VU_SET_VRING_CALL, VU_SET_VRING_ERR,
	VU_GET_PROTOCOL_FEATURES, VU_SET_PROTOCOL_FEATURES, VU_GET_QUEUE_NUM, VU_SET_VRING_ENABLE,
	VU_SEND_RARP, VU_NET_SET_MTU, VU_SET_BACKEND_REQ_FD, VU_IOTLB_MSG, VU_SET_VRING_ENDIAN,
	VU_GET_CONFIG, VU_SET_CONFIG, VU_CREATE_CRYPTO_SESSION, VU_CLOSE_CRYPTO_SESSION,
	VU_POSTCOPY_ADVISE, VU_POSTCOPY_LISTEN, VU_POSTCOPY_END, VU_GET_INFLIGHT_FD,
	VU_SET_INFLIGHT_FD, VU_GPU_SET_SOCKET, VU_RESET_DEVICE, VU_VRING_KICK,
	VU_GET_MAX_MEM_SLOTS, VU_ADD_MEM_REG, VU_REM_MEM_REG, VU_SET_STATUS, VU_GET_STATUS,
	VU_GET_SHARED_OBJECT, VU_SET_DEVICE_STATE_FD, VU_CHECK_DEVICE_STATE, VU_GET_SHMEM_CONFIG,
	VU_GET_VRING_BASE_SKIP_DRAIN,
	VU_REQUEST_END
};

enum vu_backend_request {
	VU_BACKEND_IOTLB_MSG = 1, VU_BACKEND_CONFIG_CHANGE_MSG, VU_BACKEND_VRING_HOST_NOTIFIER_MSG,
	VU_BACKEND_VRING_CALL, VU_BACKEND_VRING_ERR, VU_BACKEND_SHARED_OBJECT_ADD,
	VU_BACKEND_SHARED_OBJECT_REMOVE, VU_BACKEND_SHARED_OBJECT_LOOKUP, VU_BACKEND_SHMEM_MAP,
	VU_BACKEND_SHMEM_UNMAP,
	VU_BACKEND_REQUEST_END
};

/* Protocol feature bits (numbers). */
enum vu_protocol_feature {
	VU_PF_MQ, VU_PF_LOG_SHMFD, VU_PF_RARP, VU_PF_REPLY_ACK, VU_PF_MTU, VU_PF_BACKEND_REQ,
	VU_PF_CROSS_ENDIAN, VU_PF_CRYPTO_SESSION, VU_PF_PAGEFAULT, VU_PF_CONFIG,
	VU_PF_BACKEND_SEND_FD, VU_PF_HOST_NOTIFIER, VU_PF_INFLIGHT_SHMFD, VU_PF_RESET_DEVICE,
	VU_PF_INBAND_NOTIFICATIONS, VU_PF_CONFIGURE_MEM_SLOTS, VU_PF_STATUS, VU_PF_XEN_MMAP,
	VU_PF_SHARED_OBJECT, VU_PF_DEVICE_STATE, VU_PF_GET_VRING_BASE_INFLIGHT,
	VU_PF_GPA_ADDRESSES, VU_PF_SHMEM, VU_PF_GET_VRING_BASE_SKIP_DRAIN,
	VU_PF_END
};

enum {
	VU_F_LOG_ALL = 26,		/* virtio feature bit: dirty logging */
	VU_F_PROTOCOL_FEATURES = 30,	/* virtio feature bit: gate of the above, not for guests */
	VU_MEM_TABLE_MAX = 8,		/* regions in one SET_MEM_TABLE */
	VU_CONFIG_MAX = 256,		/* bytes of config space in one message */
	VU_VRING_IDX_MASK = 0xff,
	VU_VRING_NOFD = 0x100,		/* in the u64 of KICK, CALL, ERR */
	VU_SHMEM_REGIONS = 256,		/* shmids a device can have */
	VU_SHMEM_PAGE = 4096,		/* a region is a multiple of it */
	VU_SHMEM_RW = 0x1,		/* in the flags of SHMEM_MAP: writable */
};

struct vu_mem_region {
	uint64_t gpa, size, user_addr, mmap_offset;
};

struct vu_mem_table {
	uint32_t count, padding;
	struct vu_mem_region regions[VU_MEM_TABLE_MAX];
};

struct vu_mem_reg {		/* ADD_MEM_REG, REM_MEM_REG */
	uint64_t padding;
	struct vu_mem_region region;
};

struct vu_vring_state {
	uint32_t index, num;
};

struct vu_vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;	/* wire order: used before avail */
};

struct vu_config {		/* header; `size` bytes follow */
	uint32_t offset, size, flags;
};

struct vu_inflight {
	uint64_t mmap_size, mmap_offset;
	uint16_t num_queues, queue_size;
	uint32_t padding;
};

struct vu_shmem_config {
	uint32_t nregions, padding;
	uint64_t sizes[VU_SHMEM_REGIONS];
};

struct vu_mmap {		/* SHMEM_MAP, SHMEM_UNMAP */
	uint8_t shmid, padding[7];
	uint64_t fd_offset, shm_offset, len, flags;
};

/* What SHMEM_MAP and SHMEM_UNMAP ask for, as the callers at both ends see it. All in bytes. */
struct vu_shmem_map {
	uint8_t shmid;		/* the region */
	bool rw;		/* MAP: the guest may write, too; UNMAP: false */
	uint64_t fd_offset;	/* MAP: where in the fd the mapping begins; UNMAP: 0 */
	uint64_t shm_offset;	/* where in the region */
	uint64_t len;
};

/* Largest payload either side may send us; a header that says more ends the connection. */
enum { VU_PAYLOAD_MAX = sizeof(struct vu_shmem_config) };

union vu_payload {
	uint64_t u64;
	struct vu_mem_table mem_table;
	struct vu_mem_reg mem_reg;
	struct vu_vring_state state;
	struct vu_vring_addr addr;
	struct { struct vu_config head; uint8_t data[VU_CONFIG_MAX]; } config;
	struct vu_inflight inflight;
	struct vu_shmem_config shmem;
	struct vu_mmap mmap;
	uint8_t bytes[VU_PAYLOAD_MAX];
};

/* One message: header, payload of header.size bytes, and fds that travel with its first byte. */
struct vu_msg {
	struct vu_header header;
	union vu_payload payload;
	int fds[8];		/* a received message owns them until taken; a sent one borrows */
	size_t nfds;
};

/* What a message looks like on the wire. One row an id; `name` NULL where the id does not exist. */
struct vu_msg_type {
	const char *name;		/* as the specification writes it, without VHOST_USER_ */
	uint16_t size_min, size_max;	/* request payload, bytes */
	uint8_t fds_min, fds_max;	/* with the request */
	bool replies;			/* answered always, not only when need_reply asks */
	uint16_t reply_min, reply_max;	/* reply payload, bytes */
	uint8_t reply_fds_max;
	int8_t feature;			/* protocol feature that allows it; -1: none needed */
};

extern const struct vu_msg_type vu_msg_types[VU_REQUEST_END];
extern const struct vu_msg_type vu_backend_msg_types[VU_BACKEND_REQUEST_END];

/* "SET_FEATURES", or "unknown request". */
const char *vu_request_name(uint32_t request);
const char *vu_backend_request_name(uint32_t request);

/* One row a protocol feature: implemented by front end, by backend library, or why never. */
struct vu_feature {
	const char *name;	/* without VHOST_USER_PROTOCOL_F_ */
	bool frontend;		/* the front end acks it when a daemon offers it */
	bool backend;		/* the backend library offers it */
	uint64_t needs;		/* mask of features without which this one is not acked */
	const char *why_not;	/* when the front end never acks it: why, for the manual */
};

extern const struct vu_feature vu_features[VU_PF_END];

/* What the front end acks of @offered: offered and implemented, and everything those need too. */
uint64_t vu_features_ack(uint64_t offered);

#endif
