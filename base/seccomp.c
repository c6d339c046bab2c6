/* SPDX-License-Identifier: Apache-2.0 */
#include "base/seccomp.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/range.h"
#include "minivmm_config.h"

const char *const seccomp_mode_words[] = {
	[SECCOMP_KILL] = "kill", [SECCOMP_LOG] = "log",	 [SECCOMP_ERRNO] = "errno",
	[SECCOMP_OFF] = "off",	 [SECCOMP_MODES] = NULL,
};

static const char *const syscall_names[] = {
#include "base/syscall_names.h"
};

/* Which filter this thread runs under, for the report only. */
static __thread const char *thread_kind = "this";

/* Runs at the blocked call itself: only async-signal-safe functions, and no allocation. */
static void report(int sig, siginfo_t *info, void *context)
{
	char line[192];
	unsigned nr = (unsigned)info->si_syscall;
	const char *name =
		nr < ARRAY_SIZE(syscall_names) && syscall_names[nr] ? syscall_names[nr] : "unknown";
	int n;

	(void)sig;
	(void)context;
	n = snprintf(line, sizeof(line),
		     "minivmm: the %s thread's filter blocked system call %s (%u): ended, nothing "
		     "was done\n",
		     thread_kind, name, nr);
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(SECCOMP_EXIT_CODE);
	_exit(SECCOMP_EXIT_CODE);
}

void seccomp_report_setup(void)
{
	struct sigaction sa = { .sa_sigaction = report, .sa_flags = SA_SIGINFO };

	sigaction(SIGSYS, &sa, NULL);
}

#if HAVE_SECCOMP
#include <seccomp.h>

struct seccomp_filter {
	const char *kind;
	scmp_filter_ctx ctx;
};

/* What the handler above and, in their builds, the sanitizers' run-time libraries need in every
 * thread. */
static const int always_allowed[] = {
	SYS_rt_sigreturn,
	SYS_exit_group,
	SYS_restart_syscall,
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
	SYS_mmap,
	SYS_munmap,
	SYS_madvise,
	SYS_mprotect,
	SYS_sigaltstack,
	SYS_getpid,
	SYS_gettid,
	SYS_sched_yield,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_readlink,
	SYS_openat,
	SYS_open,
	SYS_close,
	SYS_read,
	SYS_write,
	SYS_futex,
	SYS_clock_gettime,
	SYS_prlimit64,
	SYS_tgkill,
	SYS_newfstatat,
	SYS_exit,
	SYS_sched_getaffinity,
	SYS_prctl,
	SYS_getrlimit,
#endif
};

static const uint32_t actions[] = {
	[SECCOMP_KILL] = SCMP_ACT_TRAP,
	[SECCOMP_LOG] = SCMP_ACT_LOG,
	[SECCOMP_ERRNO] = SCMP_ACT_ERRNO(EPERM),
};

int seccomp_filter_new(const char *kind, const struct seccomp_rule *rules, size_t n_rules,
		       enum seccomp_mode mode, struct seccomp_filter **ret, struct err *e)
{
	struct seccomp_filter *f;
	int r = 0;

	*ret = NULL;
	if (mode == SECCOMP_OFF)
		return 0;
	f = malloc(sizeof(*f));
	if (!f)
		return err_set(e, -ENOMEM, "system call filter: out of memory");
	*f = (struct seccomp_filter){ .kind = kind, .ctx = seccomp_init(actions[mode]) };
	if (!f->ctx) {
		free(f);
		return err_set(e, -ENOMEM, "system call filter: libseccomp gave no context");
	}
	for (size_t i = 0; i < ARRAY_SIZE(always_allowed) && r == 0; i++)
		r = seccomp_rule_add(f->ctx, SCMP_ACT_ALLOW, always_allowed[i], 0);
	for (size_t i = 0; i < n_rules && r == 0; i++) {
		const struct seccomp_rule *rule = &rules[i];

		if (rule->arg == SECCOMP_ANY)
			r = seccomp_rule_add(f->ctx, SCMP_ACT_ALLOW, rule->nr, 0);
		else
			r = seccomp_rule_add(f->ctx, SCMP_ACT_ALLOW, rule->nr, 1,
					     SCMP_CMP((unsigned)rule->arg, SCMP_CMP_MASKED_EQ,
						      UINT32_MAX, rule->value));
	}
	if (r < 0) {
		seccomp_filter_free(f);
		return err_set(e, r, "system call filter of the %s thread: %s", kind, strerror(-r));
	}
	*ret = f;
	return 0;
}

int seccomp_filter_install(struct seccomp_filter *f, struct err *e)
{
	int r;

	if (!f)
		return 0;
	thread_kind = f->kind;
	r = seccomp_load(f->ctx);
	if (r < 0)
		return err_set(e, r,
			       "system call filter of the %s thread cannot be installed: %s; "
			       "--seccomp off goes on without",
			       f->kind, strerror(-r));
	return 0;
}

void seccomp_filter_free(struct seccomp_filter *f)
{
	if (!f)
		return;
	seccomp_release(f->ctx);
	free(f);
}

#else

int seccomp_filter_new(const char *kind, const struct seccomp_rule *rules, size_t n_rules,
		       enum seccomp_mode mode, struct seccomp_filter **ret, struct err *e)
{
	(void)kind;
	(void)rules;
	(void)n_rules;
	*ret = NULL;
	return mode == SECCOMP_OFF ? 0
				   : err_set(e, -ENOSYS,
					     "this build has no system call filters: use --seccomp "
					     "off, or build with libseccomp");
}

int seccomp_filter_install(struct seccomp_filter *f, struct err *e)
{
	(void)f;
	(void)e;
	(void)thread_kind;
	return 0;
}

void seccomp_filter_free(struct seccomp_filter *f)
{
	(void)f;
}

#endif
