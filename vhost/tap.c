/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"

enum {
	DELAYED_MAX = 64,
	BATCH = 64,		/* messages received before others are served */
	AGAIN_MS = 10,		/* until a front end that could not receive is told once more */
	WHOLE = sizeof(struct vu_header) + VU_PAYLOAD_MAX,
};

struct vu_tap_held {
	struct vu_tap_held *next;
	struct vu_msg m;	/* owns its fds */
	size_t payload, limit;	/* as vu_channel_put */
	uint64_t due;		/* clock_ns() */
};

/* What the rules that hit a message say together. */
struct plan {
	bool drop, duplicate, close, cut;
	size_t limit;
	uint64_t delay_ms;
	uint64_t extra_fds;
	char words[96];		/* "": no rule hit */
};

static void add_rule(struct plan *p, const struct vu_fault *f)
{
	p->drop = p->drop || f->drop;
	p->duplicate = p->duplicate || f->duplicate;
	p->close = p->close || f->close;
	if (f->cut_given) {
		p->cut = true;
		p->limit = min_u64(p->limit, f->cut);
	}
	p->delay_ms += f->delay_given ? f->delay_ms : 0;
	p->extra_fds += f->extra_fds;
	vu_fault_words(f, p->words, sizeof(p->words));
}

/* Counts @m, and changes the fields that rules say. */
static struct plan judge(struct vu_tap_end *end, bool answer, struct vu_msg *m)
{
	struct vu_msg changed = *m;
	struct plan p = { .limit = WHOLE };

	for (unsigned i = 0; i < end->tap->n_faults; i++) {
		struct vu_fault *f = &end->tap->faults[i];

		if (strcmp(f->device, end->tap->device) ||
		    !vu_fault_hits(f, end->back, answer, m->header.request))
			continue;
		add_rule(&p, f);
		vu_fault_corrupt(f, &changed);
	}
	*m = changed;
	return p;
}

/* The request is owed an answer: the last VU_TAP_ASKED of them are known. */
static void ask(struct vu_tap_end *end, uint32_t id, uint64_t number)
{
	if (end->n_asked == VU_TAP_ASKED)
		memmove(end->asked, end->asked + 1, --end->n_asked * sizeof(end->asked[0]));
	end->asked[end->n_asked++] = (struct vu_tap_asked){ id, number, clock_ns() };
}

/* The oldest request of @id that is owed an answer is so no more. Number 0: there is none. */
static struct vu_tap_asked answered(struct vu_tap_end *end, uint32_t id)
{
	struct vu_tap_asked found = { 0 };
	unsigned i = 0;

	while (i < end->n_asked && end->asked[i].id != id)
		i++;
	if (i == end->n_asked)
		return found;
	found = end->asked[i];
	end->n_asked--;
	memmove(end->asked + i, end->asked + i + 1, (end->n_asked - i) * sizeof(end->asked[0]));
	return found;
}

static bool is_answered(const struct vu_tap_end *end, const struct vu_header *h)
{
	const struct vu_msg_type *types = end->back ? vu_backend_msg_types : vu_msg_types;
	uint32_t n = end->back ? (uint32_t)VU_BACKEND_REQUEST_END : (uint32_t)VU_REQUEST_END;

	return h->flags & VU_FLAG_NEED_REPLY || (h->request < n && types[h->request].replies);
}

/* Tells the trace of @m, of @len bytes of payload. A request that does not arrive is owed no
 * answer: the next answer of its id is another's. */
static void tell(struct vu_tap_end *end, bool to_daemon, const struct vu_msg *m, size_t len,
		 const struct plan *p)
{
	const struct vu_tap_queue *q = to_daemon ? &end->out : &end->in;
	const bool arrives = !p->drop && !p->close && !p->cut && !q->cut;
	struct vu_trace_about about = {
		.device = end->tap->device, .back = end->back, .to_daemon = to_daemon,
		.answer = to_daemon == end->back, .fault = p->words[0] ? p->words : NULL,
	};

	if (about.answer) {
		struct vu_tap_asked a = answered(end, m->header.request);

		about.number = a.number;
		about.took_ns = a.number ? clock_ns() - a.at : 0;
	} else {
		about.number = ++end->number;
		if (arrives && is_answered(end, &m->header))
			ask(end, m->header.request, about.number);
	}
	vu_trace_message(end->tap->trace, &about, m, len);
}

/* Queues. */

