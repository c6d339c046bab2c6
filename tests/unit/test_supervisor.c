/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a named shm object when VMM, supervisor or spare are killed: at each step of the
 * start, alone and together. A child of the test acts as the VMM and waits at each step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "memory/shm_named.h"
#include "minivmm_config.h"
#include "vmm/supervisor.h"

#define UNUSED_NAME "/test-supervisor-unused"

enum step { STARTED, NAMED, STEPS };
enum role { VMM, MAIN, SPARE, ROLES };

enum {
	REFUSED = 7,			/* exit code of a VMM that could not start */
	PATIENCE_S = 5,
	A_MOMENT_MS = 100,		/* in which what must not happen would have */
};

struct stage {
	char name[64], path[128];
	pid_t pids[ROLES];
	int go, told;			/* pipes to and from the VMM */
	int exit_code;			/* of the VMM; -signal */
};

struct told {
	enum step step;
	pid_t main, spare;
};

static void step_done(struct stage *s, const struct supervisor *su, enum step step)
{
	struct told t = { step, su->main.pid, su->spare.pid };
	char c;

	if (fd_write_all(s->told, &t, sizeof(t)) || fd_read_all(s->go, &c, 1))
		_exit(99);
}

static int start(struct stage *s, struct supervisor *su)
{
	struct supervisor_rights rights = { .shm_name = s->name };
	struct err e;
	int r = supervisor_start(su, &rights, HAVE_SECCOMP ? SECCOMP_KILL : SECCOMP_OFF, &e);

	if (r)
		return r;
	step_done(s, su, STARTED);
	r = shm_named_link(su->shm, s->name, &e);
	if (r == 0)
		step_done(s, su, NAMED);
	return r;
}

static void act_as_vmm(struct stage *s)
{
	struct supervisor su = SUPERVISOR_NONE;
	int r;

	signal(SIGPIPE, SIG_IGN);
	dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
	seccomp_report_setup();
	r = start(s, &su);
	supervisor_end(&su);
	_exit(r ? REFUSED : 0);
}

static struct stage stage_new(void)
{
	struct stage s = { .exit_code = -1 };
	int go[2], told[2];

	snprintf(s.name, sizeof(s.name), "/test-supervisor-%d", (int)getpid());
	snprintf(s.path, sizeof(s.path), "/dev/shm%s", s.name);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	assert_int_equal(pipe2(told, O_CLOEXEC), 0);
	alarm(PATIENCE_S);
	s.pids[VMM] = fork();
	assert_true(s.pids[VMM] >= 0);
	if (s.pids[VMM] == 0) {
		close(go[1]);
		close(told[0]);
		s.go = go[0];
		s.told = told[1];
		act_as_vmm(&s);
	}
	close(go[0]);
	close(told[1]);
	s.go = go[1];
	s.told = told[0];
	return s;
}

static void go_on(const struct stage *s)
{
	assert_int_equal(write(s->go, "", 1), 1);
}

/* Lets the VMM take its steps up to and with @step, where it waits. */
static void go_to(struct stage *s, enum step step)
{
	struct told t;

	for (;;) {
		assert_int_equal(fd_read_all(s->told, &t, sizeof(t)), 0);
		s->pids[MAIN] = t.main;
		s->pids[SPARE] = t.spare;
		if (t.step == step)
			return;
		go_on(s);
	}
}

static struct stage stage_at(enum step step)
{
	struct stage s = stage_new();

	go_to(&s, step);
	return s;
}

/* Whether the process ends within @ms. */
static bool ends(pid_t pid, int ms)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n;

	assert_true(fd >= 0);
	n = poll(&p, 1, ms);
	close(fd);
	return n > 0;
}

static void kill_it(const struct stage *s, enum role role)
{
	assert_int_equal(kill(s->pids[role], SIGKILL), 0);
	assert_true(ends(s->pids[role], PATIENCE_S * 1000));
}

/* Waits for all of them: the supervisor and the spare of a dead VMM became children of the test. */
static void wait_for_all(struct stage *s)
{
	int status;
	pid_t pid;

	close(s->go);
	close(s->told);
	while ((pid = waitpid(-1, &status, 0)) > 0)
		if (pid == s->pids[VMM])
			s->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
	assert_int_equal(errno, ECHILD);
	alarm(0);
}

/* The VMM takes its last step and all of them end. */
static void run_out(struct stage *s)
{
	struct told t;

	go_on(s);
	while (fd_read_all(s->told, &t, sizeof(t)) == 0)
		go_on(s);
	wait_for_all(s);
}

static bool is_there(const struct stage *s)
{
	return access(s->path, F_OK) == 0;
}

