/* SPDX-License-Identifier: Apache-2.0 */
/* --vu-trace: a line for every message, that nobody waits for; and how `vu-trace` prints them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/fd.h"
#include "tests/unit/process.h"
#include "tests/unit/tapped.h"
#include "tools/vu_trace.h"
#include "vhost/fields.h"

/* The next line of *@at, which is moved behind it; the caller's to json_decref. NULL at the end. */
static json_t *next_line(const char **at)
{
	const char *end = strchr(*at, '\n'), *line = *at;
	json_error_t e;
	json_t *j;

	if (!end)
		return NULL;
	*at = end + 1;
	j = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, &e);
	if (!j)
		fail_msg("%s: %.*s", e.text, (int)(end - line), line);
	return j;
}

static uint64_t number(const json_t *j, const char *name)
{
	const json_t *value = json_object_get(j, name);

	if (!json_is_integer(value))
		fail_msg("no number %s", name);
	return (uint64_t)json_integer_value(value);
}

static const char *text_of(const json_t *j, const char *name)
{
	return json_string_value(json_object_get(j, name));
}

static struct owner *whole_life(struct tapped *t)
{
	owner_connect(t->owner);
	t->owner->daemon.protocol = SHMEM | BIT64(VU_PF_STATUS) | BIT64(VU_PF_RESET_DEVICE);
	owner_live(t->owner);
	assert_int_equal(t->owner->stopped, 1);
	return t->owner;
}

struct counts {
	unsigned to_daemon, answers, back;
};

static void count_line(struct counts *n, const struct owner *f, const json_t *j)
{
	const char *to = text_of(j, "to"), *name = text_of(j, "message");

	assert_string_equal(text_of(j, "device"), "blk0");
	if (!name)
		return;
	if (!strcmp(text_of(j, "channel"), "back")) {
		n->back++;
		assert_string_equal(name, "BACKEND_CONFIG_CHANGE_MSG");
		return;
	}
	if (!strcmp(to, "daemon")) {
		const struct scripted_seen *seen = &f->daemon.seen[n->to_daemon];

		assert_string_equal(name, vu_request_name(seen->header.request));
		assert_int_equal(number(j, "size"), seen->header.size);
		assert_int_equal(number(j, "fds"), seen->nfds);
		assert_int_equal(number(j, "n"), ++n->to_daemon);
		return;
	}
	n->answers++;
	assert_true(number(j, "answers") <= n->to_daemon);
	assert_true(number(j, "took_ns") > 0);
	assert_true(json_is_true(json_object_get(j, "reply")));
}

static void every_message_has_its_line_and_every_answer_its_request(void **state)
{
	struct tapped *t = *state;
	struct owner *f = whole_life(t);
	struct counts n = { 0 };
	const char *at;
	json_t *j;

	tapped_trace(t);
	for (at = t->text; (j = next_line(&at)); json_decref(j))
		count_line(&n, f, j);
	assert_int_equal(n.to_daemon, f->daemon.received);
	assert_true(n.answers > 25);
	assert_int_equal(n.back, 2);
	assert_int_equal(t->trace.messages, n.to_daemon + n.answers + n.back);
}

static void payloads_are_told_by_name(void **state)
{
	static const char *const has[] = {
		"\"event\": \"connected\", \"socket\": \"blk.sock\"",
		"\"names\": [\"MQ\", \"REPLY_ACK\", ",
		"\"ring\": 1, \"ring_flags\": \"0x0\", \"desc\": \"0x",
		"\"queues\": ", "\"slots\": ", "\"gpa\": \"0x100000000\", \"bytes\": \"0x100000\"",
		"\"offset\": 0, \"config_size\": 60, \"config_flags\": \"0x0\", \"config\": \"00",
		"\"enable\": 1", "\"result\": \"0x0\"", "\"status\": \"0x", "\"regions\": []",
	};
	struct tapped *t = *state;

	whole_life(t);
	for (size_t i = 0; i < ARRAY_SIZE(has); i++)
		if (!strstr(tapped_trace(t), has[i]))
			fail_msg("the trace has no %s", has[i]);
}

