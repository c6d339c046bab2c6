/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend from outside: command line, socket, signals, requests. */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "daemon.h"
#include "minivmm_config.h"

static void wrong_command_lines_get_one_sentence_and_2(void **state)
{
	static const struct {
		const char *args[5], *words;
	} bad[] = {
		{ { NULL }, "device type" },
		{ { "floppy" }, "no device type" },
		{ { "blk" }, "no socket" },
		{ { "blk", "--socket-path=s" }, "--file" },
		{ { "blk", "--file=disk", "--socket-path=s", "--fd=7" }, "exclude" },
		{ { "blk", "--socket-path" }, "needs a value" },
		{ { "blk", "--socket-path=" }, "not empty" },
		{ { "blk", "--socket-path=a", "--socket-path=b" }, "twice" },
		{ { "blk", "--file=a", "--blk-file=b" }, "twice" },
		{ { "blk", "--file=a", "--file=b" }, "twice" },
		{ { "blk", "--bogus" }, "\"--bogus\" is no option of minivmm-backend blk" },
		{ { "blk", "--soc" }, "no option" },
		{ { "blk", "--" }, "no option" },
		{ { "blk", "stray" }, "no option" },
		{ { "blk", "-f", "x" }, "no option" },
		{ { "blk", "--source=/dev/urandom" }, "no option of minivmm-backend blk" },
		{ { "rng", "--file=disk" }, "no option of minivmm-backend rng" },
		{ { "blk", "--read-only=yes" }, "takes no value" },
		{ { "blk", "--fd=-1" }, "--fd" },
		{ { "blk", "--fd=x" }, "--fd" },
		{ { "blk", "--queues=0" }, "--queues" },
		{ { "blk", "--queues=65" }, "--queues" },
		{ { "blk", "--seccomp=maybe" }, "--seccomp" },
		{ { "blk", "--log-level=loud" }, "--log-level" },
		{ { "blk", "--file=disk,bogus=1" }, "not a key" },
		{ { "blk", "--file=disk,block-size=700", "--fd=7" }, "power of two" },
		{ { "blk", "--file=disk,block-size=256", "--fd=7" }, "block-size" },
		{ { "blk", "--file=disk,seg-max=0", "--fd=7" }, "seg-max" },
		{ { "blk", "--file=disk,seg-max=1023", "--fd=7" }, "seg-max" },
		{ { "blk", "--file=disk,size-max=100", "--fd=7" }, "size" },
		{ { "blk", "--file=disk,size-max=1K", "--fd=7" }, "size-max" },
		{ { "blk", "--file=disk,serial=123456789012345678901", "--fd=7" }, "serial" },
		{ { "blk", "--file=disk,cache=none", "--fd=7" }, "cache" },
		{ { "--socket-path=x" }, "device type" },
		{ { "--file=x" }, "device type" },
		{ { "pmem", "--socket-path=s" }, "--file" },
		{ { "pmem", "--file=a", "--file=b" }, "twice" },
		{ { "pmem", "--file=disk,cache=writeback", "--fd=7" }, "not a key" },
		{ { "pmem", "--blk-file=disk" }, "no option of minivmm-backend pmem" },
		{ { "console", "--socket-path=s" }, "--port" },
		{ { "console", "--port=name=x", "--fd=7" }, "one of stdio, pty" },
		{ { "console", "--port=stdio,pty", "--fd=7" }, "one of stdio, pty" },
		{ { "console", "--port=stdio", "--port=stdio", "--fd=7" }, "both be stdio" },
		{ { "console", "--port=tcp=1", "--fd=7" }, "not a key" },
		{ { "vsock", "--socket-path=s" }, "--uds-path" },
		{ { "vsock", "--uds-path=" }, "not empty" },
		{ { "vsock", "--uds-path=v", "--guest-cid=2" }, "--guest-cid" },
		{ { "net", "--socket-path=s" }, "--tap NAME" },
		{ { "net", "--tap=a", "--tap-fd=9", "--fd=7" }, "exclude" },
		{ { "net", "--tap=sixteen-and-more", "--fd=7" }, "longer than 15" },
		{ { "net", "--tap-fd=9", "--tap-fd=9", "--fd=7" }, "twice" },
		{ { "net", "--tap-fd=9", "--queue-pairs=2", "--fd=7" }, "--queue-pairs" },
		{ { "net", "--tap=a", "--queue-pairs=65", "--fd=7" }, "--queue-pairs" },
		{ { "net", "--mtu=67" }, "--mtu" },
		{ { "rng", "--uds-path=v" }, "no option of minivmm-backend rng" },
	};
	struct daemon *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		daemon_start(f, bad[i].args, -1);
		assert_int_equal(daemon_finish(f), 2);
		daemon_assert_sentence(f, bad[i].words);
	}
}

