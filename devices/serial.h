/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A UART (National Semiconductor PC16550D data sheet), as Linux's 8250 driver wants to see
 * it.
 *
 * Theory of operation. There is no baud rate: a byte is sent the moment it is written. What the
 * sink does not take stays in the transmit FIFO, and THRE stays off until the sink has taken all of
 * it; a guest that writes on nevertheless loses bytes, as on the wire, and the host never grows.
 *
 * Input waits in a queue of the host's side and is shown to the guest only while it listens: RTS is
 * set or receive interrupts are enabled. A driver clears FIFOs and discards a byte while it starts,
 * with both off; input piped in before that is not lost. For the same reason clearing the receive
 * FIFO drops looped back bytes only.
 *
 * The interrupt is an edge: an eventfd signalled when a cause appears while there was none.
 * Enabling the transmit interrupt while the FIFO is empty is such a cause, each time; drivers test
 * for that and poll a UART without it. OUT2 does not gate the interrupt: guests exist that never
 * set it.
 *
 * Under the device lock.
 */
#ifndef DEVICES_SERIAL_H
#define DEVICES_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/machine.h"

enum {
	SERIAL_PORT = 0x3f8, SERIAL_PORTS = 8,
	SERIAL_FIFO = 16,		/* of the transmitter, and of the loopback's receiver */
	SERIAL_INPUT = 256,		/* host's side input queue */
};

struct serial_ops {
	/* Takes up to @n bytes of guest output and returns how many; fewer means that it is
	 * full, and serial_output_ready will follow. In a vCPU's exit or the loop: must not
	 * block, and on a vCPU may only write to an fd or post a job. */
	size_t (*output)(void *arg, const uint8_t *bytes, size_t n);
	/* There is room for input again, after serial_input_room said 0 or serial_input took less
	 * than it was given. In a vCPU's exit, mostly. May be NULL. */
	void (*input_room)(void *arg);
};

struct serial {
	struct machine *machine;	/* NULL: not initialised */
	struct bus *bus;
	struct bus_range range;
	const struct serial_ops *ops;
	void *arg;
	int irq;			/* eventfd, owned, an irqfd of the line */
	bool irq_up;			/* level of the interrupt output */

	uint8_t ier, fcr, lcr, mcr, msr, scratch, dll, dlm;
	uint8_t line_errors;		/* LSR's error bits */
	bool thre_event;		/* the transmit interrupt's cause; reading IIR clears it */

	uint8_t tx[SERIAL_FIFO];
	unsigned tx_count;
	uint8_t loopback[SERIAL_FIFO];
	unsigned loopback_count;
	uint8_t input[SERIAL_INPUT];	/* ring */
	unsigned input_at, input_count;
	bool input_wanted;		/* somebody waits for room */
	uint64_t dropped;		/* bytes written while the FIFO was full */
};

/*
 * Set-up. The UART's eight registers on @bus at @base (ports or MMIO), its interrupt on edge line
 * @gsi. @ops and @arg are borrowed; @s must not move until serial_fini. 0 or -errno with @e.
 */
int serial_init(struct serial *s, struct machine *m, struct bus *bus, uint64_t base, unsigned gsi,
		const struct serial_ops *ops, void *arg, struct err *e);
/* Works on a zeroed or half-built struct, twice. Output the sink has not taken is gone. */
void serial_fini(struct serial *s);
/* Registers as after power on; input and output that wait stay. */
void serial_reset(struct serial *s);

/* Loop. How many bytes serial_input would take now. */
size_t serial_input_room(struct serial *s);
/* Loop. Gives the guest input; returns how many bytes were taken. */
size_t serial_input(struct serial *s, const uint8_t *bytes, size_t n);
/* Loop. The sink has room again. */
void serial_output_ready(struct serial *s);

#endif
