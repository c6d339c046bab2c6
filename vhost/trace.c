/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/keyval.h"
#include "base/range.h"
#include "vhost/fields.h"

/* Room for all 256 shared memory regions of a device, and for 64 names of features. */
enum { VALUE_MAX = 6144 };

/* A FIFO without a reader yet is opened for both, which does not wait. */
static int open_path(const char *path)
{
	int flags = O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_APPEND;
	struct stat st;

	if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode))
		return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return open(path, O_WRONLY | O_TRUNC | flags, 0600);
}

/* O_NONBLOCK is of the open file, which others may share: so a pipe or terminal is opened anew. */
static int open_inherited(int fd, bool *ret_is_socket)
{
	char path[40];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	*ret_is_socket = S_ISSOCK(st.st_mode);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
		return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

int vu_trace_open(struct vu_trace *t, const char *text, struct err *e)
{
	uint64_t fd = STDERR_FILENO;

	*t = (struct vu_trace){ .fd = -1, .start = clock_ns() };
	if (!text)
		return 0;
	snprintf(t->what, sizeof(t->what), "%s", text);
	if (!strncmp(text, "fd=", 3) &&
	    uint_parse("--vu-trace: fd", text + 3, 0, INT32_MAX, &fd, e) < 0)
		return -EINVAL;
	if (!strncmp(text, "fd=", 3) || !strcmp(text, "-"))
		t->fd = open_inherited((int)fd, &t->is_socket);
	else
		t->fd = open_path(text);
	return t->fd < 0 ? err_sys(e, "--vu-trace: %s cannot be written", text) : 0;
}

/* How much of @len bytes is taken now; -errno. */
static ssize_t put(struct vu_trace *t, const char *bytes, size_t len)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	do {
		n = t->is_socket ? sendmsg(t->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) :
				   write(t->fd, bytes, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Whether nothing is left of the line before. */
static bool put_rest(struct vu_trace *t)
{
	ssize_t n = t->rest_len ? put(t, t->rest, t->rest_len) : 0;

	if (n > 0) {
		t->rest_len -= (size_t)n;
		memmove(t->rest, t->rest + n, t->rest_len);
	}
	return !t->rest_len;
}

/* Writes a line, or not at all. */
static bool put_line(struct vu_trace *t, size_t len)
{
	ssize_t n = put_rest(t) ? put(t, t->line, len) : -EAGAIN;

	if (n < 0) {
		if (n != -EAGAIN && misuse_first(&t->failed))
			log_warn("--vu-trace: %s cannot be written: %s; lines are lost", t->what,
				 strerror((int)-n));
		return false;
	}
	t->rest_len = len - (size_t)n;
	memcpy(t->rest, t->line + n, t->rest_len);
	return true;
}

static void begin(struct vu_trace *t, struct json *j, const char *device)
{
	json_begin(j, t->line, sizeof(t->line));
	json_number(j, "ns", clock_ns() - t->start);
	if (device)
		json_text(j, "device", device);
}

/* Tells how many messages and events are missing since the last that was written. */
static bool tell_dropped(struct vu_trace *t)
{
	struct json j;

	if (t->dropped == t->told_dropped && t->events_dropped == t->told_events)
		return true;
	begin(t, &j, NULL);
	json_text(&j, "event", "dropped");
	json_number(&j, "messages", t->dropped - t->told_dropped);
	json_number(&j, "events", t->events_dropped - t->told_events);
	if (!put_line(t, json_end(&j)))
		return false;
	t->told_dropped = t->dropped;
	t->told_events = t->events_dropped;
	return true;
}

/* The names of a mask, as a JSON array. The daemon chooses the mask: there is room for all bits. */
static void protocol_names(uint64_t mask, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "[");

	for (unsigned i = 0; i < 64; i++) {
		const char *comma = n > 1 ? ", " : "";

		if (!(mask >> i & 1))
			continue;
		if (i < VU_PF_END)
			n += (size_t)snprintf(buf + n, size - n, "%s\"%s\"", comma,
					      vu_features[i].name);
		else
			n += (size_t)snprintf(buf + n, size - n, "%s\"bit %u\"", comma, i);
	}
	snprintf(buf + n, size - n, "]");
}

static void bytes_text(const uint8_t *bytes, size_t len, char *buf, size_t size)
{
	size_t n = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < len && n + 3 < size; i++)
		n += (size_t)snprintf(buf + n, size - n, "%02x", bytes[i]);
}

static void add_array(struct json *j, const struct vu_field *f, const uint8_t *payload, size_t len)
{
	char text[VALUE_MAX];
	size_t n = (size_t)snprintf(text, sizeof(text), "["), count = 0;
	struct vu_field at = *f;

	/* What is zero at the end is not shown. */
	for (; (size_t)at.offset + at.size <= len; at.offset += f->stride)
		if (vu_field_get(&at, payload))
			count = (size_t)(at.offset - f->offset) / f->stride + 1;
	at = *f;
	for (size_t i = 0; i < count; i++, at.offset += f->stride)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s\"0x%" PRIx64 "\"",
				      i ? ", " : "", vu_field_get(&at, payload));
	snprintf(text + n, sizeof(text) - n, "]");
	json_raw(j, f->name, text);
}

