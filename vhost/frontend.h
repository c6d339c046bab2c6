/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front end: one connection to one daemon.
 *
 * Theory of operation. Everything is a request in a queue, sent in order, each with a deadline;
 * answers arrive in order and call the request's continuation. Nothing here ever waits. With
 * REPLY_ACK every request without an answer of its own asks for one, so a refusal is always seen;
 * where the daemon lacks it, a GET_FEATURES follows as a barrier. A missed deadline, a malformed
 * answer, a refusal or the end of the stream makes the connection GONE: the owner is told once, by
 * name of the device, the socket and the request. All in the loop thread, under the device lock. A
 * daemon owns the guest, never this process: every byte is checked.
 *
 * Shared memory regions (SHMEM): their sizes are asked for before READY. What the daemon wants
 * mapped comes on the back channel; the owner maps and unmaps, this checks what can be told from
 * the message and answers. Mapped first, answered second, and nothing is sent on the main channel
 * between: a daemon believes no mapping the guest cannot reach, and one that waits for the answer
 * is never asked anything meanwhile. A mapping whose answer cannot be sent is taken back and the
 * connection is lost. Mappings end with the life they were made in: the owner drops them all when
 * it is told `stopped` or `lost`. What the daemon sent on the main channel before it asked is heard
 * before: a request that follows the last answer of a stop belongs to the next life.
 *
 * What a daemon mapped may be shared with others (memory/shared.h): params.shared is what this
 * front end's daemon is given beside RAM. Others are told of a mapping after its daemon was
 * answered, and let go of it before it is unmapped: so the owner may put off the answer to
 * SHMEM_UNMAP (-EINPROGRESS) until they have. All that while the main channel of that connection
 * waits, its deadline stands still, and nothing more is read from its back channel. A daemon that
 * waits so reads nothing, so it could not let go of another's mapping meanwhile: two that unmapped
 * at the same time would wait for each other. Hence who gives takes nothing, its own included: a
 * device whose mappings are shared has params.shared NULL. Those who take have their own SHMEM
 * requests answered at once, and go on with the main channel then: they wait for nobody, whoever
 * gives waits for them only, and each wait ends with an answer or the deadline of who owes it.
 *
 *     connecting -> ready -> starting -> running -> stopping -> ready
 *          \___________\________\__________\___________\-----> gone
 *
 * When a daemon is known to touch guest memory no more: it ended the connection (and so gave up
 * its rings), or its process ended (pidfd). A connection that is lost for another reason is shut
 * down in our direction only: a daemon that wakes up later reads the end of the stream, ends the
 * connection in turn, and that is seen as well.
 */
#ifndef VHOST_FRONTEND_H
#define VHOST_FRONTEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "memory/guest_mem.h"
#include "memory/shared.h"
#include "vhost/frontend_inflight.h"
#include "vhost/proto.h"
#include "vhost/quirk.h"
#include "vhost/tap.h"
#include "vhost/wire.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77		/* Linux 6.5 */
#endif

enum vu_state { VU_CONNECTING, VU_READY, VU_STARTING, VU_RUNNING, VU_STOPPING, VU_GONE, VU_STATES };

enum {
	VU_RINGS_MAX = 64, VU_DEADLINE_MS = 10000, VU_PENDING_MAX = 20,
	VU_TOLD_MAX = MEM_REGIONS_MAX + MEM_SHARED_MAX,
};

/*
 * Virtio feature bits of a daemon that no guest sees: bit 30 is between daemon and front end;
 * dirty logging (26), addresses through an IOMMU (33) and data in a notification (38: kicks are
 * eventfds) are nothing this front end can serve.
 */
#define VU_F_HIDDEN (BIT64(VU_F_PROTOCOL_FEATURES) | BIT64(VU_F_LOG_ALL) | BIT64(33) | BIT64(38))

struct vu_frontend;
struct vu_step;
struct vu_pending;

/* The answer to a request is here and well-formed. 0, or -EPROTO with @e when it cannot be. */
typedef int vu_answer(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		      struct err *e);

/* A request that waits for its answer. */
struct vu_pending {
	uint32_t request;
	unsigned at;		/* ring, entry of `told`, or offset in config */
	unsigned len;		/* of config */
	vu_answer *answer;	/* NULL: the u64 of REPLY_ACK must be 0 */
};