static void held_free(struct vu_tap_held *h)
{
	vu_msg_close_fds(&h->m);
	free(h);
}

static struct vu_tap_held *queue_take(struct vu_tap_queue *q)
{
	struct vu_tap_held *h = q->first;

	q->first = h->next;
	if (!q->first)
		q->end = &q->first;
	q->count--;
	return h;
}

static void queue_empty(struct loop *loop, struct vu_tap_queue *q)
{
	loop_timer_cancel(loop, &q->timer);
	while (q->first)
		held_free(queue_take(q));
	q->cut = false;
}

/* Takes *@m with its fds behind what is held, for @delay_ms from now and not before those. */
static int queue_add(struct vu_tap_end *end, struct vu_tap_queue *q, struct vu_msg *m,
		     size_t payload, const struct plan *p)
{
	struct vu_tap_held *h = calloc(1, sizeof(*h));

	if (!h) {
		vu_msg_close_fds(m);
		return -ENOMEM;
	}
	*h = (struct vu_tap_held){ .m = *m, .payload = payload, .limit = p->limit,
				   .due = clock_ns() + MS_TO_NS(p->delay_ms) };
	m->nfds = 0;
	*q->end = h;
	q->end = &h->next;
	q->count++;
	if (!q->timer.at)
		loop_timer_set(end->tap->loop, &q->timer, q->first->due);
	return 0;
}

static bool is_due(const struct vu_tap_queue *q)
{
	return q->first && (q->first->due <= clock_ns() || q->count > DELAYED_MAX);
}

/* Makes the fds of @m, which are somebody's, its own; so many as can be had. */
static void own_fds(struct vu_msg *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->nfds; i++) {
		int fd = fcntl(m->fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd >= 0)
			m->fds[n++] = fd;
	}
	m->nfds = n;
}

static void close_channel(struct vu_tap_end *end)
{
	shutdown(end->channel->sock, end->back ? SHUT_RDWR : SHUT_WR);
}

/* Sending. */

/* Sends on what is due; a socket that is gone says so to the next who uses it. */
static void send_held(struct vu_tap_end *end)
{
	struct vu_tap_queue *q = &end->out;

	while (is_due(q)) {
		struct vu_tap_held *h = queue_take(q);

		vu_channel_put(end->channel, &h->m, h->payload, h->limit);
		held_free(h);
	}
	if (q->first)
		loop_timer_set(end->tap->loop, &q->timer, q->first->due);
}

/* The front end looks whether the socket takes more. */
static void send_due(void *arg)
{
	struct vu_tap_end *end = arg;

	send_held(end);
	end->ready(end->arg);
}

static int hold(struct vu_tap_end *end, const struct vu_msg *m, size_t payload,
		const struct plan *p)
{
	struct vu_msg own = *m;
	int r;

	own_fds(&own);
	r = queue_add(end, &end->out, &own, payload, p);
	send_held(end);
	return r;
}

int vu_tap_send(struct vu_tap_end *end, const struct vu_msg *m)
{
	size_t payload = m->header.size;
	struct vu_msg copy = *m;
	struct plan p = judge(end, end->back, &copy);
	int r = 0;

	for (; p.extra_fds && copy.nfds < ARRAY_SIZE(copy.fds); p.extra_fds--)
		copy.fds[copy.nfds++] = end->tap->spare;
	tell(end, true, &copy, payload, &p);
	if (p.drop || end->out.cut)
		return 0;
	if (p.close)
		close_channel(end);
	end->out.cut = p.cut;
	for (unsigned times = 1 + p.duplicate; times && r == 0; times--) {
		if (p.delay_ms || end->out.first)
			r = hold(end, &copy, payload, &p);
		else
			r = vu_channel_put(end->channel, &copy, payload, p.limit);
	}
	return r;
}

/* Receiving. */

static void receive_due(void *arg)
{
	struct vu_tap_end *end = arg;
	struct vu_tap_queue *q = &end->in;

	end->ready(end->arg);
	/* It may have taken nothing: it owes an answer, say. */
	if (q->first && !q->timer.at)
		loop_timer_set(end->tap->loop, &q->timer, clock_ns() + MS_TO_NS(AGAIN_MS));
}

static int take_held(struct vu_tap_end *end, struct vu_msg *ret)
{
	struct vu_tap_queue *q = &end->in;
	struct vu_tap_held *h = queue_take(q);

	*ret = h->m;
	h->m.nfds = 0;
	held_free(h);
	if (q->first)
		loop_timer_set(end->tap->loop, &q->timer, q->first->due);
	return 1;
}

