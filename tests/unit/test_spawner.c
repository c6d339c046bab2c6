/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon that is started, what it finds, and how it and all that came of it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "tests/unit/process.h"
#include "vmm/spawner.h"

enum { PATIENCE_S = 60, PIDS_MAX = 4 };

struct rig {
	struct loop loop;
	struct vhost_user_options options;
	struct spawner s;
	struct vhost_user_link link;
	int conn;			/* the connection, or -1 */
	struct err never;		/* why there will be none */
	bool hopeless;
	int said[2], standard;		/* pipe in place of standard error; that itself */
	unsigned fds;
	char dir[32];
};

static void try(void *arg, int *sock, int *pidfd)
{
	struct rig *r = arg;

	assert_int_equal(*pidfd, -1);
	r->conn = fd_take(sock);
}

static void hopeless(void *arg)
{
	((struct rig *)arg)->hopeless = true;
}

static void never(void *arg, const char *why)
{
	err_set(&((struct rig *)arg)->never, -1, "%s", why);
}

static const struct vhost_user_link_ops ops = { .try = try, .hopeless = hopeless, .never = never };

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct err e;

	snprintf(r->dir, sizeof(r->dir), "/tmp/test-spawner.XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	setenv("XDG_RUNTIME_DIR", r->dir, true);
	r->fds = process_fds();
	r->conn = -1;
	assert_int_equal(pipe2(r->said, O_CLOEXEC), 0);
	r->standard = dup(STDERR_FILENO);
	assert_int_equal(loop_init(&r->loop, NULL, &e), 0);
	vhost_user_link_init(&r->link, &r->loop, "rng0", &ops, r);
	alarm(PATIENCE_S);
	*state = r;
	return 0;
}

static void end(struct rig *r)
{
	vhost_user_link_fini(&r->link);
	spawners_end(&r->s, 1);
	spawners_end(&r->s, 1);
}