/* One ring, as the guest's driver latched it. Addresses are guest-physical. */
struct vu_ring {
	bool enabled;			/* rings that are not are skipped */
	bool idle;			/* started, but without SET_VRING_ENABLE: see
					 * vu_frontend_switch */
	uint16_t size;			/* entries */
	uint32_t base;			/* 0: a fresh ring; after a stop, where it stopped: a
					 * split ring's avail index, else opaque */
	uint64_t desc, avail, used;
	int kick, call;			/* eventfds, borrowed until stopped or gone; -1: none */
	bool waiting;			/* no kick is injected into it as it starts */
};

/* A memory region that the daemon was told of. */
struct vu_told {
	struct vu_mem_region at;
	struct mem_shared_region *shared;	/* held; NULL: of RAM */
	int state;				/* frontend_memory.c's */
};

/* How the owner hears of things. Called in the loop, never from inside a vu_frontend_* call. */
struct vu_frontend_ops {
	/* Negotiated: features, queues_max and config are valid. */
	void (*ready)(void *arg);
	/* Every ring is started and enabled. */
	void (*started)(void *arg);
	/* Every ring is stopped, the device reset: the daemon touches guest memory no more;
	 * ring.base is where each ring stopped. */
	void (*stopped)(void *arg);
	/* After vu_frontend_switch: every ring is as its `idle` says. May be NULL for an owner that
	 * never switches. */
	void (*switched)(void *arg);
	/* The connection is lost; @why is one sentence. @daemon_dead false: the daemon may still
	 * write guest memory; `dead` follows when it has ended, or has ended the connection. */
	void (*lost)(void *arg, const char *why, bool daemon_dead);
	void (*dead)(void *arg);
	/* CONFIG_CHANGE_MSG was answered and the config read anew. */
	void (*config_changed)(void *arg);
	/* The answer to vu_frontend_config_read: config is what the daemon has now, or as it was
	 * when it could not say. May be NULL for an owner that never asks. */
	void (*config_read)(void *arg);
	/* The daemon reports that it cannot go on with one of its rings (SET_VRING_ERR's eventfd);
	 * logged here already. May be NULL. */
	void (*ring_error)(void *arg);
	/*
	 * SHMEM_MAP and SHMEM_UNMAP; either may be NULL, and SHMEM is not acked then. The region
	 * exists, the range is not empty and lies in it, fd_offset + len is a file's offset; what
	 * else there is to refuse is the owner's to check (alignment, overlap, the object behind
	 * @fd, limits, whether UNMAP names one whole mapping). Called after `ready` was told, until
	 * `lost`; while STOPPING too: `stopped` ends those mappings with the others. @fd is
	 * borrowed. 0 when it is in effect for every vCPU; or -errno with @e and nothing changed:
	 * that is answered, logged once, and the connection goes on; or -EINPROGRESS: not yet,
	 * nothing changed, ask again after vu_frontend_shmem_again. Called as the others are, but
	 * must call no vu_frontend_* function. `shmem_unmap` is called for a mapping whose answer
	 * could not be sent, too; `lost` follows.
	 */
	int (*shmem_map)(void *arg, const struct vu_shmem_map *m, int fd, struct err *e);
	int (*shmem_unmap)(void *arg, const struct vu_shmem_map *m, struct err *e);
	/* The daemon was told that this is mapped. As the two above; may be NULL. */
	void (*shmem_mapped)(void *arg, const struct vu_shmem_map *m);
};

