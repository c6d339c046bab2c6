/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/child.h"

#include <signal.h>
#include <unistd.h>

#include "base/range.h"

static void ignore_signals(void)
{
	static const int ignored[] = {
		SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTTOU, SIGTSTP
	};

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
}

pid_t child_fork(void)
{
	sigset_t all, old;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		ignore_signals();
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return pid;
}