/* Another machine's object of the same name. */
static ino_t make_another(const struct stage *s)
{
	struct stat st;
	int fd = shm_open(s->name, O_RDWR | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	return st.st_ino;
}

static void assert_another_is_left(const struct stage *s, ino_t another)
{
	struct stat st;

	assert_int_equal(stat(s->path, &st), 0);
	assert_true(st.st_ino == another);
	assert_int_equal(shm_unlink(s->name), 0);
}

static void a_goodbye_removes_the_name(void **state)
{
	struct stage s = stage_at(NAMED);

	(void)state;
	assert_true(is_there(&s));
	run_out(&s);
	assert_int_equal(s.exit_code, 0);
	assert_false(is_there(&s));
}

static void any_one_may_be_killed_at_any_step(void **state)
{
	(void)state;
	for (enum role role = VMM; role < ROLES; role++) {
		for (enum step step = STARTED; step < STEPS; step++) {
			struct stage s = stage_at(step);

			assert_int_equal(is_there(&s), step == NAMED);
			kill_it(&s, role);
			if (role == VMM)
				wait_for_all(&s);
			else
				run_out(&s);
			if (is_there(&s))
				fail_msg("role %d killed at step %d: the name is left", role, step);
			assert_int_equal(s.exit_code, role == VMM ? -SIGKILL : 0);
		}
	}
}

static void the_vmm_and_one_more_may_be_killed(void **state)
{
	(void)state;
	for (enum role role = MAIN; role < ROLES; role++) {
		for (enum step step = STARTED; step < STEPS; step++) {
			struct stage s = stage_at(step);

			kill_it(&s, role);
			kill_it(&s, VMM);
			wait_for_all(&s);
			if (is_there(&s))
				fail_msg("role %d killed at step %d: the name is left", role, step);
		}
	}
}

static void both_supervisors_may_be_killed_before_there_is_a_name(void **state)
{
	struct stage s = stage_at(STARTED);

	(void)state;
	for (enum role role = ROLES; role-- > VMM;)
		kill_it(&s, role);
	wait_for_all(&s);
	assert_false(is_there(&s));
}

static void the_spare_waits_until_the_supervisor_has_ended(void **state)
{
	struct stage s = stage_at(NAMED);

	(void)state;
	assert_int_equal(kill(s.pids[MAIN], SIGSTOP), 0);
	kill_it(&s, VMM);
	assert_false(ends(s.pids[SPARE], A_MOMENT_MS));
	assert_true(is_there(&s));
	kill_it(&s, MAIN);
	wait_for_all(&s);
	assert_false(is_there(&s));
}

static void an_object_that_took_the_name_is_not_removed(void **state)
{
	(void)state;
	for (unsigned killed = 0; killed < 2; killed++) {
		struct stage s = stage_at(NAMED);
		ino_t another;

		assert_int_equal(shm_unlink(s.name), 0);
		another = make_another(&s);
		if (killed) {
			kill_it(&s, VMM);
			wait_for_all(&s);
		} else {
			run_out(&s);
		}
		assert_another_is_left(&s, another);
	}
}

static void an_object_that_had_the_name_before_is_not_removed(void **state)
{
	(void)state;
	for (unsigned killed = 0; killed < 2; killed++) {
		struct stage s = stage_at(STARTED);
		ino_t another = make_another(&s);

		if (killed) {
			kill_it(&s, VMM);
			wait_for_all(&s);
		} else {
			run_out(&s);
			assert_int_equal(s.exit_code, REFUSED);
		}
		assert_another_is_left(&s, another);
	}
}

static void when_all_are_killed_the_next_start_is_refused(void **state)
{
	struct stage s = stage_at(NAMED), next;
	struct err e;
	int fd = -1;

	(void)state;
	for (int role = ROLES - 1; role >= 0; role--)
		kill_it(&s, (enum role)role);
	wait_for_all(&s);
	assert_true(is_there(&s));
	assert_int_equal(shm_named_create(&fd, &e), 0);
	assert_int_equal(shm_named_link(fd, s.name, &e), -EEXIST);
	assert_non_null(strstr(e.msg, "remove it (rm /dev/shm/test-supervisor-"));
	close(fd);
	next = stage_at(STARTED);
	run_out(&next);
	assert_int_equal(next.exit_code, REFUSED);
	assert_true(is_there(&s));
	assert_int_equal(shm_unlink(s.name), 0);
}

static void without_a_name_there_is_no_spare_and_no_object(void **state)
{
	struct supervisor_rights rights = { .n_sockets = 0 };
	struct supervisor s;
	struct err e;

	(void)state;
	assert_int_equal(supervisor_start(&s, &rights, SECCOMP_OFF, &e), 0);
	assert_int_equal(s.spare.pid, -1);
	assert_int_equal(s.spare.sock, -1);
	assert_int_equal(s.shm, -1);
	supervisor_end(&s);
	supervisor_end(&s);
}

/* A subverted VMM has the sockets, and can send what it likes. */
static void whatever_it_is_asked_the_spare_connects_to_nothing(void **state)
{
	static const struct supervisor_socket sockets[] = { { "/nonexistent", SOCK_STREAM } };
	struct supervisor_rights rights = { .sockets = sockets, .n_sockets = 1,
					    .shm_name = UNUSED_NAME };
	const uint32_t connect_to_0[2] = { 0, 0 };
	char answer[4096];
	struct supervisor s;
	struct err e;

	(void)state;
	assert_int_equal(supervisor_start(&s, &rights, SECCOMP_OFF, &e), 0);
	assert_int_equal(supervisor_connect(&s, 0, &e), -ENOENT);
	assert_int_equal(supervisor_connect(&s, 1, &e), -EACCES);
	assert_int_equal(send(s.spare.sock, connect_to_0, sizeof(connect_to_0), 0),
			 sizeof(connect_to_0));
	assert_true(recv(s.spare.sock, answer, sizeof(answer), 0) >= (ssize_t)sizeof(int32_t));
	assert_int_equal(*(int32_t *)answer, -EACCES);
	supervisor_end(&s);
}

/* A socket where this process listens for @backlog and one; its name is written to @path. */
static int listener(char path[64], int backlog)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(path, 64, "/tmp/test-supervisor-%d", (int)getpid());
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	unlink(path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

/* The answer to socket @index, within a moment. */
static struct supervisor_answer answer_to(struct supervisor *s, unsigned index)
{
	struct pollfd p = { .fd = s->main.sock, .events = POLLIN };
	struct supervisor_answer a;
	struct err e;

	assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
	assert_int_equal(supervisor_receive(s, &a, &e), 0);
	assert_int_equal(a.index, index);
	return a;
}

static void who_asks_without_waiting_gets_connection_and_peer_or_a_sentence(void **state)
{
	char path[64];
	const struct supervisor_socket sockets[] = {
		{ "/nonexistent", SOCK_STREAM }, { path, SOCK_STREAM }, { NULL, 0 },
	};
	struct supervisor_rights rights = { .sockets = sockets, .n_sockets = ARRAY_SIZE(sockets) };
	struct supervisor_answer a;
	struct supervisor s;
	struct err e;
	int fd;

	(void)state;
	fd = listener(path, 0);
	assert_int_equal(supervisor_start(&s, &rights, HAVE_SECCOMP ? SECCOMP_KILL : SECCOMP_OFF,
					  &e), 0);
	for (unsigned i = 0; i <= ARRAY_SIZE(sockets); i++)
		assert_int_equal(supervisor_ask(&s, i, &e), 0);
	a = answer_to(&s, 0);
	assert_int_equal(a.error, -ENOENT);
	assert_non_null(strstr(a.why.msg, "there is no such socket"));
	a = answer_to(&s, 1);
	assert_int_equal(a.error, 0);
	assert_true(a.fd >= 0 && a.pidfd >= 0);
	/* No path of an inherited socket, and none at all. */
	assert_int_equal(answer_to(&s, 2).error, -EACCES);
	assert_int_equal(answer_to(&s, 3).error, -EACCES);
	/* Who does not accept is not waited for, as others and the end would be, too. */
	assert_int_equal(supervisor_ask(&s, 1, &e), 0);
	assert_int_equal(answer_to(&s, 1).error, -EAGAIN);
	supervisor_end(&s);
	assert_int_equal(supervisor_ask(&s, 1, &e), -EPIPE);
	close(a.fd);
	close(a.pidfd);
	close(fd);
	unlink(path);
}

/* Others may have taken them all for a while. */
static void an_answer_without_a_descriptor_for_it_is_not_the_end(void **state)
{
	char path[64];
	const struct supervisor_socket sockets[] = { { path, SOCK_STREAM } };
	struct supervisor_rights rights = { .sockets = sockets, .n_sockets = 1 };
	struct rlimit limit, low;
	struct supervisor_answer a;
	struct supervisor s;
	struct err e;
	int fd;

	(void)state;
	fd = listener(path, 2);
	assert_int_equal(supervisor_start(&s, &rights, SECCOMP_OFF, &e), 0);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	for (int few = 1; few >= 0; few--) {
		low.rlim_cur = (rlim_t)(dup(fd) + few);
		close((int)low.rlim_cur - few);
		assert_int_equal(supervisor_ask(&s, 0, &e), 0);
		setrlimit(RLIMIT_NOFILE, &low);
		a = answer_to(&s, 0);
		setrlimit(RLIMIT_NOFILE, &limit);
		assert_int_equal(a.error, -EMFILE);
		assert_true(a.fd < 0 && a.pidfd < 0);
	}
	assert_int_equal(supervisor_ask(&s, 0, &e), 0);
	a = answer_to(&s, 0);
	supervisor_end(&s);
	assert_int_equal(close(a.fd) + close(a.pidfd) + close(fd), 0);
	unlink(path);
}

static void a_supervisor_that_was_killed_answers_no_more(void **state)
{
	static const struct supervisor_socket sockets[] = { { "/nonexistent", SOCK_STREAM } };
	struct supervisor_rights rights = { .sockets = sockets, .n_sockets = 1 };
	struct supervisor_answer a;
	struct supervisor s;
	struct err e;

	(void)state;
	assert_int_equal(supervisor_start(&s, &rights, SECCOMP_OFF, &e), 0);
	assert_int_equal(kill(s.main.pid, SIGKILL), 0);
	assert_true(ends(s.main.pid, PATIENCE_S * 1000));
	assert_int_equal(supervisor_receive(&s, &a, &e), -EPIPE);
	assert_int_equal(supervisor_ask(&s, 0, &e), -EPIPE);
	supervisor_end(&s);
}

/* Ctrl-C goes to the whole group, and may come before a supervisor has run at all. */
static void a_terminal_s_signal_never_ends_them(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct supervisor_rights rights = { .shm_name = UNUSED_NAME };
		struct supervisor s;
		struct err e;
		int left;

		setpgid(0, 0);
		for (unsigned i = 0; i < 20; i++) {
			signal(SIGINT, SIG_DFL);
			left = supervisor_start(&s, &rights, SECCOMP_OFF, &e);
			signal(SIGINT, SIG_IGN);
			kill(0, SIGINT);
			left = left || waitpid(-1, NULL, WNOHANG) != 0;
			usleep(1000);
			left = left || waitpid(-1, NULL, WNOHANG) != 0;
			supervisor_end(&s);
			if (left)
				_exit(1);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* The VMM makes it raw at once: the supervisors may not have run by then. */
static void a_terminal_is_as_before_the_start_after_a_kill_and_left_alone_by_a_goodbye(void **state)
{
	(void)state;
	for (unsigned goodbye = 0; goodbye < 2; goodbye++) {
		int keys = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), terminal;
		struct termios before, after;
		pid_t pid;

		assert_true(keys >= 0 && grantpt(keys) == 0 && unlockpt(keys) == 0);
		terminal = open(ptsname(keys), O_RDWR | O_NOCTTY | O_CLOEXEC);
		assert_int_equal(tcgetattr(terminal, &before), 0);
		pid = fork();
		if (pid == 0) {
			struct supervisor_rights rights = { .shm_name = UNUSED_NAME };
			struct termios raw = before;
			struct supervisor s;
			struct err e;

			cfmakeraw(&raw);
			dup2(terminal, STDIN_FILENO);
			if (supervisor_start(&s, &rights, SECCOMP_OFF, &e) ||
			    tcsetattr(terminal, TCSANOW, &raw))
				_exit(1);
			if (goodbye)
				supervisor_end(&s);
			_exit(0);
		}
		while (waitpid(-1, NULL, 0) > 0)
			;
		assert_int_equal(tcgetattr(terminal, &after), 0);
		assert_int_equal(after.c_lflag == before.c_lflag, !goodbye);
		close(terminal);
		close(keys);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_goodbye_removes_the_name),
		cmocka_unit_test(any_one_may_be_killed_at_any_step),
		cmocka_unit_test(the_vmm_and_one_more_may_be_killed),
		cmocka_unit_test(both_supervisors_may_be_killed_before_there_is_a_name),
		cmocka_unit_test(the_spare_waits_until_the_supervisor_has_ended),
		cmocka_unit_test(an_object_that_took_the_name_is_not_removed),
		cmocka_unit_test(an_object_that_had_the_name_before_is_not_removed),
		cmocka_unit_test(when_all_are_killed_the_next_start_is_refused),
		cmocka_unit_test(without_a_name_there_is_no_spare_and_no_object),
		cmocka_unit_test(whatever_it_is_asked_the_spare_connects_to_nothing),
		cmocka_unit_test(who_asks_without_waiting_gets_connection_and_peer_or_a_sentence),
		cmocka_unit_test(an_answer_without_a_descriptor_for_it_is_not_the_end),
		cmocka_unit_test(a_supervisor_that_was_killed_answers_no_more),
		cmocka_unit_test(a_terminal_s_signal_never_ends_them),
		cmocka_unit_test(
			a_terminal_is_as_before_the_start_after_a_kill_and_left_alone_by_a_goodbye),
	};

	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests_name("supervisor", tests, NULL, NULL);
}
