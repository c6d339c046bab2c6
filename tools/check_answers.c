/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of negotiation and of the form of messages. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "tools/check.h"

enum { UNKNOWN_REQUEST = 999, EXTRA_FDS = 4 };

static int features(struct check *c)
{
	return vu_client_get(&c->client, VU_GET_FEATURES, &c->features, &c->e);
}

static int features_stable(struct check *c)
{
	uint64_t first = c->features;
	int r = vu_client_get(&c->client, VU_GET_FEATURES, &c->features, &c->e);

	if (r || first == c->features)
		return r;
	return check_fail(c, "first 0x%" PRIx64 " is offered, then 0x%" PRIx64, first, c->features);
}

static int protocol_stable(struct check *c)
{
	uint64_t first, second;
	int r = vu_client_get(&c->client, VU_GET_PROTOCOL_FEATURES, &first, &c->e);

	if (!r)
		r = vu_client_get(&c->client, VU_GET_PROTOCOL_FEATURES, &second, &c->e);
	if (r || first == second)
		return r;
	return check_fail(c, "first 0x%" PRIx64 " is offered, then 0x%" PRIx64, first, second);
}

static int protocol_needs(struct check *c)
{
	int r = vu_client_get(&c->client, VU_GET_PROTOCOL_FEATURES, &c->protocol, &c->e);

	for (unsigned i = 0; i < VU_PF_END && !r; i++)
		for (unsigned need = 0; need < VU_PF_END; need++)
			if (c->protocol & BIT64(i) && vu_features[i].needs & BIT64(need) &&
			    !(c->protocol & BIT64(need)))
				return check_fail(c, "%s is offered without %s",
						  vu_features[i].name, vu_features[need].name);
	return r;
}

/* The questions that a daemon of these features answers with a number. The first of them is a step
 * of negotiation, which is done here: what else fails of that is another rule's. */
static int form(struct check *c)
{
	static const uint32_t asks[] = { VU_GET_QUEUE_NUM, VU_GET_MAX_MEM_SLOTS, VU_GET_STATUS };
	uint64_t value;
	int r = 0;

	if (c->features & BIT64(VU_F_PROTOCOL_FEATURES))
		r = vu_client_get(&c->client, VU_GET_PROTOCOL_FEATURES, &value, &c->e);
	if (r)
		return r;
	if (check_negotiate(c, check_known_features(c), BIT64(VU_PF_STATUS)))
		return CHECK_BLOCKED;
	for (unsigned i = 0; i < ARRAY_SIZE(asks) && !r; i++)
		if (c->client.protocol & BIT64(vu_msg_types[asks[i]].feature))
			r = vu_client_get(&c->client, asks[i], &value, &c->e);
	return r;
}

/* Negotiates by itself: what is acknowledged wrongly is in everybody else's way. */
static int ack(struct check *c)
{
	return check_negotiate(c, check_known_features(c), 0);
}

/* What comes next will be taken for the answer to something else, in other rules as well. */
static int out_of_step(struct check *c, const char *what)
{
	check_fail(c, "%s", what);
	c->client.malformed = VU_CLIENT_EVERY;
	return -EPROTO;
}

static int answered_once(struct check *c)
{
	struct vu_msg quiet = vu_client_msg_state(VU_SET_VRING_NUM, 0, DRIVER_RING_SIZE);
	struct vu_msg loud = vu_client_msg(VU_GET_FEATURES);
	struct vu_msg barrier = vu_client_msg(VU_GET_PROTOCOL_FEATURES), m;
	int r = vu_client_send(&c->client, &quiet, &c->e);

	loud.header.flags |= VU_FLAG_NEED_REPLY;
	if (!r)
		r = vu_client_send(&c->client, &loud, &c->e);
	if (!r)
		r = vu_client_send(&c->client, &barrier, &c->e);
	if (!r)
		r = vu_client_recv(&c->client, "GET_FEATURES", &m, &c->e);
	if (r)
		return r;
	vu_msg_close_fds(&m);
	if (m.header.request == VU_SET_VRING_NUM)
		return out_of_step(c, "SET_VRING_NUM is answered, which did not ask for it");
	r = vu_client_recv(&c->client, "GET_PROTOCOL_FEATURES", &m, &c->e);
	if (r)
		return r;
	vu_msg_close_fds(&m);
	if (m.header.request == VU_GET_FEATURES)
		return out_of_step(c, "GET_FEATURES with need_reply is answered twice");
	return 0;
}

static int unknown(struct check *c)
{
	return check_refused(c, vu_client_msg(UNKNOWN_REQUEST));
}

static int send_raw(struct check *c, const void *bytes, size_t len)
{
	ssize_t n = fd_send(c->client.main.sock, bytes, len, NULL, 0);

	return n == (ssize_t)len ? 0 : check_fail(c, "the socket does not take %zu bytes", len);
}

static int bytewise(struct check *c)
{
	struct vu_msg m = vu_client_msg_u64(VU_SET_FEATURES, c->acked);
	const uint8_t *bytes = (const uint8_t *)&m.header;
	int r;

	for (unsigned i = 0; i < sizeof(m.header); i++) {
		r = send_raw(c, bytes + i, 1);
		if (r)
			return r;
		vu_client_wait(&c->client, c->client.main.sock, 1);
	}
	for (unsigned i = 0; i < m.header.size; i++) {
		r = send_raw(c, m.payload.bytes + i, 1);
		if (r)
			return r;
		vu_client_wait(&c->client, c->client.main.sock, 1);
	}
	return check_barrier(c);
}

