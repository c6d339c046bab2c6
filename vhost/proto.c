/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/proto.h"

#include <assert.h>

#include "base/range.h"

/* Sizes the specification fixes; a compiler that pads otherwise cannot build this. */
static_assert(sizeof(struct vu_header) == 12, "message header");
static_assert(sizeof(struct vu_mem_region) == 32, "memory region");
static_assert(sizeof(struct vu_mem_table) == 8 + 32 * VU_MEM_TABLE_MAX, "memory table");
static_assert(sizeof(struct vu_mem_reg) == 40, "single memory region");
static_assert(sizeof(struct vu_vring_state) == 8, "vring state");
static_assert(sizeof(struct vu_vring_addr) == 40, "vring address");
static_assert(sizeof(struct vu_config) == 12, "device configuration");
static_assert(sizeof(struct vu_inflight) == 24, "in-flight description, its tail padding included");
static_assert(sizeof(struct vu_shmem_config) == 2056, "shared memory configuration");
static_assert(sizeof(struct vu_mmap) == 40, "shared memory mapping");

enum {
	U64 = sizeof(uint64_t),
	STATE = sizeof(struct vu_vring_state),
	CONFIG_HEAD = sizeof(struct vu_config),
	CONFIG_FULL = sizeof(struct vu_config) + VU_CONFIG_MAX,
	IOTLB = 32,
	LOG = 16,
	SHMEM = sizeof(struct vu_shmem_config),
	UUID = 16,
	HOST_NOTIFIER_AREA = 24,
	DEVICE_STATE = 8,
};

#define SIZE(n)			.size_min = (n), .size_max = (n)
#define SIZES(min, max)		.size_min = (min), .size_max = (max)
#define FDS(min, max)		.fds_min = (min), .fds_max = (max)
/* No answer of its own: only the u64 of REPLY_ACK, when it was asked for. */
#define ACK			.reply_min = U64, .reply_max = U64
#define REPLIES(min, max)	.replies = true, .reply_min = (min), .reply_max = (max)
#define ALWAYS			.feature = -1
#define GATE(pf)		.feature = (pf)

/*
 * "Front-end message types". SET_VRING_ENABLE and the two of protocol features have no bit of
 * their own: virtio feature bit 30 allows them. A GET_CONFIG that failed is answered without
 * payload; a SET_LOG_BASE is answered with or without one.
 */
