/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages on a socket, for either side: framing, partial transfers, fds with the first byte.
 *
 * A channel never blocks and never trusts: what arrives is checked against the table of proto.h
 * (version, reply flag, size, number of fds) before anybody sees it. One thread at a time.
 */
#ifndef VHOST_WIRE_H
#define VHOST_WIRE_H

#include "base/err.h"
#include "vhost/proto.h"

enum { VU_CHANNEL_QUEUE = 256 };	/* most messages that wait to be sent */

struct vu_tap_end;

struct vu_channel {
	int sock;			/* non-blocking, owned; -1 when there is none */
	struct vu_msg in;		/* being received */
	size_t in_at;			/* bytes of header and payload received so far */
	struct vu_out *out, **out_end;	/* queued for sending, in order */
	size_t out_at;			/* bytes of the first sent so far */
	unsigned out_count;
	struct vu_tap_end *tap;		/* sees all that passes (tap.h); NULL: none */
};

/* Takes *@sock and makes it non-blocking. */
void vu_channel_init(struct vu_channel *c, int *sock);
/* Closes the socket, the queued and half-received messages' fds. Works twice, and on a zeroed
 * struct (which owns nothing: out_end NULL tells). */
void vu_channel_fini(struct vu_channel *c);

/*
 * Queues a copy of @m (header.size bytes of payload; fds are duplicated) and sends what the socket
 * takes. 0, -ENOBUFS when VU_CHANNEL_QUEUE messages wait already, or the socket's -errno.
 */
int vu_channel_send(struct vu_channel *c, const struct vu_msg *m);
/* Sends more of what waits. 0 (also when the socket takes no more now) or -errno. */
int vu_channel_flush(struct vu_channel *c);
/* Whether something waits to be sent (watch for EPOLLOUT). */
bool vu_channel_pending(const struct vu_channel *c);
/* Forgets what waits to be sent and closes its fds. */
void vu_channel_discard(struct vu_channel *c);

/*
 * Receives one whole message into *@ret. 1: got one, its fds belong to the caller (vu_msg_close_fds
 * whatever is not taken); 0: not there yet; -errno: the connection is unusable, @e says why
 * (-ECONNRESET at the end of the stream). Size and fd count beyond what any message may have are
 * refused here; what one message may have is vu_msg_check's.
 */
int vu_channel_recv(struct vu_channel *c, struct vu_msg *ret, struct err *e);

/*
 * Checks a received request against @types (vu_msg_types on a back end, vu_backend_msg_types on a
 * front end), @e naming message and field: flags (exactly version 1, need_reply at will), id, size
 * and number of fds. 0; -EPROTO when the flags are wrong, the stream cannot be trusted then;
 * -ENOSYS when the id is in no row; -EINVAL when the message is not what its row says.
 */
int vu_msg_check_request(const struct vu_msg *m, const struct vu_msg_type *types, unsigned n_types,
			 struct err *e);
/*
 * Checks a received reply to request @id (a row of @types): flags exactly 0x5, id, size, fds. What
 * a request without a reply of its own gets is the u64 of REPLY_ACK. 0 or -EPROTO with @e.
 */
int vu_msg_check_reply(const struct vu_msg *m, uint32_t id, const struct vu_msg_type *types,
		       struct err *e);

/* The two for a tap, which alone calls them: past it. vu_channel_put sends header and @payload
 * bytes, whatever the header says of them, and of all that the first @limit bytes. */
int vu_channel_put(struct vu_channel *c, const struct vu_msg *m, size_t payload, size_t limit);
int vu_channel_take(struct vu_channel *c, struct vu_msg *ret, struct err *e);

/* Closes the fds a received message still owns. */
void vu_msg_close_fds(struct vu_msg *m);
/* Moves fd @i out of a received message; -1 when there is none. */
int vu_msg_take_fd(struct vu_msg *m, size_t i);

#endif
