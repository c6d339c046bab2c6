/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/serial.h"

#include <linux/serial_reg.h>
#include <string.h>

#include "base/fd.h"
#include "base/range.h"

enum {
	/* The other side of the cable is always there. */
	MSR_LINES = UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS,
	/* As firmware leaves it, so that a guest that never writes MCR receives. */
	MCR_START = UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2,
	MCR_BITS = UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT1 | UART_MCR_OUT2 | UART_MCR_LOOP,
	IER_BITS = UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI,
	IIR_TIMEOUT = 0x0c,		/* fewer bytes than the trigger level, and no more come */
	IIR_FIFOS = 0xc0,
	DIVISOR = 1,			/* 115200 baud */
};

static bool has_fifo(const struct serial *s)
{
	return s->fcr & UART_FCR_ENABLE_FIFO;
}

static bool is_looped(const struct serial *s)
{
	return s->mcr & UART_MCR_LOOP;
}

/* Received bytes the guest can read now. */
static unsigned received(const struct serial *s)
{
	bool listens = (s->mcr & UART_MCR_RTS) || (s->ier & UART_IER_RDI);

	if (s->loopback_count)
		return s->loopback_count;
	return listens && !is_looped(s) ? s->input_count : 0;
}

static bool reaches_trigger(const struct serial *s)
{
	static const uint8_t levels[4] = { 1, 4, 8, 14 };

	return !has_fifo(s) || received(s) >= levels[s->fcr >> 6];
}

/* The cause with the highest priority (data sheet, table 5), or UART_IIR_NO_INT. */
static uint8_t cause(const struct serial *s)
{
	if ((s->ier & UART_IER_RLSI) && s->line_errors)
		return UART_IIR_RLSI;
	if ((s->ier & UART_IER_RDI) && received(s))
		return reaches_trigger(s) ? UART_IIR_RDI : IIR_TIMEOUT;
	if ((s->ier & UART_IER_THRI) && s->thre_event)
		return UART_IIR_THRI;
	if ((s->ier & UART_IER_MSI) && (s->msr & UART_MSR_ANY_DELTA))
		return UART_IIR_MSI;
	return UART_IIR_NO_INT;
}

static void update_irq(struct serial *s)
{
	bool up = cause(s) != UART_IIR_NO_INT;

	if (up && !s->irq_up)
		fd_signal(s->irq);
	s->irq_up = up;
}

static void loopback_receive(struct serial *s, uint8_t byte)
{
	unsigned depth = has_fifo(s) ? SERIAL_FIFO : 1;

	if (s->loopback_count == depth) {
		s->line_errors |= UART_LSR_OE;
		/* Without a FIFO the new byte is in the holding register, with one it is lost. */
		if (depth == 1)
			s->loopback[0] = byte;
		return;
	}
	s->loopback[s->loopback_count++] = byte;
}

static void transmit(struct serial *s, uint8_t byte)
{
	unsigned depth = has_fifo(s) ? SERIAL_FIFO : 1;

	if (is_looped(s)) {
		loopback_receive(s, byte);
		s->thre_event = s->tx_count == 0;
		return;
	}
	if (s->tx_count == 0 && s->ops->output(s->arg, &byte, 1) == 1) {
		s->thre_event = true;
		return;
	}
	s->thre_event = false;
	if (s->tx_count >= depth) {
		s->dropped++;
		return;
	}
	s->tx[s->tx_count++] = byte;
}

void serial_output_ready(struct serial *s)
{
	size_t n;

	if (s->tx_count == 0)
		return;
	n = s->ops->output(s->arg, s->tx, s->tx_count);
	s->tx_count -= (unsigned)n;
	memmove(s->tx, s->tx + n, s->tx_count);
	if (s->tx_count == 0) {
		s->thre_event = true;
		update_irq(s);
	}
}

static uint8_t receive(struct serial *s)
{
	uint8_t byte;

	if (!received(s))
		return 0;
	if (s->loopback_count) {
		byte = s->loopback[0];
		memmove(s->loopback, s->loopback + 1, --s->loopback_count);
		return byte;
	}
	byte = s->input[s->input_at];
	s->input_at = (s->input_at + 1) % SERIAL_INPUT;
	s->input_count--;
	/* Half empty, so that the reader of a pipe is not woken for every byte. */
	if (s->input_wanted && s->input_count <= SERIAL_INPUT / 2) {
		s->input_wanted = false;
		if (s->ops->input_room)
			s->ops->input_room(s->arg);
	}
	return byte;
}

size_t serial_input_room(struct serial *s)
{
	if (s->input_count == SERIAL_INPUT)
		s->input_wanted = true;
	return SERIAL_INPUT - s->input_count;
}

size_t serial_input(struct serial *s, const uint8_t *bytes, size_t n)
{
	size_t taken = 0;

	while (taken < n && s->input_count < SERIAL_INPUT)
		s->input[(s->input_at + s->input_count++) % SERIAL_INPUT] = bytes[taken++];
	if (taken < n)
		s->input_wanted = true;
	update_irq(s);
	return taken;
}