const struct vu_msg_type vu_msg_types[VU_REQUEST_END] = {
	[VU_GET_FEATURES] = { "GET_FEATURES", SIZE(0), REPLIES(U64, U64), ALWAYS },
	[VU_SET_FEATURES] = { "SET_FEATURES", SIZE(U64), ACK, ALWAYS },
	[VU_SET_OWNER] = { "SET_OWNER", SIZE(0), ACK, ALWAYS },
	[VU_RESET_OWNER] = { "RESET_OWNER", SIZE(0), ACK, ALWAYS },
	[VU_SET_MEM_TABLE] = { "SET_MEM_TABLE", SIZES(8, sizeof(struct vu_mem_table)),
			       FDS(0, VU_MEM_TABLE_MAX), ACK, ALWAYS },
	[VU_SET_LOG_BASE] = { "SET_LOG_BASE", SIZE(LOG), FDS(1, 1), REPLIES(0, U64),
			      GATE(VU_PF_LOG_SHMFD) },
	[VU_SET_LOG_FD] = { "SET_LOG_FD", SIZE(0), FDS(1, 1), ACK, ALWAYS },
	[VU_SET_VRING_NUM] = { "SET_VRING_NUM", SIZE(STATE), ACK, ALWAYS },
	[VU_SET_VRING_ADDR] = { "SET_VRING_ADDR", SIZE(sizeof(struct vu_vring_addr)), ACK, ALWAYS },
	[VU_SET_VRING_BASE] = { "SET_VRING_BASE", SIZE(STATE), ACK, ALWAYS },
	[VU_GET_VRING_BASE] = { "GET_VRING_BASE", SIZE(STATE), REPLIES(STATE, STATE), ALWAYS },
	[VU_SET_VRING_KICK] = { "SET_VRING_KICK", SIZE(U64), FDS(0, 1), ACK, ALWAYS },
	[VU_SET_VRING_CALL] = { "SET_VRING_CALL", SIZE(U64), FDS(0, 1), ACK, ALWAYS },
	[VU_SET_VRING_ERR] = { "SET_VRING_ERR", SIZE(U64), FDS(0, 1), ACK, ALWAYS },
	[VU_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", SIZE(0), REPLIES(U64, U64),
				       ALWAYS },
	[VU_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", SIZE(U64), ACK, ALWAYS },
	[VU_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", SIZE(0), REPLIES(U64, U64), GATE(VU_PF_MQ) },
	[VU_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", SIZE(STATE), ACK, ALWAYS },
	[VU_SEND_RARP] = { "SEND_RARP", SIZE(U64), ACK, GATE(VU_PF_RARP) },
	[VU_NET_SET_MTU] = { "NET_SET_MTU", SIZE(U64), ACK, GATE(VU_PF_MTU) },
	[VU_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", SIZE(0), FDS(1, 1), ACK,
				    GATE(VU_PF_BACKEND_REQ) },
	[VU_IOTLB_MSG] = { "IOTLB_MSG", SIZE(IOTLB), REPLIES(U64, U64), ALWAYS },
	[VU_SET_VRING_ENDIAN] = { "SET_VRING_ENDIAN", SIZE(STATE), ACK, GATE(VU_PF_CROSS_ENDIAN) },
	[VU_GET_CONFIG] = { "GET_CONFIG", SIZES(CONFIG_HEAD + 1, CONFIG_FULL),
			    REPLIES(0, CONFIG_FULL), GATE(VU_PF_CONFIG) },
	[VU_SET_CONFIG] = { "SET_CONFIG", SIZES(CONFIG_HEAD + 1, CONFIG_FULL), ACK,
			    GATE(VU_PF_CONFIG) },
	/* The session's layout is the front end's own; only its bounds are known here. */
	[VU_CREATE_CRYPTO_SESSION] = { "CREATE_CRYPTO_SESSION", SIZES(U64, VU_PAYLOAD_MAX),
				       REPLIES(U64, VU_PAYLOAD_MAX), GATE(VU_PF_CRYPTO_SESSION) },
	[VU_CLOSE_CRYPTO_SESSION] = { "CLOSE_CRYPTO_SESSION", SIZE(U64), ACK,
				      GATE(VU_PF_CRYPTO_SESSION) },
	[VU_POSTCOPY_ADVISE] = { "POSTCOPY_ADVISE", SIZE(0), REPLIES(0, 0), .reply_fds_max = 1,
				 GATE(VU_PF_PAGEFAULT) },
	[VU_POSTCOPY_LISTEN] = { "POSTCOPY_LISTEN", SIZE(0), ACK, GATE(VU_PF_PAGEFAULT) },
	[VU_POSTCOPY_END] = { "POSTCOPY_END", SIZE(0), REPLIES(U64, U64), GATE(VU_PF_PAGEFAULT) },
	[VU_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", SIZE(sizeof(struct vu_inflight)),
				 REPLIES(sizeof(struct vu_inflight), sizeof(struct vu_inflight)),
				 .reply_fds_max = 1, GATE(VU_PF_INFLIGHT_SHMFD) },
	[VU_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", SIZE(sizeof(struct vu_inflight)), FDS(1, 1),
				 ACK, GATE(VU_PF_INFLIGHT_SHMFD) },
	[VU_GPU_SET_SOCKET] = { "GPU_SET_SOCKET", SIZE(0), FDS(1, 1), ACK, ALWAYS },
	[VU_RESET_DEVICE] = { "RESET_DEVICE", SIZE(0), ACK, GATE(VU_PF_RESET_DEVICE) },
	[VU_VRING_KICK] = { "VRING_KICK", SIZE(STATE), ACK, GATE(VU_PF_INBAND_NOTIFICATIONS) },
	[VU_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", SIZE(0), REPLIES(U64, U64),
				   GATE(VU_PF_CONFIGURE_MEM_SLOTS) },
	[VU_ADD_MEM_REG] = { "ADD_MEM_REG", SIZE(sizeof(struct vu_mem_reg)), FDS(1, 1), ACK,
			     GATE(VU_PF_CONFIGURE_MEM_SLOTS) },
	/* Old front ends send an fd along; a back end closes it. */
	[VU_REM_MEM_REG] = { "REM_MEM_REG", SIZE(sizeof(struct vu_mem_reg)), FDS(0, 1), ACK,
			     GATE(VU_PF_CONFIGURE_MEM_SLOTS) },
	[VU_SET_STATUS] = { "SET_STATUS", SIZE(U64), ACK, GATE(VU_PF_STATUS) },
	[VU_GET_STATUS] = { "GET_STATUS", SIZE(0), REPLIES(U64, U64), GATE(VU_PF_STATUS) },
	[VU_GET_SHARED_OBJECT] = { "GET_SHARED_OBJECT", SIZE(UUID), REPLIES(0, UUID),
				   .reply_fds_max = 1, GATE(VU_PF_SHARED_OBJECT) },
	[VU_SET_DEVICE_STATE_FD] = { "SET_DEVICE_STATE_FD", SIZE(DEVICE_STATE), FDS(1, 1),
				     REPLIES(U64, U64), .reply_fds_max = 1,
				     GATE(VU_PF_DEVICE_STATE) },
	[VU_CHECK_DEVICE_STATE] = { "CHECK_DEVICE_STATE", SIZE(0), REPLIES(U64, U64),
				    GATE(VU_PF_DEVICE_STATE) },
	[VU_GET_SHMEM_CONFIG] = { "GET_SHMEM_CONFIG", SIZE(0),
				  REPLIES(SHMEM, SHMEM), GATE(VU_PF_SHMEM) },
	[VU_GET_VRING_BASE_SKIP_DRAIN] = { "GET_VRING_BASE_SKIP_DRAIN", SIZE(STATE),
					   REPLIES(STATE, STATE),
					   GATE(VU_PF_GET_VRING_BASE_SKIP_DRAIN) },
};

/* "Back-end message types". */
const struct vu_msg_type vu_backend_msg_types[VU_BACKEND_REQUEST_END] = {
	[VU_BACKEND_IOTLB_MSG] = { "BACKEND_IOTLB_MSG", SIZE(IOTLB), ACK, GATE(VU_PF_BACKEND_REQ) },
	[VU_BACKEND_CONFIG_CHANGE_MSG] = { "BACKEND_CONFIG_CHANGE_MSG", SIZE(0), ACK,
					   GATE(VU_PF_CONFIG) },
	[VU_BACKEND_VRING_HOST_NOTIFIER_MSG] = { "BACKEND_VRING_HOST_NOTIFIER_MSG",
						 SIZE(HOST_NOTIFIER_AREA), FDS(0, 1), ACK,
						 GATE(VU_PF_HOST_NOTIFIER) },
	[VU_BACKEND_VRING_CALL] = { "BACKEND_VRING_CALL", SIZE(STATE), ACK,
				    GATE(VU_PF_INBAND_NOTIFICATIONS) },
	[VU_BACKEND_VRING_ERR] = { "BACKEND_VRING_ERR", SIZE(STATE), ACK,
				   GATE(VU_PF_INBAND_NOTIFICATIONS) },
	[VU_BACKEND_SHARED_OBJECT_ADD] = { "BACKEND_SHARED_OBJECT_ADD", SIZE(UUID), ACK,
					   GATE(VU_PF_SHARED_OBJECT) },
	[VU_BACKEND_SHARED_OBJECT_REMOVE] = { "BACKEND_SHARED_OBJECT_REMOVE", SIZE(UUID), ACK,
					      GATE(VU_PF_SHARED_OBJECT) },
	[VU_BACKEND_SHARED_OBJECT_LOOKUP] = { "BACKEND_SHARED_OBJECT_LOOKUP", SIZE(UUID),
					      REPLIES(U64, U64), .reply_fds_max = 1,
					      GATE(VU_PF_SHARED_OBJECT) },
	[VU_BACKEND_SHMEM_MAP] = { "BACKEND_SHMEM_MAP", SIZE(sizeof(struct vu_mmap)), FDS(1, 1),
				   ACK, GATE(VU_PF_SHMEM) },
	[VU_BACKEND_SHMEM_UNMAP] = { "BACKEND_SHMEM_UNMAP", SIZE(sizeof(struct vu_mmap)), ACK,
				     GATE(VU_PF_SHMEM) },
};

const char *vu_request_name(uint32_t request)
{
	const char *name = request < VU_REQUEST_END ? vu_msg_types[request].name : NULL;

	return name ? name : "unknown request";
}

const char *vu_backend_request_name(uint32_t request)
{
	const char *name = NULL;

	if (request < VU_BACKEND_REQUEST_END)
		name = vu_backend_msg_types[request].name;
	return name ? name : "unknown request";
}

#define F(name) BIT64(VU_PF_##name)

/* The dependencies are the specification's, see "Protocol features" and the messages they allow. */
const struct vu_feature vu_features[VU_PF_END] = {
	[VU_PF_MQ] = { "MQ", .frontend = true, .backend = true },
	[VU_PF_LOG_SHMFD] = { "LOG_SHMFD",
		.why_not = "dirty logging serves live migration; minivmm has none" },
	[VU_PF_RARP] = { "RARP", .frontend = true },
	[VU_PF_REPLY_ACK] = { "REPLY_ACK", .frontend = true, .backend = true },
	[VU_PF_MTU] = { "MTU", .frontend = true },
	[VU_PF_BACKEND_REQ] = { "BACKEND_REQ", .frontend = true, .backend = true },
	[VU_PF_CROSS_ENDIAN] = { "CROSS_ENDIAN",
		.why_not = "only legacy devices have the guest's byte order; minivmm has none" },
	[VU_PF_CRYPTO_SESSION] = { "CRYPTO_SESSION",
		.why_not = "only a crypto device has sessions" },
	[VU_PF_PAGEFAULT] = { "PAGEFAULT",
		.why_not = "it serves live migration; minivmm has none" },
	[VU_PF_CONFIG] = { "CONFIG", .frontend = true, .backend = true },
	[VU_PF_BACKEND_SEND_FD] = { "BACKEND_SEND_FD", .frontend = true, .backend = true,
		.needs = F(BACKEND_REQ) },
	[VU_PF_HOST_NOTIFIER] = { "HOST_NOTIFIER", .needs = F(BACKEND_REQ),
		.why_not = "doorbell pages of a daemon's hardware are not mapped into guests" },
	[VU_PF_INFLIGHT_SHMFD] = { "INFLIGHT_SHMFD", .frontend = true, .backend = true },
	[VU_PF_RESET_DEVICE] = { "RESET_DEVICE", .frontend = true },
	[VU_PF_INBAND_NOTIFICATIONS] = { "INBAND_NOTIFICATIONS",
		.needs = F(BACKEND_REQ) | F(REPLY_ACK),
		.why_not = "notifications go by eventfd from guest to daemon, past the VMM" },
	[VU_PF_CONFIGURE_MEM_SLOTS] = { "CONFIGURE_MEM_SLOTS", .frontend = true, .backend = true },
	[VU_PF_STATUS] = { "STATUS", .frontend = true },
	[VU_PF_XEN_MMAP] = { "XEN_MMAP", .why_not = "it is for guests of Xen" },
	[VU_PF_SHARED_OBJECT] = { "SHARED_OBJECT", .needs = F(BACKEND_REQ),
		.why_not = "dma-buf objects are not exchanged between devices" },
	[VU_PF_DEVICE_STATE] = { "DEVICE_STATE",
		.why_not = "it serves migration and snapshots; minivmm has none" },
	[VU_PF_GET_VRING_BASE_INFLIGHT] = { "GET_VRING_BASE_INFLIGHT", .needs = F(INFLIGHT_SHMFD),
		.why_not = "it migrates requests in flight; minivmm always lets them finish" },
	[VU_PF_GPA_ADDRESSES] = { "GPA_ADDRESSES", .frontend = true, .backend = true },
	/* Of devices that have regions: the front end acks it when its owner can map. */
	[VU_PF_SHMEM] = { "SHMEM", .frontend = true, .backend = true,
		.needs = F(BACKEND_REQ) | F(BACKEND_SEND_FD) },
	[VU_PF_GET_VRING_BASE_SKIP_DRAIN] = { "GET_VRING_BASE_SKIP_DRAIN",
		.needs = F(GET_VRING_BASE_INFLIGHT),
		.why_not = "it migrates requests in flight; minivmm always lets them finish" },
};
static_assert(VU_PF_END == 24, "a new protocol feature needs its row");

uint64_t vu_features_ack(uint64_t offered)
{
	uint64_t ack = 0, before;

	for (unsigned i = 0; i < VU_PF_END; i++)
		if (vu_features[i].frontend)
			ack |= offered & BIT64(i);
	/* What was taken away may have been needed by another, so until nothing changes. */
	do {
		before = ack;
		for (unsigned i = 0; i < VU_PF_END; i++)
			if (vu_features[i].needs & ~ack)
				ack &= ~BIT64(i);
	} while (ack != before);
	return ack;
}