static int truncated(struct check *c)
{
	static const uint32_t half[] = { VU_SET_FEATURES, VU_FLAG_VERSION };
	int r = send_raw(c, half, sizeof(half));

	return r ? r : check_reconnect(c);
}

static int truncated_payload(struct check *c)
{
	static const uint32_t most[] = { VU_SET_FEATURES, VU_FLAG_VERSION, 8, 0 };
	int r = send_raw(c, most, sizeof(most));

	return r ? r : check_reconnect(c);
}

static int oversize(struct check *c)
{
	static const uint32_t header[] = { VU_SET_FEATURES, VU_FLAG_VERSION, 0x40000000 };
	int r = send_raw(c, header, sizeof(header));

	return r ? r : check_reconnect(c);
}

/* A question with @n fds that are all one end of a pipe; the other end, the caller's, in *@ret. */
static int give_extra(struct check *c, unsigned n, int *ret)
{
	struct vu_msg m = vu_client_msg(VU_GET_FEATURES);
	int pair[2], r;

	if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(&c->e, "pipe");
	*ret = pair[0];
	for (unsigned i = 0; i < n; i++)
		m.fds[m.nfds++] = pair[1];
	r = vu_client_ask(&c->client, &m, &c->e);
	fd_close(&pair[1]);
	return r;
}

static int extra_fds(struct check *c)
{
	autoclose int fd = -1;
	int r = give_extra(c, EXTRA_FDS, &fd);

	/* A daemon may as well end a connection on which such things come. */
	return r == -ECONNRESET ? check_reconnect(c) : r;
}

static int extra_fds_closed(struct check *c)
{
	autoclose int fd = -1;
	int r = give_extra(c, 1, &fd);
	uint8_t byte;

	r = r == -ECONNRESET ? check_reconnect(c) : r ? r : check_barrier(c);
	if (r)
		return r;
	/* The pipe ends when nobody has its other end any more. */
	if (read(fd, &byte, 1) == 0)
		return 0;
	return check_fail(c, "an fd that came with GET_FEATURES is still open after the next answer");
}

static int second(struct check *c)
{
	uint64_t offered = c->features;
	int r = check_reconnect(c);

	if (r)
		return r;
	if (offered != c->features)
		return check_fail(c, "the second connection is offered 0x%" PRIx64 ", the first was 0x%"
				  PRIx64, c->features, offered);
	return check_negotiate(c, check_known_features(c), 0);
}

#define REPLY_ACK BIT64(VU_PF_REPLY_ACK)

const struct check_rule check_answer_rules[] = {
	{ "answer.features", "Front-end message types: GET_FEATURES",
	  "GET_FEATURES is answered with flags 0x5, its own id and 8 bytes",
	  .own = true, .run = features },
	{ "answer.form", "Header", "every answer has flags 0x5, its own id and its size",
	  .own = true, .run = form },
	{ "answer.ack", "VHOST_USER_PROTOCOL_F_REPLY_ACK",
	  "what asks for a reply and is obeyed is acknowledged with 0",
	  .gate = true, .protocol = REPLY_ACK, .own = true, .run = ack },
	{ "answer.once", "VHOST_USER_PROTOCOL_F_REPLY_ACK",
	  "what asks for no reply gets none, and what is answered in any case gets one",
	  .from = CHECK_FROM_NEGOTIATED, .gate = true, .run = answered_once },
	{ "answer.unknown", "VHOST_USER_PROTOCOL_F_REPLY_ACK",
	  "an unknown request is refused, or ends the connection", .from = CHECK_FROM_NEGOTIATED,
	  .run = unknown },
	{ "features.stable", "Front-end message types: GET_FEATURES",
	  "the features offered do not change", .run = features_stable },
	{ "features.protocol-stable", "Front-end message types: GET_PROTOCOL_FEATURES",
	  "the protocol features offered do not change", .gate = true, .run = protocol_stable },
	{ "features.protocol-needs", "Protocol features",
	  "no protocol feature is offered without those that it needs", .gate = true,
	  .run = protocol_needs },
	{ "wire.pieces", "Communication", "a message that comes byte by byte is understood",
	  .from = CHECK_FROM_NEGOTIATED, .run = bytewise },
	{ "wire.half-header", "Communication",
	  "a connection that ends within a header does not end or hang the daemon",
	  .run = truncated },
	{ "wire.half-payload", "Communication",
	  "a connection that ends within a payload does not end or hang the daemon",
	  .run = truncated_payload },
	{ "wire.oversize", "Header",
	  "a header that announces a gigabyte does not end or hang the daemon", .run = oversize },
	{ "wire.extra-fds", "Communication",
	  "file descriptors that nobody asked for do not end or hang the daemon",
	  .run = extra_fds },
	{ "wire.extra-fds-closed", "Communication",
	  "a file descriptor that nobody asked for is closed", .run = extra_fds_closed },
	{ "life.second", "Communication",
	  "after a connection has ended, the next one is served the same",
	  .from = CHECK_FROM_NEGOTIATED, .run = second },
	{ .id = NULL },
};