static void add_field(struct json *j, const struct vu_field *f, const uint8_t *payload, size_t len)
{
	char text[VALUE_MAX];

	if (len < (size_t)f->offset + f->size)
		return;
	if (f->stride) {
		add_array(j, f, payload, len);
		return;
	}
	switch (f->kind) {
	case VU_FIELD_DEC:
		json_number(j, f->name, vu_field_get(f, payload));
		return;
	case VU_FIELD_HEX:
		json_hex(j, f->name, vu_field_get(f, payload));
		return;
	case VU_FIELD_PROTOCOL:
		json_hex(j, f->name, vu_field_get(f, payload));
		protocol_names(vu_field_get(f, payload), text, sizeof(text));
		json_raw(j, "names", text);
		return;
	case VU_FIELD_BYTES:
		bytes_text(payload + f->offset, len - f->offset, text, sizeof(text));
		json_text(j, f->name, text);
		return;
	}
}

static void add_header(struct json *j, const struct vu_trace_about *about, const struct vu_msg *m)
{
	const struct vu_header *h = &m->header;

	json_text(j, "channel", about->back ? "back" : "main");
	json_text(j, "to", about->to_daemon ? "daemon" : "frontend");
	json_text(j, "message", about->back ? vu_backend_request_name(h->request) :
					      vu_request_name(h->request));
	json_number(j, "id", h->request);
	json_number(j, "size", h->size);
	json_number(j, "fds", m->nfds);
	json_number(j, "flags", h->flags);
	json_bool(j, "need_reply", h->flags & VU_FLAG_NEED_REPLY);
	json_bool(j, "reply", h->flags & VU_FLAG_REPLY);
	if (!about->answer)
		json_number(j, "n", about->number);
	else if (about->number)
		json_number(j, "answers", about->number);
	if (about->answer && about->number)
		json_number(j, "took_ns", about->took_ns);
	if (about->fault)
		json_text(j, "fault", about->fault);
}

void vu_trace_message(struct vu_trace *t, const struct vu_trace_about *about,
		      const struct vu_msg *m, size_t len)
{
	const struct vu_field *f = vu_fields(about->back, m->header.request, about->answer);
	struct json j;

	if (t->fd < 0)
		return;
	t->messages++;
	if (!tell_dropped(t)) {
		t->dropped++;
		return;
	}
	begin(t, &j, about->device);
	add_header(&j, about, m);
	for (; f->name; f++)
		add_field(&j, f, m->payload.bytes, len);
	if (!put_line(t, json_end(&j)))
		t->dropped++;
}

void vu_trace_event(struct vu_trace *t, const char *device, const char *event, const char *name,
		    const char *text)
{
	struct json j;

	if (t->fd < 0)
		return;
	if (!tell_dropped(t)) {
		t->events_dropped++;
		return;
	}
	begin(t, &j, device);
	json_text(&j, "event", event);
	if (name)
		json_text(&j, name, text);
	if (!put_line(t, json_end(&j)))
		t->events_dropped++;
}

void vu_trace_close(struct vu_trace *t)
{
	struct json j;

	if (!t->what[0] || t->fd < 0)
		return;
	begin(t, &j, NULL);
	json_text(&j, "event", "end");
	json_number(&j, "messages", t->messages);
	json_number(&j, "dropped", t->dropped);
	json_number(&j, "events_dropped", t->events_dropped);
	put_line(t, json_end(&j));
	if (t->dropped || t->events_dropped)
		log_warn("--vu-trace: %" PRIu64 " of %" PRIu64 " messages and %" PRIu64 " events are missing in %s:"
			 " its reader is too slow, or it cannot be written", t->dropped, t->messages,
			 t->events_dropped, t->what);
	fd_close(&t->fd);
}
