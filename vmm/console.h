/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is at the other end of the serial port: the terminal, a file, or nothing.
 *
 * A terminal on standard input is raw while the VM runs; Ctrl-A x ends the VM, Ctrl-A Ctrl-A sends
 * one Ctrl-A. The flags of the inherited fds are shared with the shell and never changed: reading
 * and writing wait for epoll instead, and take no more than is sure not to block. Output passes
 * through a buffer of fixed size; while it is full the guest's transmitter stays busy, so that a
 * guest can slow down only itself.
 *
 * Loop thread, under the device lock; output is taken in a vCPU's exit and written by the loop.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

#include "base/err.h"
#include "base/loop.h"
#include "devices/serial.h"

enum { CONSOLE_BUFFER = 4096, CONSOLE_CHUNK = 512 };

/* One direction: an fd, and how the loop is told that it is ready. */
struct console_end {
	int fd;				/* -1: nothing there */
	bool polled;			/* epoll takes it; a regular file is ready, by a job */
	bool wanted;			/* somebody waits for it to become ready */
	struct loop_watch watch;
	struct loop_job job;
};

struct console {
	struct loop *loop;
	struct serial *serial;		/* borrowed */
	void (*quit)(void *arg);
	void (*first_byte)(void *arg);
	void *arg;
	struct console_end in, out;
	int file;			/* of file=PATH or a terminal opened anew, owned; -1 */
	bool raw, escape, seen;
	struct termios saved;
	uint8_t buffer[CONSOLE_BUFFER];	/* output the loop has yet to write: a ring */
	size_t at, used;
	struct loop_job flush;		/* a vCPU put something in the buffer */
	struct loop_job resume;		/* a vCPU made room for input */
};

/* The serial port's ops; its arg is the struct console. */
extern const struct serial_ops console_serial_ops;

/*
 * @mode: "stdio", "null" or "file=PATH". Opens; the terminal is left alone until console_start.
 * @quit and @first_byte are called with @arg, in the loop and in any thread. 0 or -errno with @e.
 */
int console_init(struct console *c, const char *mode, struct loop *loop, struct serial *serial,
		 void (*quit)(void *arg), void (*first_byte)(void *arg), void *arg, struct err *e);
/* The terminal becomes raw, input flows. 0 or -errno with @e. */
int console_start(struct console *c, struct err *e);
/* Writes what is still buffered if that does not block, gives the terminal back. Works twice,
 * and on a zeroed struct. */
void console_fini(struct console *c);

/* Gives the terminal to whoever stops us (SIGTSTP); whether it was ours. */
bool console_suspend(struct console *c);
/* Takes back what console_suspend gave. */
void console_resume(struct console *c);

#endif