struct vu_frontend_params {
	const char *name;		/* device's id, for messages; borrowed */
	const char *socket;		/* what the user wrote, for messages; borrowed */
	unsigned config_size;		/* bytes to GET_CONFIG; 0: none, CONFIG not required */
	bool config_optional;		/* a daemon without is right, too */
	uint16_t mtu;			/* to be told, with protocol feature MTU; 0: nothing */
	uint64_t required;		/* protocol features without which the device cannot work */
	const struct vu_quirk *quirk;	/* that the daemon has; NULL: none */
	unsigned deadline_ms;		/* of every wait; 0: VU_DEADLINE_MS */
	/* What the daemon is given beside RAM; borrowed. NULL: nothing, as must be for a device
	 * that gives. */
	struct mem_shared *shared;
	/* The device's in-flight buffer, borrowed: asked for at a start that has none, handed over
	 * at every start. NULL: INFLIGHT_SHMFD is not acked. */
	struct vu_inflight_buffer *inflight;
	/* vu_peer_pidfd of the socket, taken (also when it fails) and never used again; NULL: it is
	 * asked for, which the loop's filter forbids. */
	int *pidfd;
	/* A connection to a display, taken as the pidfd is, that the daemon is given:
	 * GPU_SET_SOCKET. NULL or -1: none. */
	int *display;
	struct vu_tap *tap;		/* sees every message; borrowed; NULL: nobody does */
};

struct vu_frontend {
	struct loop *loop;
	const struct guest_mem *mem;
	const struct vu_frontend_ops *ops;
	void *arg;
	struct vu_frontend_params params;
	enum vu_state state;

	uint64_t features;		/* virtio features offered, without those of VU_F_HIDDEN */
	uint64_t acked;			/* by the guest */
	/* What was offered, bit for bit; what is acked of it, in the specification's bits. */
	uint64_t protocol_offered, protocol;
	bool has_protocol;		/* bit 30 was offered */
	unsigned queues_max;		/* GET_QUEUE_NUM; without MQ UINT_MAX = unknown */
	uint64_t slots_max;		/* memory regions the daemon takes */
	bool has_config;		/* config is the daemon's; false: it has none */
	uint8_t config[VU_CONFIG_MAX];	/* cache of params.config_size bytes */
	/* Bytes of each shared memory region by shmid: multiples of VU_SHMEM_PAGE, their sum does
	 * not overflow; 0: no such region. The same from ready to lost; all 0 without SHMEM. */
	uint64_t shmem[VU_SHMEM_REGIONS];

	struct vu_ring rings[VU_RINGS_MAX];
	unsigned n_rings;
	/* Address of an interface for SEND_RARP, its first byte the lowest: the daemon announces it
	 * when the rings of the next start are enabled; once. 0, or without RARP: it does not. */
	uint64_t rarp;

	/* private below; see frontend_private.h */
	struct vu_channel channel;	/* main */
	struct loop_watch watch;
	struct vu_pending pending[VU_PENDING_MAX];	/* unanswered; oldest at pending_at */
	unsigned pending_at, n_pending;
	struct loop_timer deadline;	/* of the oldest */
	const struct vu_step *script, *step;	/* what is being done and where; NULL: nothing */
	void (*complete)(struct vu_frontend *f);	/* its end, everything answered */
	unsigned script_ring;		/* ring the step is at */
	uint64_t script_rings;		/* mask of rings the script works on */
	bool hold;			/* the step's answer decides about the next */
	bool barrier_due;		/* something was sent that has no answer */
	bool unheard;			/* the daemon reads no more; its last words are awaited */
	uint32_t last_request;		/* sent, for messages */
	unsigned about;			/* `at` of the message being made */
	int lent;			/* fd made for a message to be sent, closed after it; -1 */

	int display;			/* params.display until it is sent; -1 */

	struct vu_channel back;		/* back channel: the daemon's requests */
	struct loop_watch back_watch;
	struct misuse back_misuse;	/* unknown or refused back-channel requests */
	bool back_owed;			/* a SHMEM request is unanswered: the main channel waits */
	uint32_t back_obeyed;		/* that request, when the owner obeyed it; else 0 */
	struct vu_shmem_map back_map;	/* what it asked for */
	struct loop_timer back_deadline;	/* of an answer that waits for room */
	bool back_is_held;		/* back_held waits until the owner has been told ... */
	bool back_waits;		/* ... or until it says vu_frontend_shmem_again */
	struct vu_msg back_held;
	struct loop_job back_again;