static int teardown(void **state)
{
	struct rig *r = *state;

	end(r);
	dup2(r->standard, STDERR_FILENO);
	fd_close(&r->standard);
	fd_close(&r->said[0]);
	fd_close(&r->said[1]);
	loop_fini(&r->loop);
	vhost_user_options_free(&r->options);
	fd_close(&r->conn);
	alarm(0);
	assert_int_equal(process_fds(), r->fds);
	/* Nothing is left where daemons listen. */
	assert_int_equal(rmdir(r->dir), 0);
	/* Nobody is left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	free(r);
	return 0;
}

/* Begins to connect to what @command starts, for which commas are written once. */
static void begin(struct rig *r, const char *command)
{
	char text[2048], *out = text;
	struct err e;

	out += sprintf(out, "rng,exec=");
	for (; *command; command++) {
		*out++ = *command;
		if (*command == ',')
			*out++ = ',';
	}
	*out = '\0';
	if (vhost_user_options_parse(&r->options, text, &e))
		fail_msg("%s", e.msg);
	dup2(r->said[1], STDERR_FILENO);
	assert_int_equal(spawner_start(&r->s, &r->options, &e), 0);
	dup2(r->standard, STDERR_FILENO);
	spawner_use(&r->s, &r->loop);
	vhost_user_link_begin(&r->link, &spawner_dialer, &r->s, 0);
}

static void until_it_is_tried(struct rig *r)
{
	while (r->link.state != VHOST_USER_LINK_TRYING) {
		if (r->never.msg[0])
			fail_msg("%s", r->never.msg);
		loop_once(&r->loop, -1);
	}
}

static void until_it_is_given_up(struct rig *r)
{
	while (!r->never.msg[0])
		loop_once(&r->loop, -1);
	assert_false(vhost_user_link_is_on(&r->link));
	assert_false(r->hopeless);
}

static void start(struct rig *r, const char *command)
{
	begin(r, command);
	until_it_is_tried(r);
	vhost_user_link_up(&r->link, "");
}

/* Its end of the connection is closed at its end only, by which it has its status. */
static void until_it_hangs_up(struct rig *r)
{
	char c;

	assert_int_equal(fd_read_all(r->conn, &c, 1), -ENODATA);
	fd_close(&r->conn);
}

/* The next line on standard error. */
static const char *line(struct rig *r)
{
	static char text[2048];
	size_t n = 0;

	do {
		assert_true(n < sizeof(text) - 1);
		assert_int_equal(fd_read_all(r->said[0], text + n, 1), 0);
	} while (text[n++] != '\n');
	text[n - 1] = '\0';
	return text;
}

/* A line that begins with the device's name and @word: the number behind it, of a process. */
static pid_t pid_of(struct rig *r, const char *word)
{
	const char *text = line(r), *at = strstr(text, word);

	if (!at || strncmp(text, "rng0: ", 6))
		fail_msg("\"%s\" is no line of rng0 with %s", text, word);
	return (pid_t)strtol(at + strlen(word), NULL, 10);
}

static int hold(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	assert_true(fd >= 0);
	return fd;
}

static void is_over(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
	close(pidfd);
}

static void contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

/* Its start */

static void it_is_connected_by_its_descriptor(void **state)
{
	struct rig *r = *state;
	char c[2];

	start(r, "sh -c 'cat <&$1 >&$1' sh %d");
	assert_int_equal(write(r->conn, "xy", 2), 2);
	assert_int_equal(fd_read_all(r->conn, c, 2), 0);
	assert_memory_equal(c, "xy", 2);
}

/* What a container made of this test is inherited. */
static void assert_inherited(struct rig *r, const char *name, int ours)
{
	char want[64];

	snprintf(want, sizeof(want), "%s:\t%d", name, ours);
	contains(line(r), want);
}

static void it_has_nothing_but_what_it_needs(void **state)
{
	struct rig *r = *state;

	start(r, "sh -c 'for i in 0 1 2 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/$$/fd/$i ] && echo fd $i; done; echo end;"
		 " readlink /proc/$$/fd/0; grep -E \"^(NoNewPrivs|Seccomp|SigBlk):\" /proc/self/status;"
		 " echo $PPID; cut -d\" \" -f6 /proc/$$/stat; echo $$ >&2; exec sleep 1000' sh %d");
	for (int i = 0; i < 4; i++)
		assert_int_equal(pid_of(r, "fd "), i);
	assert_string_equal(line(r), "rng0: end");
	assert_string_equal(line(r), "rng0: /dev/null");
	contains(line(r), "SigBlk:\t0000000000000000");
	assert_inherited(r, "NoNewPrivs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	assert_inherited(r, "Seccomp", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
	assert_int_equal(pid_of(r, "rng0: "), r->s.pid);
	assert_int_equal(pid_of(r, "rng0: "), pid_of(r, "rng0: "));
}

static void what_cannot_be_started_says_why(void **state)
{
	struct rig *r = *state;

	begin(r, "/nonexistent/daemon --fd %d");
	until_it_is_given_up(r);
	assert_string_equal(r->never.msg, "device rng0: exec=/nonexistent/daemon --fd %d: cannot be started: No such"
			    " file or directory");
}

static void who_ends_before_he_listens_says_how(void **state)
{
	struct rig *r = *state;

	begin(r, "sh -c 'echo bye; exit 3' %s");
	until_it_is_given_up(r);
	contains(r->never.msg, "device rng0: exec=sh -c 'echo bye; exit 3' %s: ");
	contains(r->never.msg, "its daemon ended with exit status 3, before it listened");
	assert_string_equal(line(r), "rng0: bye");
}

static void who_is_of_no_use_is_ended_and_explained(void **state)
{
	static const struct {
		const char *command, *how;
	} rows[] = {
		{ "sh -c 'exit 7' %d", "too bad; its daemon ended with exit status 7: sh -c 'exit 7' %d" },
		{ "sh -c 'kill $$' %d", "too bad; its daemon was ended by signal 15 (Terminated): sh -c" },
		{ "sleep 1000 %d", "too bad" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig *r = *state;
		const char *at;

		begin(r, rows[i].command);
		until_it_is_tried(r);
		if (i < 2)
			until_it_hangs_up(r);
		fd_close(&r->conn);
		vhost_user_link_failed(&r->link, "rng0: too bad");
		until_it_is_given_up(r);
		at = strstr(r->never.msg, "too bad");
		assert_non_null(at);
		if (strncmp(at, rows[i].how, strlen(rows[i].how)))
			fail_msg("\"%s\" is not \"%s\"", at, rows[i].how);
		if (i == 2)
			assert_string_equal(at, "too bad");
		teardown(state);
		setup(state);
	}
}

static void without_a_keeper_there_is_none(void **state)
{
	struct rig *r = *state;

	begin(r, "sleep 1000 %d");
	assert_int_equal(kill(r->s.pid, SIGKILL), 0);
	until_it_is_given_up(r);
	assert_string_equal(r->never.msg, "device rng0: the process that starts its daemon is gone");
}

static void without_a_descriptor_left_there_is_none(void **state)
{
	struct rig *r = *state;
	struct rlimit before, none;

	begin(r, "sleep 1000 %d");
	while (r->link.state != VHOST_USER_LINK_ASKING)
		loop_once(&r->loop, -1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 0, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	while (r->link.state == VHOST_USER_LINK_ASKING)
		loop_once(&r->loop, -1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	until_it_is_given_up(r);
	contains(r->never.msg, "no file descriptor left for the connection");
}

/* Its end */

/* A daemon whose processes are everywhere: in its group, in another session, without a parent. */
#define STAYS " trap : TERM; while :; do sleep 1000; done"
#define FAMILY                                                              \
	"sh -c 'sh -c \"echo second \\$\\$;" STAYS "\" &"                     \
	" (setsid sh -c \"echo third \\$\\$;" STAYS "\" &); echo first $$;" STAYS "' sh %d"

static void hold_family(struct rig *r, int held[3])
{
	static const char *const names[] = { "first ", "second ", "third " };

	for (unsigned i = 0; i < 3; i++) {
		const char *text = line(r);

		for (unsigned k = 0; k < 3; k++) {
			const char *at = strstr(text, names[k]);

			if (at)
				held[k] = hold((pid_t)strtol(at + strlen(names[k]), NULL, 10));
		}
	}
}

static void all_that_came_of_it_ends_with_the_machine(void **state)
{
	struct rig *r = *state;
	int held[3] = { -1, -1, -1 };

	start(r, FAMILY);
	hold_family(r, held);
	end(r);
	for (unsigned i = 0; i < 3; i++)
		is_over(held[i]);
}

static void one_that_hangs_is_ended_at_once(void **state)
{
	struct rig *r = *state;
	int held[3] = { -1, -1, -1 };

	start(r, FAMILY);
	hold_family(r, held);
	assert_true(vhost_user_link_dismiss(&r->link, false));
	for (unsigned i = 0; i < 3; i++)
		is_over(held[i]);
	contains(line(r), "device rng0: its daemon was still running and has been ended: sh -c");
}

/* Of which the keeper knows nothing. */
static pid_t fork_writer(struct rig *r, const char *path)
{
	static const char text[] = "more and more and more and more and more\n";
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	pid_t pid = fork();

	if (pid == 0) {
		fd_close(&r->s.sock);
		while (write(fd, text, sizeof(text) - 1) > 0)
			;
		_exit(0);
	}
	assert_true(fd >= 0 && pid > 0);
	close(fd);
	return pid;
}

static pid_t fork_reader(struct rig *r)
{
	char text[4096];
	pid_t pid = fork();

	if (pid == 0) {
		fd_close(&r->s.sock);
		while (read(r->said[0], text, sizeof(text)) > 0)
			;
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

static void who_else_has_its_output_does_not_hold_up_the_end(void **state)
{
	struct rig *r = *state;
	pid_t others[3];
	char path[64];

	start(r, "sh -c 'echo here $$; exec sleep 1000' sh %d");
	snprintf(path, sizeof(path), "/proc/%d/fd/1", (int)pid_of(r, "here "));
	others[0] = fork_reader(r);
	others[1] = fork_writer(r, path);
	others[2] = fork_writer(r, path);
	end(r);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		kill(others[i], SIGKILL);
		assert_int_equal(waitpid(others[i], NULL, 0), others[i]);
	}
}

static void a_terminal_that_nobody_reads_does_not_hold_up_the_end(void **state)
{
	struct rig *r = *state;
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), terminal;

	assert_true(master >= 0);
	assert_int_equal(grantpt(master) | unlockpt(master), 0);
	terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(terminal >= 0);
	dup2(terminal, r->said[1]);
	close(terminal);
	start(r, "sh -c 'exec yes \"$(printf %%0500d 7)\"' sh %d");
	/* Until it is full. */
	for (unsigned i = 0; i < 10; i++)
		poll(NULL, 0, 50);
	end(r);
	close(master);
}

static void the_next_one_is_started_when_one_is_lost(void **state)
{
	struct rig *r = *state;
	pid_t first, second;
	int held;

	start(r, "sh -c 'echo here $$; exec cat <&$1 >&$1' sh %d");
	first = pid_of(r, "here ");
	held = hold(first);
	assert_int_equal(kill(first, SIGKILL), 0);
	is_over(held);
	fd_close(&r->conn);
	assert_true(vhost_user_link_dismiss(&r->link, true));
	vhost_user_link_lost(&r->link);
	until_it_is_tried(r);
	contains(line(r), "device rng0: its daemon was ended by signal 9 (Killed): sh -c");
	second = pid_of(r, "here ");
	assert_true(second != first);
	vhost_user_link_up(&r->link, "");
}

static void a_program_that_is_gone_is_told_of(void **state)
{
	char program[] = "/tmp/test-spawner-XXXXXX", command[64];
	struct rig *r = *state;

	assert_non_null(mkdtemp(program));
	assert_int_equal(rmdir(program), 0);
	assert_int_equal(symlink("/bin/true", program), 0);
	snprintf(command, sizeof(command), "%s %%d", program);
	start(r, command);
	until_it_hangs_up(r);
	assert_int_equal(unlink(program), 0);
	vhost_user_link_dismiss(&r->link, true);
	vhost_user_link_lost(&r->link);
	while (r->link.state != VHOST_USER_LINK_ASKING)
		loop_once(&r->loop, -1);
	while (r->link.state == VHOST_USER_LINK_ASKING)
		loop_once(&r->loop, -1);
	contains(r->link.told.msg, "cannot be started: No such file or directory");
}

static void what_is_of_no_use_again_and_again_is_told_once(void **state)
{
	char count[] = "/tmp/test-spawner-XXXXXX", command[256];
	struct rig *r = *state;
	int fd = mkstemp(count);

	/* The first four end with 1, the others with 2. */
	snprintf(command, sizeof(command),
		 "sh -c 'echo >>$0; exit $(( $(wc -l <$0) > 4 ? 2 : 1 ))' %s %%d", count);
	start(r, command);
	until_it_hangs_up(r);
	vhost_user_link_dismiss(&r->link, true);
	vhost_user_link_lost(&r->link);
	for (unsigned i = 1; i < 6; i++) {
		loop_timer_cancel(&r->loop, &r->link.pause);
		r->link.pause.expired(r->link.pause.arg);
		until_it_is_tried(r);
		until_it_hangs_up(r);
		vhost_user_link_failed(&r->link, "it is of no use");
	}
	contains(line(r), "its daemon ended with exit status 1");
	contains(line(r), "its daemon ended with exit status 2");
	close(fd);
	unlink(count);
}

static void its_first_process_goes_with_the_keeper(void **state)
{
	struct rig *r = *state;
	int held;

	start(r, "sh -c 'echo here $$; exec sleep 1000' sh %d");
	held = hold(pid_of(r, "here "));
	assert_int_equal(kill(r->s.pid, SIGKILL), 0);
	is_over(held);
	fd_close(&r->conn);
	vhost_user_link_dismiss(&r->link, true);
	vhost_user_link_lost(&r->link);
	while (!r->hopeless)
		loop_once(&r->loop, -1);
}

static void a_subverted_machine_gets_nothing_else(void **state)
{
	static const uint32_t orders[] = { UINT32_MAX, 4, 1000 };
	struct rig *r = *state;
	int held;

	begin(r, "sh -c 'echo here $$; exec sleep 1000' sh %d");
	for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
		assert_int_equal(fd_send(r->s.sock, &orders[i], sizeof(orders[i]),
					 &r->said[1], 1),
				 sizeof(orders[i]));
	until_it_is_tried(r);
	vhost_user_link_up(&r->link, "");
	held = hold(pid_of(r, "here "));
	/* What is no order is the end. */
	assert_int_equal(fd_send(r->s.sock, "sh", 2, NULL, 0), 2);
	is_over(held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		CASE(it_is_connected_by_its_descriptor),
		CASE(it_has_nothing_but_what_it_needs),
		CASE(what_cannot_be_started_says_why),
		CASE(who_ends_before_he_listens_says_how),
		CASE(who_is_of_no_use_is_ended_and_explained),
		CASE(without_a_keeper_there_is_none),
		CASE(without_a_descriptor_left_there_is_none),
		CASE(all_that_came_of_it_ends_with_the_machine),
		CASE(one_that_hangs_is_ended_at_once),
		CASE(who_else_has_its_output_does_not_hold_up_the_end),
		CASE(a_terminal_that_nobody_reads_does_not_hold_up_the_end),
		CASE(the_next_one_is_started_when_one_is_lost),
		CASE(a_program_that_is_gone_is_told_of),
		CASE(what_is_of_no_use_again_and_again_is_told_once),
		CASE(its_first_process_goes_with_the_keeper),
		CASE(a_subverted_machine_gets_nothing_else),
#undef CASE
	};

	signal(SIGPIPE, SIG_IGN);
	log_setup("test", LOG_WARN);
	return cmocka_run_group_tests_name("spawner", tests, NULL, NULL);
}