/* As many descriptors more as there is room for, which @m owns. */
static void add_fds(const struct vu_tap_end *end, struct vu_msg *m, uint64_t count)
{
	for (; count && m->nfds < ARRAY_SIZE(m->fds); count--) {
		int fd = fcntl(end->tap->spare, F_DUPFD_CLOEXEC, 0);

		if (fd >= 0)
			m->fds[m->nfds++] = fd;
	}
}

/* Does to a received message what is said; whether it is *@m that is to be handed on at once. */
static bool pass(struct vu_tap_end *end, struct vu_msg *m)
{
	size_t payload = m->header.size;
	const struct vu_msg received = *m;
	struct plan p = judge(end, !end->back, m);
	struct vu_msg copy;

	tell(end, false, &received, payload, &p);
	if (p.close)
		close_channel(end);
	if (p.drop || p.close || p.cut || end->in.cut) {
		end->in.cut = end->in.cut || p.cut;
		vu_msg_close_fds(m);
		return false;
	}
	add_fds(end, m, p.extra_fds);
	copy = *m;
	if (p.duplicate)
		own_fds(&copy);
	if (p.delay_ms || end->in.first) {
		queue_add(end, &end->in, m, payload, &p);
		if (p.duplicate)
			queue_add(end, &end->in, &copy, payload, &p);
		return false;
	}
	if (p.duplicate)
		queue_add(end, &end->in, &copy, payload, &p);
	return true;
}

int vu_tap_recv(struct vu_tap_end *end, struct vu_msg *ret, struct err *e)
{
	/* What does not pass is read without limit by nobody: the loop serves others meanwhile. */
	for (int i = 0; i < BATCH; i++) {
		struct vu_msg m;
		int r;

		if (is_due(&end->in))
			return take_held(end, ret);
		r = vu_channel_take(end->channel, &m, e);
		/* What came before the end comes before it here, too. */
		if (r < 0 && end->in.first)
			return take_held(end, ret);
		if (r <= 0)
			return r;
		if (pass(end, &m)) {
			*ret = m;
			return 1;
		}
	}
	return 0;
}

/* Connections. */

static void end_init(struct vu_tap_end *end, struct vu_tap *t, bool back)
{
	*end = (struct vu_tap_end){
		.tap = t, .back = back,
		.out.timer = { .expired = send_due, .arg = end },
		.in.timer = { .expired = receive_due, .arg = end },
	};
	end->out.end = &end->out.first;
	end->in.end = &end->in.first;
}

int vu_tap_init(struct vu_tap *t, const char *device, struct loop *loop, struct vu_trace *trace,
		struct vu_fault *faults, unsigned n_faults, struct err *e)
{
	*t = (struct vu_tap){ .device = device, .loop = loop, .trace = trace, .faults = faults,
			      .n_faults = n_faults, .spare = -1 };
	end_init(&t->main, t, false);
	end_init(&t->back, t, true);
	/* Later the sandbox may forbid to make one. */
	t->spare = fd_eventfd();
	return t->spare < 0 ? err_set(e, t->spare, "%s: eventfd: %s", device, strerror(-t->spare)) :
			      0;
}

void vu_tap_fini(struct vu_tap *t)
{
	if (!t->device)
		return;
	vu_tap_detach(&t->main);
	vu_tap_detach(&t->back);
	fd_close(&t->spare);
	t->device = NULL;
}

void vu_tap_attach(struct vu_tap_end *end, struct vu_channel *c, void (*ready)(void *arg),
		   void *arg)
{
	vu_tap_detach(end);
	end->channel = c;
	c->tap = end;
	end->ready = ready;
	end->arg = arg;
	end->number = 0;
	end->n_asked = 0;
}

void vu_tap_detach(struct vu_tap_end *end)
{
	if (!end->channel)
		return;
	end->channel->tap = NULL;
	end->channel = NULL;
	queue_empty(end->tap->loop, &end->out);
	queue_empty(end->tap->loop, &end->in);
}

void vu_tap_connected(struct vu_tap *t, const char *socket)
{
	vu_trace_event(t->trace, t->device, "connected", "socket", socket);
}

void vu_tap_lost(struct vu_tap *t, const char *why)
{
	vu_trace_event(t->trace, t->device, "lost", "why", why);
	vu_tap_detach(&t->main);
	vu_tap_detach(&t->back);
}