static void what_cannot_be_set_up_gets_one_sentence_and_1(void **state)
{
	struct daemon *f = *state;

	assert_int_equal(RUN(f, "blk", "--file=missing", "--socket-path=s"), 1);
	daemon_assert_sentence(f, "missing");
	assert_int_equal(RUN(f, "vsock", "--uds-path=no/where", "--socket-path=s"), 1);
	daemon_assert_sentence(f, "--uds-path no/where");
	assert_int_equal(RUN(f, "net", "--tap-fd=9", "--socket-path=s"), 1);
	daemon_assert_sentence(f, "--tap-fd 9 was not inherited");
	assert_int_equal(RUN(f, "net", "--tap-fd=0", "--socket-path=s"), 1);
	daemon_assert_sentence(f, "--tap-fd 0 is neither");
	assert_int_equal(RUN(f, "rng", "--source=missing", "--socket-path=s"), 1);
	daemon_assert_sentence(f, "missing");
	assert_int_equal(RUN(f, "rng", "--socket-path=no/where"), 1);
	daemon_assert_sentence(f, "no/where");
	assert_int_equal(RUN(f, "rng", "--socket-path=./"), 1);
	daemon_assert_sentence(f, "names no file");
	assert_int_equal(RUN(f, "rng", "--fd=9"), 1);
	daemon_assert_sentence(f, "not inherited");
	assert_int_equal(RUN(f, "rng", "--fd=0"), 1);
	daemon_assert_sentence(f, "--fd 0");
	/* In the place of the socket is a file: it stays. */
	assert_int_equal(RUN(f, "rng", "--socket-path=disk"), 1);
	daemon_assert_sentence(f, "no socket");
	assert_true(daemon_exists(f->disk));
}

static void capabilities_are_the_specification_s_words(void **state)
{
	struct daemon *f = *state;

	assert_int_equal(RUN(f, "blk", "--print-capabilities"), 0);
	assert_string_equal(f->program.out_text, "{\n  \"type\": \"block\",\n  \"features\": [\n"
					 "    \"read-only\",\n    \"blk-file\"\n  ]\n}\n");
	assert_int_equal(RUN(f, "blk", "--no-such", "word", "--print-capabilities", "--fd=x"), 0);
	assert_non_null(strstr(f->program.out_text, "block"));
	assert_int_equal(RUN(f, "rng", "--print-capabilities"), 0);
	assert_string_equal(f->program.out_text, "{\n  \"type\": \"rng\"\n}\n");
	assert_int_equal(RUN(f, "pmem", "--print-capabilities"), 0);
	assert_string_equal(f->program.out_text, "{\n  \"type\": \"pmem\",\n  \"features\": [\n"
					 "    \"read-only\"\n  ]\n}\n");
	assert_int_equal(RUN(f, "console", "--print-capabilities"), 0);
	assert_string_equal(f->program.out_text, "{\n  \"type\": \"console\"\n}\n");
	assert_int_equal(RUN(f, "vsock", "--print-capabilities"), 0);
	assert_string_equal(f->program.out_text, "{\n  \"type\": \"vsock\"\n}\n");
	assert_string_equal(f->program.err_text, "");
}

static void the_version_is_the_project_s(void **state)
{
	struct daemon *f = *state;

	assert_int_equal(RUN(f, "--version"), 0);
	assert_string_equal(f->program.out_text, "minivmm-backend " MINIVMM_VERSION "\n");
}

/* Whether the manual page has an entry for --@name or the key @name. */
static bool manual_has(const char *manual, const char *dashes, const char *name)
{
	char entry[96];
	size_t at = (size_t)snprintf(entry, sizeof(entry), "%s", dashes);

	for (const char *c = name; *c && at < sizeof(entry) - 3; c++) {
		if (*c == '-')
			entry[at++] = '\\';
		entry[at++] = *c;
	}
	entry[at] = '\0';
	for (const char *line = strstr(manual, "\n.B"); line; line = strstr(line + 1, "\n.B")) {
		const char *word = strchr(line + 1, ' ');

		if (word && !strncmp(word + 1, entry, at) && strchr(" =\n", word[1 + at]))
			return true;
	}
	return false;
}

