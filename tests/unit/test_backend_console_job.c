/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend console on a terminal whose foreground is another's. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "vhost/backends/device.h"
#include "vhost/backends/options.h"

/* In the group of a job, 0 when it opened and closed the device without being stopped for it. */
static int run_job(int shell, bool moves)
{
	struct options o = { .type = OPTION_CONSOLE, .fd = -1, .n_ports = 1 };
	struct backend_device dev;
	struct loop loop;
	struct err e;
	char byte = 0;

	signal(SIGTTOU, SIG_DFL);
	o.ports[0] = (struct port_options){ .stdio = true, .console = true };
	/* Its shell lets it begin, and sees that it has. */
	if (read(shell, &byte, 1) != 1 || loop_init(&loop, NULL, &e) ||
	    console_device.open(&o, &loop, &dev, &e) || write(shell, "x", 1) != 1 ||
	    (moves && read(shell, &byte, 1) != 1))
		return 1;
	console_device.close(dev.arg);
	return 0;
}

/* A shell with a terminal and a job, which begins in the foreground and is @moved to the
 * background, or begins there. 0 when the job was never stopped, and the shell's settings stay. */
static int run_shell(const char *terminal, bool moved)
{
	struct termios mine, now;
	int go[2], status, fd;
	pid_t job;
	char byte;

	signal(SIGTTOU, SIG_IGN);
	setsid();
	fd = open(terminal, O_RDWR);
	if (fd < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
	    tcgetattr(fd, &mine) || socketpair(AF_UNIX, SOCK_STREAM, 0, go))
		return 2;
	job = fork();
	if (!job)
		_exit(run_job(go[1], moved));
	if (setpgid(job, job) || (moved && tcsetpgrp(fd, job)) || write(go[0], "x", 1) != 1)
		return 3;
	close(go[1]);
	if (moved && (read(go[0], &byte, 1) != 1 || tcsetpgrp(fd, getpgrp()) ||
		      tcsetattr(fd, TCSANOW, &mine) || write(go[0], "x", 1) != 1))
		return 4;
	if (waitpid(job, &status, WUNTRACED) != job || tcgetattr(fd, &now))
		return 5;
	if (WIFSTOPPED(status))
		kill(job, SIGKILL);
	return !WIFEXITED(status) || WEXITSTATUS(status) || now.c_lflag != mine.c_lflag;
}

static void a_job_in_the_background_is_not_stopped_for_its_terminal(void **state)
{
	(void)state;
	for (int moved = 0; moved < 2; moved++) {
		autoclose int end = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
		char terminal[64];
		int status;
		pid_t shell;

		assert_int_equal(grantpt(end) | unlockpt(end), 0);
		assert_int_equal(ptsname_r(end, terminal, sizeof(terminal)), 0);
		shell = fork();
		if (!shell)
			_exit(run_shell(terminal, moved));
		assert_int_equal(waitpid(shell, &status, 0), shell);
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_in_the_background_is_not_stopped_for_its_terminal),
	};

	return cmocka_run_group_tests_name("backend_console_job", tests, NULL, NULL);
}