/* Modem status lines: of the cable, or of our own outputs while looped back. */
static void update_modem(struct serial *s)
{
	uint8_t old = s->msr, lines = MSR_LINES, delta;

	if (is_looped(s)) {
		lines = 0;
		lines |= s->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0;
		lines |= s->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0;
		lines |= s->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0;
		lines |= s->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0;
	}
	delta = (uint8_t)((old ^ lines) >> 4);
	/* The ring indicator reports its trailing edge only. */
	if (!(old & UART_MSR_RI))
		delta &= (uint8_t)~UART_MSR_TERI;
	s->msr = (uint8_t)(lines | (old & UART_MSR_ANY_DELTA) | delta);
}

static void write_fcr(struct serial *s, uint8_t value)
{
	/* Turning FIFOs on or off clears them. */
	if ((value ^ s->fcr) & UART_FCR_ENABLE_FIFO)
		value |= UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT;
	if (value & UART_FCR_CLEAR_RCVR)
		s->loopback_count = 0;
	if ((value & UART_FCR_CLEAR_XMIT) && s->tx_count) {
		s->tx_count = 0;
		s->thre_event = true;
	}
	/* The other bits take effect only together with the enable bit. */
	s->fcr = 0;
	if (value & UART_FCR_ENABLE_FIFO)
		s->fcr = value & (UART_FCR_TRIGGER_MASK | UART_FCR_ENABLE_FIFO);
}

static void write_ier(struct serial *s, uint8_t value)
{
	if ((value & ~s->ier & UART_IER_THRI) && s->tx_count == 0)
		s->thre_event = true;
	s->ier = value & IER_BITS;
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t iir = cause(s);

	if (iir == UART_IIR_THRI)
		s->thre_event = false;
	return iir | (has_fifo(s) ? IIR_FIFOS : 0);
}

static uint8_t read_lsr(struct serial *s)
{
	uint8_t lsr = s->line_errors;

	s->line_errors = 0;
	if (received(s))
		lsr |= UART_LSR_DR;
	if (s->tx_count == 0)
		lsr |= UART_LSR_THRE | UART_LSR_TEMT;
	return lsr;
}

static uint8_t read_msr(struct serial *s)
{
	uint8_t msr = s->msr;

	s->msr &= (uint8_t)~UART_MSR_ANY_DELTA;
	return msr;
}

static uint8_t read_register(struct serial *s, unsigned reg)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_RX:
		return dlab ? s->dll : receive(s);
	case UART_IER:
		return dlab ? s->dlm : s->ier;
	case UART_IIR:
		return read_iir(s);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return read_lsr(s);
	case UART_MSR:
		return read_msr(s);
	}
	return s->scratch;
}

static void write_register(struct serial *s, unsigned reg, uint8_t value)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (dlab)
			s->dll = value;
		else
			transmit(s, value);
		break;
	case UART_IER:
		if (dlab)
			s->dlm = value;
		else
			write_ier(s, value);
		break;
	case UART_FCR:
		write_fcr(s, value);
		break;
	case UART_LCR:
		s->lcr = value;
		break;
	case UART_MCR:
		s->mcr = value & MCR_BITS;
		update_modem(s);
		break;
	case UART_SCR:
		s->scratch = value;
		break;
	}
}

/* The device is eight bits wide: a wider access is one of each register, lowest first. */
static uint64_t serial_read(void *dev, uint64_t off, unsigned size)
{
	struct serial *s = dev;
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_register(s, (unsigned)off + i) << (8 * i);
	update_irq(s);
	return value;
}

static void serial_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct serial *s = dev;

	for (unsigned i = 0; i < size; i++)
		write_register(s, (unsigned)off + i, (uint8_t)(value >> (8 * i)));
	update_irq(s);
}

static const struct bus_ops registers = { serial_read, serial_write };

int serial_init(struct serial *s, struct machine *m, struct bus *bus, uint64_t base, unsigned gsi,
		const struct serial_ops *ops, void *arg, struct err *e)
{
	int r;

	*s = (struct serial){
		.machine = m, .bus = bus, .ops = ops, .arg = arg, .irq = -1,
		.range = { base, SERIAL_PORTS, &registers, s, "serial port", NULL },
	};
	serial_reset(s);
	s->irq = fd_eventfd();
	if (s->irq < 0) {
		r = err_set(e, s->irq, "serial port: no eventfd: %s", strerror(-s->irq));
		goto fail;
	}
	r = m->ops->irqfd_add(m->ctx, gsi, s->irq, -1);
	if (r) {
		err_set(e, r, "serial port: the kernel refuses the irqfd of line %u: %s", gsi,
			strerror(-r));
		goto fail;
	}
	r = bus_add(bus, &s->range, e);
	if (r)
		goto fail;
	return 0;
fail:
	serial_fini(s);
	return r;
}

void serial_fini(struct serial *s)
{
	if (!s->machine)
		return;
	bus_del(s->bus, &s->range);
	fd_close(&s->irq);
	s->machine = NULL;
}

void serial_reset(struct serial *s)
{
	s->ier = 0;
	s->fcr = 0;
	s->lcr = UART_LCR_WLEN8;
	s->mcr = MCR_START;
	s->msr = MSR_LINES;
	s->scratch = 0;
	s->dll = DIVISOR;
	s->dlm = 0;
	s->line_errors = 0;
	s->thre_event = false;
	s->loopback_count = 0;
	s->irq_up = false;
}