static void help_and_manual_name_the_same_options(void **state)
{
	struct daemon *f = *state;
	static char manual[32768];
	autoclose int fd = open(MINIVMM_BACKEND_MANUAL, O_RDONLY | O_CLOEXEC);
	unsigned options = 0, keys = 0, entries = 0;
	bool in_keys = false;
	char *line, *rest;

	assert_true(fd >= 0 && read(fd, manual, sizeof(manual) - 1) > 0);
	assert_int_equal(RUN(f, "--help"), 0);
	for (line = strtok_r(f->program.out_text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		bool option = !strncmp(line, "  --", 4);
		char name[32];

		in_keys = in_keys || strstr(line, "keys of --file");
		if (strncmp(line, "  ", 2) || (!option && !in_keys) || sscanf(line, "  %31[a-z-]", name) != 1)
			continue;
		if (option ? !manual_has(manual, "\\-\\-", name + 2) : strcmp(name, "path") && !manual_has(manual, "", name))
			fail_msg("\"%s\" is not in the manual page", name);
		*(option ? &options : &keys) += 1;
	}
	/* And the page has no option that --help does not know. */
	for (line = strstr(manual, "\n.TP\n.B"); line; line = strstr(line + 1, "\n.TP\n.B"))
		entries += !strncmp(strchr(line + 5, ' '), " \\-\\-", 5);
	assert_int_equal(entries, options);
	assert_int_equal(keys, 17);
}

static void a_socket_path_is_served_until_sigterm(void **state)
{
	struct daemon *f = *state;
	int sock;

	START(f, "blk", "--file=disk", "--socket-path=socket");
	/* One front end after the other, the same guest memory or a new guest's. */
	for (unsigned i = 0; i < 3; i++) {
		sock = daemon_connect(f->socket);
		daemon_drive(f, &sock);
		daemon_assert_disk_works(f, (char)('a' + i));
	}
	daemon_stop(f, SIGTERM);
}

static void the_keys_signals_end_it_as_well_without_any_front_end(void **state)
{
	struct daemon *f = *state;

	START(f, "rng", "--socket-path", "socket");
	daemon_stop(f, SIGINT);
	START(f, "rng", "--socket-path", "socket");
	daemon_stop(f, SIGQUIT);
}

static void blk_file_and_read_only_are_understood(void **state)
{
	struct daemon *f = *state;
	int sock;

	START(f, "blk", "--blk-file=disk", "--read-only", "--socket-path=socket");
	sock = daemon_connect(f->socket);
	daemon_drive(f, &sock);
	assert_int_equal(daemon_blk_request(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(daemon_blk_request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	daemon_stop(f, SIGTERM);
}

static void a_limit_on_file_sizes_is_an_error_of_the_request(void **state)
{
	const struct rlimit half = { DISK / 2, DISK / 2 };
	struct daemon *f = *state;
	int sock;

	START(f, "blk", "--blk-file=disk", "--socket-path=socket");
	sock = daemon_connect(f->socket);
	daemon_drive(f, &sock);
	assert_int_equal(prlimit(f->program.pid, RLIMIT_FSIZE, &half, NULL), 0);
	assert_int_equal(daemon_blk_request(f, VIRTIO_BLK_T_OUT, DISK / 2 / 512, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(daemon_blk_request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	kill(f->program.pid, SIGTERM);
	assert_int_equal(daemon_finish(f), 0);
	assert_non_null(strstr(f->program.err_text, "File too large"));
}

static void entropy_comes_through_the_filter(void **state)
{
	struct daemon *f = *state;
	struct driver_buf buf = { DRIVER_DATA, 4096, true };
	int sock;

	START(f, "rng", "--socket-path=socket");
	sock = daemon_connect(f->socket);
	daemon_drive(f, &sock);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(driver_request(&f->driver, 0, &buf, 1), 4096);
	daemon_stop(f, SIGTERM);
}

static void a_dead_socket_is_replaced_and_a_live_one_is_not(void **state)
{
	struct daemon *f = *state;
	struct daemon second;
	int sock;

	START(f, "rng", "--socket-path=socket");
	second = *f;
	second.program = (struct spawn)SPAWN_NONE;
	assert_int_equal(RUN(&second, "rng", "--socket-path=socket"), 1);
	daemon_assert_sentence(&second, "another program listens");
	spawn_fini(&second.program);

	kill(f->program.pid, SIGKILL);
	assert_int_equal(daemon_finish(f), -SIGKILL);
	assert_true(daemon_exists(f->socket));
	START(f, "rng", "--socket-path=socket");
	sock = daemon_connect(f->socket);
	daemon_drive(f, &sock);
	kill(f->program.pid, SIGTERM);
	assert_int_equal(daemon_finish(f), 0);
	daemon_assert_sentence(f, "replaced a socket that nobody listened on");
	assert_false(daemon_exists(f->socket));
}

static void a_socket_that_is_not_its_own_is_left(void **state)
{
	struct daemon *f = *state;
	int fd;

	START(f, "rng", "--socket-path=socket");
	unlink(f->socket);
	fd = open(f->socket, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	kill(f->program.pid, SIGTERM);
	assert_int_equal(daemon_finish(f), 0);
	assert_true(daemon_exists(f->socket));
}

static void an_inherited_connection_is_served_to_its_end(void **state)
{
	struct daemon *f = *state;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	daemon_start(f, (const char *const[]){ "blk", "--file=disk", "--fd=7", NULL }, pair[1]);
	close(pair[1]);
	daemon_drive(f, &pair[0]);
	daemon_assert_disk_works(f, 'x');
	fd_close(&f->driver.sock);
	assert_int_equal(daemon_finish(f), 0);
	assert_string_equal(f->program.err_text, "");
}

static void an_inherited_listener_is_served_until_sigterm(void **state)
{
	struct daemon *f = *state;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), sock;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", f->socket);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 1), 0);
	daemon_start(f, (const char *const[]){ "rng", "--fd=7", NULL }, listener);
	close(listener);
	for (unsigned i = 0; i < 2; i++) {
		sock = daemon_connect(f->socket);
		daemon_drive(f, &sock);
	}
	kill(f->program.pid, SIGTERM);
	assert_int_equal(daemon_finish(f), 0);
	/* Whoever made the socket removes it. */
	assert_true(daemon_exists(f->socket));
}

static void sighup_tells_a_running_guest_of_a_new_size(void **state)
{
	struct daemon *f = *state;
	int sock, pair[2];
	struct vu_header h;
	struct pollfd p;

	START(f, "blk", "--file=disk", "--socket-path=socket");
	sock = daemon_connect(f->socket);
	daemon_drive(f, &sock);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(driver_ask(&f->driver, VU_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	assert_int_equal(truncate(f->disk, 2 * DISK), 0);
	kill(f->program.pid, SIGHUP);
	p = (struct pollfd){ .fd = pair[0], .events = POLLIN };
	assert_int_equal(poll(&p, 1, SPAWN_PATIENCE_MS), 1);
	assert_int_equal(recv(pair[0], &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(h.request, VU_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(daemon_blk_request(f, VIRTIO_BLK_T_IN, DISK / 512, 512), VIRTIO_BLK_S_OK);
	close(pair[0]);
	close(pair[1]);
	daemon_stop(f, SIGTERM);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, daemon_setup, daemon_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(wrong_command_lines_get_one_sentence_and_2),
		CASE(what_cannot_be_set_up_gets_one_sentence_and_1),
		CASE(capabilities_are_the_specification_s_words),
		CASE(the_version_is_the_project_s),
		CASE(help_and_manual_name_the_same_options),
		CASE(a_socket_path_is_served_until_sigterm),
		CASE(the_keys_signals_end_it_as_well_without_any_front_end),
		CASE(blk_file_and_read_only_are_understood),
		CASE(a_limit_on_file_sizes_is_an_error_of_the_request),
		CASE(entropy_comes_through_the_filter),
		CASE(a_dead_socket_is_replaced_and_a_live_one_is_not),
		CASE(a_socket_that_is_not_its_own_is_left),
		CASE(an_inherited_connection_is_served_to_its_end),
		CASE(an_inherited_listener_is_served_until_sigterm),
		CASE(sighup_tells_a_running_guest_of_a_new_size),
	};

	return cmocka_run_group_tests_name("backend_program", tests, NULL, NULL);
}
