/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minivmm-backend: vhost-user devices, one process each. vhost-user specification, "Backend program
 * conventions". The only place that prints a set-up error and chooses the exit code.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/listener.h"
#include "base/log.h"
#include "base/range.h"
#include "minivmm_config.h"
#include "vhost/backends/device.h"
#include "vhost/backends/options.h"
#include "vhost/backends/sandbox.h"

enum exit_code { EXIT_OK = 0, EXIT_SETUP = 1, EXIT_USAGE = 2, EXIT_MEMORY = 3 };

static const struct device_type *const types[OPTION_TYPES] = {
	[OPTION_BLK] = &blk_device,
	[OPTION_CONSOLE] = &console_device,
	[OPTION_NET] = &net_device,
	[OPTION_PMEM] = &pmem_device,
	[OPTION_RNG] = &rng_device,
	[OPTION_VSOCK] = &vsock_device,
};

struct program {
	struct loop loop;
	const struct device_type *type;
	void *dev;			/* of type */
	struct backend backend;
	struct listener listener;
	int signals;			/* signalfd: SIGHUP looks again, the others end */
	struct loop_watch signal_watch;
};

/* The front end shrank an object it had handed over as guest memory: nothing to go on with. */
static void memory_vanished(int sig)
{
	static const char line[] = "minivmm-backend: guest memory vanished under the device: "
				   "the front end truncated its memory object; ended\n";

	(void)sig;
	if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
		_exit(EXIT_MEMORY);
	_exit(EXIT_MEMORY);
}

/* So that no file of ours ever gets the number that lines are written to. */
static int fill_standard_fds(struct err *e)
{
	int r = fd_fill_standard();

	return r ? err_set(e, r, "/dev/null: %s", strerror(-r)) : 0;
}

static void signalled(void *arg, uint32_t events)
{
	struct program *p = arg;
	struct signalfd_siginfo info;

	(void)events;
	if (read(p->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGHUP)
		loop_stop(&p->loop);
	else if (p->type->reload && p->type->reload(p->dev))
		backend_config_changed(&p->backend);
}

static int watch_signals(struct program *p, struct err *e)
{
	struct sigaction vanished = { .sa_handler = memory_vanished };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	/* A key as well: a terminal that a port has is set back. */
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGHUP);
	sigaction(SIGBUS, &vanished, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* Behind a limit on file sizes (RLIMIT_FSIZE) a write fails; it does not end the device. */
	signal(SIGXFSZ, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	p->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (p->signals < 0)
		return err_sys(e, "signalfd");
	p->signal_watch = (struct loop_watch){
		.fd = p->signals, .events = EPOLLIN, .ready = signalled, .arg = p
	};
	return loop_watch(&p->loop, &p->signal_watch, e);
}

/* Takes over the inherited socket @fd: close-on-exec now; *@ret_listens when it listens. */
static int inherit_socket(int fd, bool *ret_listens, struct err *e)
{
	int listens = 0, type = 0, domain = 0;
	socklen_t len = sizeof(int);

	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(e, "--fd %d was not inherited", fd);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0)
		return err_sys(e, "--fd %d", fd);
	if (type != SOCK_STREAM || domain != AF_UNIX)
		return err_set(e, -EINVAL, "--fd %d is no Unix stream socket", fd);
	*ret_listens = listens;
	return 0;
}

/* After the device: relative paths of its options mean the directory we were started in. */
static int open_socket(struct program *p, const struct options *o, struct err *e)
{
	autoclose int sock = -1;
	bool listens = true;
	int r;

	if (o->socket_path) {
		r = listener_open(&p->listener, SOCK_STREAM, "--socket-path ", o->socket_path,
				  &sock, e);
	} else {
		r = inherit_socket(o->fd, &listens, e);
		if (!r)
			sock = o->fd;
	}
	if (r || !listens)
		return r ? r : backend_connect(&p->backend, &sock, e);
	backend_listen(&p->backend, &sock);
	return 0;
}

static int enter_sandbox(struct program *p, enum seccomp_mode mode, struct err *e)
{
	int dirs[DEVICE_DIRS_MAX + 1];
	size_t n = p->type->socket_dirs ? p->type->socket_dirs(p->dev, dirs) : 0;

	if (p->listener.dir >= 0)
		dirs[n++] = p->listener.dir;
	return sandbox_enter(p->type, dirs, n, mode, e);
}

static int set_up(struct program *p, const struct options *o, struct err *e)
{
	struct backend_device dev;
	int r;

	r = watch_signals(p, e);
	if (r)
		return r;
	r = p->type->open(o, &p->loop, &dev, e);
	if (r)
		return r;
	p->dev = dev.arg;
	r = backend_init(&p->backend, &p->loop, &dev, e);
	if (r)
		return r;
	r = open_socket(p, o, e);
	if (r)
		return r;
	if (!HAVE_SECCOMP && !o->seccomp_given)
		log_warn("built without libseccomp: no system call filter");
	return enter_sandbox(p, (enum seccomp_mode)o->seccomp, e);
}

static void tear_down(struct program *p)
{
	listener_close(&p->listener);
	backend_fini(&p->backend);
	if (p->dev)
		p->type->close(p->dev);
	fd_close(&p->signals);
	loop_fini(&p->loop);
}

static int run(const struct options *o)
{
	static struct program p;	/* large, and one a process */
	int code = EXIT_SETUP;
	struct err e = { "" };

	p = (struct program){ .loop = { .epoll = -1, .wake = -1 }, .type = types[o->type],
				.listener = { .dir = -1 }, .signals = -1 };
	seccomp_report_setup();
	if (fill_standard_fds(&e) || loop_init(&p.loop, NULL, &e) || set_up(&p, o, &e)) {
		log_error("%s", e.msg);
	} else {
		loop_run(&p.loop);
		code = EXIT_OK;
	}
	tear_down(&p);
	return code;
}

int main(int argc, char **argv)
{
	struct err e = { "" };
	struct options o;
	int code = EXIT_OK;

	log_setup("minivmm-backend", LOG_WARN);
	if (options_parse(&o, argc, argv, &e)) {
		log_error("%s", e.msg);
		options_fini(&o);
		return EXIT_USAGE;
	}
	log_setup("minivmm-backend", (enum log_level)o.log_level);
	if (o.help)
		options_help(stdout);
	else if (o.version)
		puts("minivmm-backend " MINIVMM_VERSION);
	else if (o.print_capabilities)
		fputs(types[o.type]->capabilities, stdout);
	else
		code = run(&o);
	options_fini(&o);
	fflush(stdout);
	/* Not exit(): what its handlers may call is not on the filter's list. */
	_exit(code);
}
