/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minivmm-display: what a vhost-user-gpu daemon shows on its screen, as pictures in files. It
 * listens on a Unix socket; minivmm connects there (display=PATH) and gives the connection to its
 * daemon. One daemon after the other is served; the picture stays while there is none.
 *
 * A picture is due after each change of the screen, but not sooner after the one before than --rate
 * says, and not while a message is half on the screen. The last change always gets its picture.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/acceptor.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/listener.h"
#include "base/log.h"
#include "base/seccomp.h"
#include "minivmm_config.h"
#include "vhost/display/confinement.h"
#include "vhost/display/options.h"
#include "vhost/display/peer.h"
#include "vhost/display/pictures.h"
#include "vhost/display/screen.h"

enum exit_code { EXIT_OK = 0, EXIT_SETUP = 1, EXIT_USAGE = 2 };

struct display {
	const struct display_options *options;
	struct loop loop;
	struct listener listener;
	struct acceptor door;		/* somebody is wanted while nobody is connected */
	int signals;
	struct loop_watch signal_watch;
	struct screen screen;
	struct peer peer;
	struct pictures pictures;
	struct loop_timer due;		/* of the next picture */
	bool is_new;			/* the screen is not in a picture yet */
	bool is_wanted;			/* one is, as soon as the screen is whole */
	uint64_t last;			/* clock_ns() of the last one */
	struct misuse failures;		/* one after the other */
};

static void write_picture(struct display *d)
{
	struct err e;

	d->is_new = d->is_wanted = false;
	d->last = clock_ns();
	loop_timer_cancel(&d->loop, &d->due);
	if (!d->screen.pixels)
		return;
	if (pictures_write(&d->pictures, &d->screen, &e) == 0)
		d->failures.count = 0;
	else if (misuse_first(&d->failures))
		log_error("%s", e.msg);
}

/* Now, or at the end of the message that is half read, which is a change. */
static void want_picture(void *arg)
{
	struct display *d = arg;

	d->is_wanted = true;
	if (!peer_is_drawing(&d->peer))
		write_picture(d);
}

static void screen_changed(void *arg)
{
	struct display *d = arg;

	d->is_new = true;
	if (d->is_wanted)
		write_picture(d);
	else if (d->options->rate && !d->due.at)
		loop_timer_set(&d->loop, &d->due, d->last + MS_TO_NS(1000) / d->options->rate);
}

/* Nothing more comes that would be waited for. */
static void write_last_picture(struct display *d)
{
	if (d->is_new || d->is_wanted)
		write_picture(d);
}

static void peer_ended(void *arg)
{
	struct display *d = arg;

	write_last_picture(d);
	acceptor_want(&d->door, true);
}

static const struct peer_ops peer_ops = { .changed = screen_changed, .ended = peer_ended };

static void somebody_connects(void *arg, int *sock)
{
	struct display *d = arg;
	struct err e;

	acceptor_want(&d->door, false);
	if (peer_serve(&d->peer, sock, &e)) {
		log_error("%s", e.msg);
		acceptor_want(&d->door, true);
	}
}

static void signalled(void *arg, uint32_t events)
{
	struct display *d = arg;
	struct signalfd_siginfo info;

	(void)events;
	if (read(d->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGUSR1)
		loop_stop(&d->loop);
	else
		want_picture(d);
}

static int watch_signals(struct display *d, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	signal(SIGPIPE, SIG_IGN);
	/* Behind a limit on file sizes a write fails; it does not end the display. */
	signal(SIGXFSZ, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->signals < 0)
		return err_sys(e, "signalfd");
	d->signal_watch = (struct loop_watch){ .fd = d->signals, .events = EPOLLIN,
					       .ready = signalled, .arg = d };
	return loop_watch(&d->loop, &d->signal_watch, e);
}

static int set_up(struct display *d, struct err *e)
{
	const struct display_options *o = d->options;
	int sock = -1, r = fd_fill_standard();

	if (r)
		return err_set(e, r, "/dev/null: %s", strerror(-r));
	r = loop_init(&d->loop, NULL, e);
	if (r == 0)
		r = watch_signals(d, e);
	if (r == 0)
		r = pictures_open(&d->pictures, o->png, o->dir, (unsigned)o->keep, e);
	if (r == 0)
		r = listener_open(&d->listener, SOCK_STREAM, "--socket ", o->socket, &sock, e);
	if (r)
		return r;
	peer_init(&d->peer, &d->loop, &d->screen, o->width, o->height, &peer_ops, d);
	acceptor_init(&d->door, &d->loop, o->socket, &sock, somebody_connects, d);
	d->due = (struct loop_timer){ .expired = want_picture, .arg = d };
	acceptor_want(&d->door, true);
	if (!HAVE_SECCOMP && !o->seccomp_given)
		log_warn("built without libseccomp: no system call filter");
	return confinement_enter(d->pictures.dir, d->listener.dir,
				 (enum seccomp_mode)o->seccomp, e);
}

static void tear_down(struct display *d)
{
	write_last_picture(d);
	listener_close(&d->listener);
	if (d->peer.loop)
		peer_fini(&d->peer);
	screen_fini(&d->screen);
	pictures_close(&d->pictures);
	acceptor_fini(&d->door);
	fd_close(&d->signals);
	loop_fini(&d->loop);
}

static int run(const struct display_options *o)
{
	struct display d = { .options = o, .loop = { .epoll = -1, .wake = -1 },
			     .listener = { .dir = -1 }, .signals = -1,
			     .screen = SCREEN_NONE, .pictures = PICTURES_NONE };
	int code = EXIT_SETUP;
	struct err e = { "" };

	seccomp_report_setup();
	if (set_up(&d, &e)) {
		log_error("%s", e.msg);
	} else {
		loop_run(&d.loop);
		code = EXIT_OK;
	}
	tear_down(&d);
	return code;
}

int main(int argc, char **argv)
{
	struct display_options o;
	struct err e = { "" };
	int code = EXIT_OK;

	log_setup("minivmm-display", LOG_WARN);
	if (display_options_parse(&o, argc, argv, &e)) {
		log_error("%s", e.msg);
		return EXIT_USAGE;
	}
	log_setup("minivmm-display", (enum log_level)o.log_level);
	if (o.help)
		display_options_help(stdout);
	else if (o.version)
		puts("minivmm-display " MINIVMM_VERSION);
	else
		code = run(&o);
	fflush(stdout);
	/* Not exit(): what its handlers may call is not on the filter's list. */
	_exit(code);
}
