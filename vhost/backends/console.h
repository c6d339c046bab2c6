/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console (VIRTIO 1.3, 5.3): console.c is the device, its queues and control messages,
 * console_port.c a port's end on the host: standard input and output, a file, a pseudo-terminal or
 * a Unix socket.
 *
 * Theory of operation. Input is read from the host only while the guest has the port open and took
 * the input before. Output is written at once; what the host does not take now waits, and no
 * further buffer of the port is taken meanwhile. Where nobody is connected output is dropped, since
 * a guest's kernel spins until its console's buffer is taken. No buffer is in flight when a handler
 * returns.
 *
 * Everything in the loop's thread.
 */
#ifndef VHOST_BACKENDS_CONSOLE_H
#define VHOST_BACKENDS_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include "base/acceptor.h"
#include "base/listener.h"
#include "base/loop.h"
#include "vhost/backend.h"
#include "vhost/backends/options.h"

enum {
	CONSOLE_INPUT = 4096,		/* bytes read ahead of the guest */
	CONSOLE_OUTPUT_MAX = 1 << 20,	/* of one buffer; the rest is lost */
};

struct console;

/* Control messages that a port is to send; in this order. */
enum console_due {
	DUE_ADD = 1, DUE_CONSOLE = 2, DUE_NAME = 4, DUE_OPEN = 8,
};

struct console_port {
	struct console *console;
	const struct port_options *o;	/* borrowed */
	unsigned index;
	unsigned due;			/* mask of enum console_due */
	bool guest_open;

	int in, out;			/* owned; -1: none; the same for pty and socket */
	bool connected;			/* somebody is there to read output */
	bool left;			/* of socket: he is gone, but for input that waits */
	struct loop_watch watch_in, watch_out;
	struct termios terminal;	/* of stdio, to set back */
	bool is_terminal;
	pid_t group;			/* this process's, which the terminal's may be or not */
	int in_flags, out_flags;	/* of stdio, to set back */
	struct listener listener;
	struct acceptor door;		/* of socket; else zeroed */
	int opens;			/* owned; inotify of pty: somebody opens it */
	struct loop_watch opens_watch;
	struct loop_timer again;	/* what could not be watched may be now */

	uint8_t input[CONSOLE_INPUT];
	unsigned in_len, in_at;
	uint8_t *output;		/* owned; NULL: nothing waits */
	size_t out_len, out_at;
	struct misuse lost, unwatched;
};

/* Opens what @o names; @p is zeroed but for console and index. 0 or -errno with @e;
 * console_port_fini follows in either case. */
int console_port_init(struct console_port *p, const struct port_options *o, struct err *e);
/* Sets terminals back, closes, removes its socket. */
void console_port_fini(struct console_port *p);
/* Watches what matters now: after the guest took input, opened or closed the port. */
void console_port_update(struct console_port *p);
/* Whether output can be taken now. */
bool console_port_takes(const struct console_port *p);
/* Writes the readable part of @chain, or keeps what cannot be written yet. @iov is scratch space
 * for RING_SEGMENTS_MAX. */
void console_port_write(struct console_port *p, const struct ring_chain *chain,
			struct iovec *iov);

/* By a port: its input or room for output has come. */
void console_wake(struct console_port *p);
/* By a port: somebody of the host has come or gone. */
void console_connected(struct console_port *p, bool connected);
struct loop *console_loop(const struct console *c);

#endif