	struct vu_told told[VU_TOLD_MAX];	/* what this daemon's table holds */
	unsigned n_told;		/* entries from here on are free */
	struct mem_shared_taker taker;
	struct loop_job memory_changed;
	struct loop_timer let_go;	/* while something withdrawn is held */
	struct misuse left_out;		/* shared regions the daemon could not be given */
	uint64_t started;		/* mask of rings that got SET_VRING_KICK */
	uint64_t on;			/* mask of rings that got SET_VRING_ENABLE 1 last */
	uint64_t switched;		/* mask of rings that the switching under way changed */
	bool switch_due;		/* some ring may not be as its `idle` says */
	struct loop_job switching;
	int ring_err;			/* eventfd of SET_VRING_ERR, all rings' */
	struct loop_watch ring_err_watch;
	struct misuse ring_errors;

	uint64_t config_dirty[VU_CONFIG_MAX / 64];	/* bytes the guest wrote, not sent yet */
	bool config_stale;		/* the daemon says its config changed */
	bool config_wanted;		/* the owner wants it read */
	bool config_news, config_owed;	/* GET_CONFIG under way is for these two */
	bool config_busy;		/* a GET_CONFIG or SET_CONFIG is unanswered */
	struct misuse config_refused;

	int pidfd;			/* of the daemon, when it can be known; -1 */
	struct loop_watch pid_watch;
	unsigned discarded;		/* reads thrown away since the connection was lost */
	struct loop_job notice;		/* delivers ops calls outside the caller's stack */
	unsigned notices;		/* mask of what is to be told */
	char why[448];
	bool daemon_dead;
	bool refused;			/* lost by a request that was answered with no */
};

/*
 * Set-up, and the supervisor. The process at the other end of @sock as a pidfd that the caller
 * owns; -1 when it cannot be known, or is @own: a pair that a process made itself tells nothing.
 */
int vu_peer_pidfd(int sock, pid_t own);

/*
 * Takes the connected *@sock (also when it fails) and begins to negotiate; ops->ready or ops->lost
 * follows. @mem, @loop, @ops and @arg are borrowed until vu_frontend_fini. 0 or -errno with @e.
 */
int vu_frontend_init(struct vu_frontend *f, struct loop *loop, const struct guest_mem *mem,
		     int *sock, const struct vu_frontend_params *p,
		     const struct vu_frontend_ops *ops, void *arg, struct err *e);
/* Closes everything at once, calls nobody. Works on a zeroed struct, twice, and in ops calls. */
void vu_frontend_fini(struct vu_frontend *f);

/*
 * READY: hands over features, memory table and the enabled ones of f->rings[0..n_rings); `started`
 * or `lost` follows. A ring whose desc is 0 counts as not enabled. -EINVAL when a ring is not what
 * the daemon can serve: size, index, or an address outside RAM; -EBUSY in another state. Nothing
 * was sent then.
 */
int vu_frontend_start(struct vu_frontend *f, uint64_t acked, struct err *e);
/*
 * STARTING or RUNNING: stops every ring and resets the device; `stopped` or `lost` follows. READY:
 * `stopped` follows. STOPPING and GONE: nothing, what follows is under way already.
 */
void vu_frontend_stop(struct vu_frontend *f);
/*
 * STARTING or RUNNING: rings whose `idle` the owner has changed are disabled, or enabled, when
 * nothing else is being done; `switched`, `lost` or the end of a stop follows. Switching again
 * meanwhile is told once, when all is as it was said last.
 */
void vu_frontend_switch(struct vu_frontend *f);
/* Guest wrote config space: SET_CONFIG of the cache's bytes [off, off + len). What is beyond the
 * config or comes while connecting is dropped. Any number of writes costs no memory. */
void vu_frontend_config_write(struct vu_frontend *f, unsigned off, unsigned len);
/* The same before vu_frontend_start, with which it goes out: after the features, which may be what
 * allows it, and before a ring is enabled. */
void vu_frontend_config_keep(struct vu_frontend *f, unsigned off, unsigned len);

/* Reads the config again, after every write of before this call has reached the daemon: config_read
 * or `lost` follows. Asking again meanwhile is the same as once. */
void vu_frontend_config_read(struct vu_frontend *f);

/* After -EINPROGRESS: the owner can decide about the daemon's SHMEM request now and is asked again,
 * from the loop. Harmless when nothing waits. */
void vu_frontend_shmem_again(struct vu_frontend *f);

/* "running", for reports and errors. */
const char *vu_state_name(enum vu_state s);

#endif