static void a_memory_table_is_told_as_a_list(void **state)
{
	struct tapped *t = *state;
	struct err e;

	owner_connect(t->owner);
	t->owner->daemon.protocol = 0;
	t->owner->params.config_size = 0;
	owner_fini(t->owner);
	owner_connect(t->owner);
	t->owner->daemon.protocol = 0;
	scripted_settle(&t->owner->loop);
	assert_int_equal(owner_start(t->owner, &e), 0);
	scripted_settle(&t->owner->loop);
	assert_non_null(strstr(tapped_trace(t), "\"count\": 2, \"gpa\": [\"0x0\", \"0x100000000\"]"));
}

static void a_loss_and_the_next_connection_are_told(void **state)
{
	struct tapped *t = *state;
	struct owner *f = whole_life(t);
	const char *lost;

	scripted_daemon_fini(&f->daemon);
	owner_assert_lost(f, "closed");
	owner_connect(f);
	scripted_settle(&f->loop);
	lost = strstr(tapped_trace(t), "\"event\": \"lost\", \"why\": \"blk0 (socket blk.sock): conn");
	assert_non_null(lost);
	assert_non_null(strstr(lost, "\"event\": \"connected\""));
	assert_non_null(strstr(lost, "\"n\": 1}"));
}

/* Fields lie in the payload that the table of messages allows. */
static void fields_fit_their_messages(void **state)
{
	(void)state;
	for (int back = 0; back < 2; back++)
		for (uint32_t id = 0; id < (back ? VU_BACKEND_REQUEST_END : VU_REQUEST_END); id++) {
			const struct vu_msg_type *type =
				back ? &vu_backend_msg_types[id] : &vu_msg_types[id];
			const struct vu_field *f = vu_fields(back, id, false);

			for (; type->name && f->name; f++)
				assert_true(f->offset + f->size <= type->size_max);
			f = vu_fields(back, id, true);
			for (; type->name && type->reply_max && f->name; f++)
				assert_true(f->offset + f->size <= type->reply_max);
		}
}

/* A daemon may offer what nobody has a name for, up to every bit there is. */
static void every_protocol_feature_has_its_name_or_number(void **state)
{
	struct tapped *t = *state;
	const char *names;
	unsigned bits = 0;

	owner_connect(t->owner);
	t->owner->daemon.protocol = UINT64_MAX;
	scripted_settle(&t->owner->loop);
	names = strstr(tapped_trace(t), "\"protocol_features\": \"0xffffffffffffffff\"");
	assert_non_null(names);
	names = strstr(names, "\"names\": [");
	assert_non_null(names);
	for (const char *at = names + strlen("\"names\": "); *at != ']' && *at != '\n'; at++)
		bits += *at == ',' || *at == '[';
	assert_int_equal(bits, 64);
	assert_non_null(strstr(names, "\"SHMEM\", "));
	assert_non_null(strstr(names, ", \"bit 63\"]}\n"));
}

static void messages(struct vu_trace *t, unsigned n)
{
	struct vu_trace_about about = { .device = "blk0", .to_daemon = true };
	struct vu_msg m = { .header = { VU_GET_FEATURES, 1, 0 } };

	for (unsigned i = 1; i <= n; i++) {
		about.number = i;
		vu_trace_message(t, &about, &m, 0);
	}
}

/* Reads all there is, appends it; how much there is now. */
static size_t drain(int fd, char *text, size_t at, size_t size)
{
	ssize_t n;

	while ((n = read(fd, text + at, size - at - 1)) > 0)
		at += (size_t)n;
	text[at] = '\0';
	return at;
}

static void events(struct vu_trace *t, unsigned n)
{
	while (n--)
		vu_trace_event(t, "blk0", "connected", "socket", "blk.sock");
}

struct gaps {
	uint64_t messages, events;	/* there, or told to be missing */
	uint64_t missing[2], end[2];	/* messages and events */
};

static void add_line(struct gaps *g, const json_t *j)
{
	const char *event = text_of(j, "event");

	if (!event) {
		g->messages++;
	} else if (!strcmp(event, "connected")) {
		g->events++;
	} else if (!strcmp(event, "dropped")) {
		g->missing[0] += number(j, "messages");
		g->missing[1] += number(j, "events");
	} else {
		g->end[0] = number(j, "dropped");
		g->end[1] = number(j, "events_dropped");
	}
}

static void check_gaps(struct vu_trace *t, int reader)
{
	static char text[1 << 20];
	struct gaps g = { 0 };
	const char *at = text;
	size_t len;
	json_t *j;

	messages(t, 3000);
	assert_true(t->dropped > 0 && t->dropped < 3000);
	events(t, 7);
	len = drain(reader, text, 0, sizeof(text));
	events(t, 2);
	messages(t, 10);
	len = drain(reader, text, len, sizeof(text));
	vu_trace_close(t);
	drain(reader, text, len, sizeof(text));
	for (; (j = next_line(&at)); json_decref(j))
		add_line(&g, j);
	assert_int_equal(*at, '\0');
	assert_int_equal(g.messages + g.missing[0], 3010);
	assert_int_equal(g.events + g.missing[1], 9);
	assert_int_equal(g.missing[1], 7);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(g.missing[i], g.end[i]);
}

/* Text from outside comes back as what it was, and bytes that are no text as such. */
static void text_is_json_whatever_it_holds(void **state)
{
	static const struct {
		const char *text, *reads;
	} cases[] = {
		{ "/tmp/a b\"\\\t\x7f", "/tmp/a b\"\\\t\x7f" },
		{ "/tmp/\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82", "/tmp/\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82" },
		/* Cut off, overlong, a surrogate, beyond the last, a lone follower */
		{ "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "a\x80z", "a\xef\xbf\xbdz" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char buf[256];
		struct json j;
		json_t *line;
		const char *at = buf;

		json_begin(&j, buf, sizeof(buf));
		json_text(&j, "text", cases[i].text);
		buf[json_end(&j)] = '\0';
		for (const char *p = buf; *p != '\n'; p++)
			assert_in_range(*p, ' ', '~');
		line = next_line(&at);
		assert_string_equal(text_of(line, "text"), cases[i].reads);
		json_decref(line);
	}
}

static void a_full_pipe_loses_lines_and_says_how_many(void **state)
{
	struct vu_trace t;
	char text[20];
	struct err e;
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	snprintf(text, sizeof(text), "fd=%d", ends[1]);
	assert_int_equal(vu_trace_open(&t, text, &e), 0);
	check_gaps(&t, ends[0]);
	/* Whoever shares the pipe with us is not to find it non-blocking. */
	assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
	fd_close(&ends[0]);
	fd_close(&ends[1]);
}

static void a_full_socket_loses_lines_and_says_how_many(void **state)
{
	struct vu_trace t;
	char text[20];
	struct err e;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	snprintf(text, sizeof(text), "fd=%d", ends[1]);
	assert_int_equal(vu_trace_open(&t, text, &e), 0);
	check_gaps(&t, ends[0]);
	fd_close(&ends[0]);
	fd_close(&ends[1]);
}

static void a_fifo_may_get_its_reader_later(void **state)
{
	char dir[] = "/tmp/minivmm-trace.XXXXXX", path[64], text[4096];
	unsigned level = process_fds();
	struct vu_trace t;
	struct err e;
	int reader;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(vu_trace_open(&t, path, &e), 0);
	messages(&t, 1);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	vu_trace_close(&t);
	drain(reader, text, 0, sizeof(text));
	assert_non_null(strstr(text, "\"message\": \"GET_FEATURES\""));
	assert_non_null(strstr(text, "\"event\": \"end\", \"messages\": 1, \"dropped\": 0, \"events_dropped\": 0}\n"));
	fd_close(&reader);
	unlink(path);
	rmdir(dir);
	assert_int_equal(process_fds(), level);
}

static void what_cannot_be_written_is_refused_by_name(void **state)
{
	static const char *const cases[] = { "/nonesuch/file", "fd=999999", "fd=x", "fd=" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vu_trace t;
		struct err e = { "" };

		assert_true(vu_trace_open(&t, cases[i], &e) < 0);
		assert_non_null(strstr(e.msg, "--vu-trace"));
		vu_trace_close(&t);
	}
}

/* What the verb makes of @text; static, valid until the next call. */
static const char *ladder(const char *text, unsigned bad)
{
	static char out[TAPPED_TRACE];
	FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	FILE *to = fmemopen(out, sizeof(out), "w");

	assert_true(in && to);
	assert_int_equal(vu_trace_print(in, "FILE", to), bad);
	fclose(in);
	fclose(to);
	return out;
}

static void a_trace_is_printed_as_a_ladder(void **state)
{
	static const char *const has[] = {
		" blk0       * connected socket=blk.sock\n",
		" blk0       |-- GET_FEATURES --------------------------->| #1\n",
		" blk0       |<--------------------------- GET_FEATURES --| answers #1 after ",
		" us features=0x",
		"|-- SET_OWNER ------------------------------>| #",
		"|<============== BACKEND_CONFIG_CHANGE_MSG ==| #1?\n",
		"|== BACKEND_CONFIG_CHANGE_MSG ==============>| answers #1 after ",
		" +1 fd\n",
	};
	struct tapped *t = *state;
	const char *text;

	whole_life(t);
	text = ladder(tapped_trace(t), 0);
	for (size_t i = 0; i < ARRAY_SIZE(has); i++)
		if (!strstr(text, has[i]))
			fail_msg("the ladder has no %s", has[i]);
}

static void lines_that_are_none_of_a_trace_are_counted_and_passed_over(void **state)
{
	static const char *const bad[] = {
		"", "x", "{", "{}", "[]", "{\"ns\": 1}", "{\"ns\": \"x\", \"event\": \"end\"}",
		"{\"ns\": 1, \"event\": \"end\"", "{\"ns\": 1, \"event\": \"end}",
		"{\"ns\": 1, \"event\": \"end\"} x", "{\"ns\": 1 \"event\": \"end\"}",
		"{\"ns\": 1, \"event\": \"e\\qnd\"}", "{\"ns\": 1, \"event\": [1, 2}}",
		"{\"ns\": 1, \"event\": \"end\", \"event\": \"end\"}", "{ns: 1}",
		"{\"ns\": 1, \"event\": \"\x9b\"}",
		"{\"ns\": 1, \"event\": }", "{\"ns\": 1, \"event\": \"\\u12\"}",
		"{\"ns\": 99999999999999999999, \"event\": \"end\"}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char text[256];
		const char *got;

		snprintf(text, sizeof(text), "%s\n{\"ns\": 1500000, \"event\": \"e\\u0041\\\"nd\","
			 " \"x\": [1, {\"a\": \"]\"}]}\n", bad[i]);
		got = ladder(text, 1);
		if (!strstr(got, "    0.001500             * eA\"nd x=[1, {\"a\": \"]\"}]\n"))
			fail_msg("after %s: %s", bad[i], got);
	}
}

/* Who wrote the trace may want to talk to the terminal. */
static void nothing_but_text_is_printed(void **state)
{
	const char *got = ladder("{\"ns\": 1, \"device\": \"a\\nb\\b\", \"event\": \"\\u009b\\u001b\\r\","
				 " \"x\": [\"\\u001b]2;y\\u0007\", \"\\u001b(J\"]}\n"
				 "{\"ns\": 1, \"message\": \"\\u001b]\"}\n{\x1b]2;y\a\n", 1);
	unsigned lines = 0;

	(void)state;
	for (const char *at = got; *at; at++) {
		lines += *at == '\n';
		if (*at != '\n' && (*at < ' ' || *at > '~'))
			fail_msg("character 0x%02x is printed", (unsigned char)*at);
	}
	assert_int_equal(lines, 3);
	assert_non_null(strstr(got, "a?b?       * ???? x=[\"\\u001B]2;y\\u0007\", \"\\u001B(J\"]\n"));
	assert_non_null(strstr(got, " ?] --"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tapped_setup, tapped_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_message_has_its_line_and_every_answer_its_request),
		TEST(payloads_are_told_by_name),
		TEST(a_memory_table_is_told_as_a_list),
		TEST(a_loss_and_the_next_connection_are_told),
		cmocka_unit_test(fields_fit_their_messages),
		TEST(every_protocol_feature_has_its_name_or_number),
		cmocka_unit_test(a_full_pipe_loses_lines_and_says_how_many),
		cmocka_unit_test(a_full_socket_loses_lines_and_says_how_many),
		cmocka_unit_test(text_is_json_whatever_it_holds),
		cmocka_unit_test(a_fifo_may_get_its_reader_later),
		cmocka_unit_test(what_cannot_be_written_is_refused_by_name),
		TEST(a_trace_is_printed_as_a_ladder),
		cmocka_unit_test(lines_that_are_none_of_a_trace_are_counted_and_passed_over),
		cmocka_unit_test(nothing_but_text_is_printed),
	};

	return cmocka_run_group_tests_name("vu_trace", tests, NULL, NULL);
}
