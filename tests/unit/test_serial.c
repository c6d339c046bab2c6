/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/serial_reg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/range.h"
#include "devices/serial.h"
#include "tests/unit/fake_machine.h"

enum { IIR_CAUSE = 0x0f, TIMEOUT = 0x0c };

struct fixture {
	struct fake_machine fake;
	struct serial serial;
	uint8_t out[4096];
	size_t out_len, room;		/* of the sink */
	unsigned room_calls;		/* of input_room */
	struct err e;
};

static size_t sink(void *arg, const uint8_t *bytes, size_t n)
{
	struct fixture *f = arg;
	size_t taken = n < f->room ? n : f->room;

	assert_true(f->out_len + taken <= sizeof(f->out));
	memcpy(f->out + f->out_len, bytes, taken);
	f->out_len += taken;
	f->room -= taken;
	return taken;
}

static void input_room(void *arg)
{
	struct fixture *f = arg;

	f->room_calls++;
}

static const struct serial_ops ops = { sink, input_room };

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_machine_init(&f->fake);
	f->room = sizeof(f->out);
	assert_int_equal(serial_init(&f->serial, &f->fake.machine, &f->fake.machine.pio,
				     SERIAL_PORT, MACHINE_GSI_SERIAL, &ops, f, &f->e), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	serial_fini(&f->serial);
	serial_fini(&f->serial);
	assert_null(f->fake.machine.pio.ranges);
	fake_machine_fini(&f->fake);
	free(f);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	return (uint8_t)fake_vcpu_read(&f->fake, &f->fake.machine.pio, SERIAL_PORT + reg, 1);
}

static void out(struct fixture *f, unsigned reg, uint8_t value)
{
	fake_vcpu_write(&f->fake, &f->fake.machine.pio, SERIAL_PORT + reg, 1, value);
}

static unsigned interrupts(struct fixture *f)
{
	return fake_machine_interrupts(&f->fake, MACHINE_GSI_SERIAL);
}

static size_t type(struct fixture *f, const char *text)
{
	return serial_input(&f->serial, (const uint8_t *)text, strlen(text));
}

static void send(struct fixture *f, const char *text)
{
	for (; *text; text++)
		out(f, UART_TX, (uint8_t)*text);
}

static void assert_sent(struct fixture *f, const char *text)
{
	assert_int_equal(f->out_len, strlen(text));
	assert_memory_equal(f->out, text, f->out_len);
}

/* ---- what Linux's 8250 driver looks for ---- */

static void the_interrupt_enable_register_holds_four_bits(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, 0);
	assert_int_equal(in(f, UART_IER), 0);
	out(f, UART_IER, 0xff);
	assert_int_equal(in(f, UART_IER), 0x0f);
}

static void loopback_shows_the_outputs_as_modem_lines(void **state)
{
	struct fixture *f = *state;

	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(in(f, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_DTR | UART_MCR_OUT1);
	assert_int_equal(in(f, UART_MSR) & 0xf0, UART_MSR_DSR | UART_MSR_RI);
	out(f, UART_MCR, 0);
	assert_int_equal(in(f, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
}

static void enabled_fifos_identify_a_16550a_and_nothing_newer(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(in(f, UART_IIR) & 0xc0, 0xc0);
	/* Not a 16750: its bit 5 does not appear, with the divisor latch open or not. */
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	assert_int_equal(in(f, UART_IIR) >> 5, 6);
	out(f, UART_LCR, UART_LCR_CONF_MODE_A);
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	assert_int_equal(in(f, UART_IIR) >> 5, 6);
	/* No extended feature register of newer chips either: what is read there is IIR, not 0. */
	out(f, UART_EFR, UART_FCR_ENABLE_FIFO);
	assert_int_not_equal(in(f, UART_EFR), 0);
	out(f, UART_LCR, 0);
	out(f, UART_IER, UART_IER_UUE);
	assert_int_equal(in(f, UART_IER) & UART_IER_UUE, 0);
}

static void the_scratch_register_and_the_divisor_keep_values(void **state)
{
	struct fixture *f = *state;

	out(f, UART_SCR, 0xa5);
	out(f, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	out(f, UART_DLL, 0x0c);
	out(f, UART_DLM, 0x34);
	assert_int_equal(in(f, UART_DLL), 0x0c);
	assert_int_equal(in(f, UART_DLM), 0x34);
	out(f, UART_LCR, UART_LCR_WLEN8);
	assert_int_equal(in(f, UART_LCR), UART_LCR_WLEN8);
	assert_int_equal(in(f, UART_IER), 0);
	assert_int_equal(in(f, UART_SCR), 0xa5);
	assert_int_equal(f->out_len, 0);
}

/* Linux falls back to a timer when this fails. */
static void enabling_the_transmit_interrupt_raises_it_each_time(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 3; i++) {
		out(f, UART_IER, UART_IER_THRI);
		assert_int_equal(interrupts(f), 1);
		assert_int_equal(in(f, UART_LSR) & (UART_LSR_TEMT | UART_LSR_THRE),
				 UART_LSR_TEMT | UART_LSR_THRE);
		assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_THRI);
		assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_NO_INT);
		out(f, UART_IER, 0);
	}
	assert_int_equal(interrupts(f), 0);
}

/* ---- sending ---- */

static void bytes_go_to_the_sink_at_once(void **state)
{
	struct fixture *f = *state;

	send(f, "hello");
	assert_sent(f, "hello");
	assert_int_equal(interrupts(f), 0);
}

static void a_burst_costs_one_signal(void **state)
{
	struct fixture *f = *state;

	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	out(f, UART_IER, UART_IER_THRI);
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_THRI);
	assert_int_equal(interrupts(f), 1);
	send(f, "0123456789abcdef");
	assert_int_equal(interrupts(f), 1);
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_THRI);
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_NO_INT);
}

static void a_full_sink_holds_back_the_guest(void **state)
{
	struct fixture *f = *state;

	f->room = 3;
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	out(f, UART_IER, UART_IER_THRI);
	in(f, UART_IIR);
	interrupts(f);
	send(f, "0123456789");
	assert_sent(f, "012");
	assert_int_equal(in(f, UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT), 0);
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_NO_INT);
	interrupts(f);

	f->room = 2;
	serial_output_ready(&f->serial);
	assert_sent(f, "01234");
	assert_int_equal(in(f, UART_LSR) & UART_LSR_THRE, 0);
	assert_int_equal(interrupts(f), 0);

	f->room = 100;
	serial_output_ready(&f->serial);
	assert_sent(f, "0123456789");
	assert_int_equal(interrupts(f), 1);
	assert_int_equal(in(f, UART_LSR) & UART_LSR_THRE, UART_LSR_THRE);
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_THRI);
}

static void a_guest_that_ignores_a_full_fifo_loses_bytes_and_nothing_grows(void **state)
{
	struct fixture *f = *state;

	f->room = 0;
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	for (unsigned i = 0; i < 100000; i++)
		out(f, UART_TX, 'x');
	assert_int_equal(f->serial.dropped, 100000 - SERIAL_FIFO);
	f->room = 100;
	serial_output_ready(&f->serial);
	assert_sent(f, "xxxxxxxxxxxxxxxx");
	send(f, "y");
	assert_sent(f, "xxxxxxxxxxxxxxxxy");
}

static void without_fifos_one_byte_waits(void **state)
{
	struct fixture *f = *state;

	f->room = 0;
	send(f, "ab");
	f->room = 100;
	serial_output_ready(&f->serial);
	assert_sent(f, "a");
}

static void clearing_the_transmit_fifo_empties_it(void **state)
{
	struct fixture *f = *state;

	f->room = 0;
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	send(f, "lost");
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_XMIT);
	assert_int_equal(in(f, UART_LSR) & UART_LSR_THRE, UART_LSR_THRE);
	f->room = 100;
	serial_output_ready(&f->serial);
	assert_int_equal(f->out_len, 0);
}

/* ---- receiving ---- */

static void start_receiving(struct fixture *f)
{
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_R_TRIG_10);
	out(f, UART_IER, UART_IER_RDI);
	out(f, UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
}

static void input_interrupts_once_and_is_read_in_order(void **state)
{
	struct fixture *f = *state;

	start_receiving(f);
	assert_int_equal(type(f, "ok\n"), 3);
	assert_int_equal(interrupts(f), 1);
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, TIMEOUT);
	assert_int_equal(in(f, UART_LSR) & UART_LSR_DR, UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 'o');
	assert_int_equal(in(f, UART_RX), 'k');
	assert_int_equal(in(f, UART_RX), '\n');
	assert_int_equal(in(f, UART_LSR) & UART_LSR_DR, 0);
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_NO_INT);
	assert_int_equal(in(f, UART_RX), 0);
	assert_int_equal(interrupts(f), 0);
}

static void the_trigger_level_tells_data_from_a_timeout(void **state)
{
	struct fixture *f = *state;

	start_receiving(f);
	type(f, "1234567");
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, TIMEOUT);
	type(f, "8");
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_RDI);
}

static void a_full_queue_takes_no_more_and_says_when_it_does(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[SERIAL_INPUT + 10] = { 'a' };

	start_receiving(f);
	assert_int_equal(serial_input_room(&f->serial), SERIAL_INPUT);
	assert_int_equal(serial_input(&f->serial, bytes, sizeof(bytes)), SERIAL_INPUT);
	assert_int_equal(serial_input_room(&f->serial), 0);
	for (unsigned i = 0; i < SERIAL_INPUT / 2 - 1; i++)
		in(f, UART_RX);
	assert_int_equal(f->room_calls, 0);
	in(f, UART_RX);
	assert_int_equal(f->room_calls, 1);
	while (in(f, UART_LSR) & UART_LSR_DR)
		in(f, UART_RX);
	assert_int_equal(f->room_calls, 1);
	assert_int_equal(serial_input_room(&f->serial), SERIAL_INPUT);
}

static void the_queue_wraps_without_losing_a_byte(void **state)
{
	struct fixture *f = *state;
	unsigned put = 0, got = 0;

	start_receiving(f);
	while (got < 5 * SERIAL_INPUT) {
		for (unsigned i = 0; i < 7; i++) {
			uint8_t byte = (uint8_t)put;

			put += (unsigned)serial_input(&f->serial, &byte, 1);
		}
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(in(f, UART_RX), (uint8_t)got++);
	}
}

/* What Linux does when a port is opened, with input piped in before. */
static void input_survives_the_start_of_a_driver(void **state)
{
	struct fixture *f = *state;

	out(f, UART_MCR, 0);
	type(f, "early");
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	out(f, UART_FCR, 0);
	assert_int_equal(in(f, UART_LSR) & UART_LSR_DR, 0);
	assert_int_equal(in(f, UART_RX), 0);
	assert_int_equal(interrupts(f), 0);
	start_receiving(f);
	assert_int_equal(interrupts(f), 1);
	assert_int_equal(in(f, UART_RX), 'e');
}

static void a_guest_that_polls_and_never_sets_rts_receives(void **state)
{
	struct fixture *f = *state;

	type(f, "p");
	assert_int_equal(in(f, UART_LSR) & UART_LSR_DR, UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 'p');
}

static void a_guest_that_only_enables_interrupts_receives(void **state)
{
	struct fixture *f = *state;

	out(f, UART_MCR, 0);
	out(f, UART_IER, UART_IER_RDI);
	type(f, "i");
	assert_int_equal(interrupts(f), 1);
	assert_int_equal(in(f, UART_RX), 'i');
}

static void receiving_has_priority_over_sending(void **state)
{
	struct fixture *f = *state;

	start_receiving(f);
	out(f, UART_IER, UART_IER_RDI | UART_IER_THRI);
	type(f, "x");
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, TIMEOUT);
	assert_int_equal(in(f, UART_RX), 'x');
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_THRI);
}

/* ---- loopback, modem and line status ---- */

static void looped_back_bytes_are_received_and_not_sent(void **state)
{
	struct fixture *f = *state;

	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_RTS);
	type(f, "outside");
	assert_int_equal(in(f, UART_LSR) & UART_LSR_DR, 0);
	send(f, "in");
	assert_int_equal(f->out_len, 0);
	assert_int_equal(in(f, UART_RX), 'i');
	assert_int_equal(in(f, UART_RX), 'n');
	assert_int_equal(in(f, UART_LSR) & UART_LSR_DR, 0);
	out(f, UART_MCR, UART_MCR_RTS);
	assert_int_equal(in(f, UART_RX), 'o');
}

static void looping_back_more_than_the_fifo_holds_is_an_overrun(void **state)
{
	struct fixture *f = *state;

	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	out(f, UART_MCR, UART_MCR_LOOP);
	out(f, UART_IER, UART_IER_RLSI);
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		out(f, UART_TX, 'a');
	assert_int_equal(interrupts(f), 0);
	out(f, UART_TX, 'b');
	assert_int_equal(interrupts(f), 1);
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_RLSI);
	assert_int_equal(in(f, UART_LSR) & UART_LSR_OE, UART_LSR_OE);
	assert_int_equal(in(f, UART_LSR) & UART_LSR_OE, 0);
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	assert_int_equal(in(f, UART_LSR) & UART_LSR_DR, 0);
}

static void a_changed_modem_line_interrupts_until_it_is_read(void **state)
{
	struct fixture *f = *state;
	const uint8_t others = UART_MCR_LOOP | UART_MCR_RTS | UART_MCR_DTR | UART_MCR_OUT2;

	in(f, UART_MSR);
	out(f, UART_MCR, others);
	in(f, UART_MSR);
	out(f, UART_MCR, others | UART_MCR_OUT1);
	assert_int_equal(in(f, UART_MSR) & UART_MSR_ANY_DELTA, 0);
	out(f, UART_IER, UART_IER_MSI);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_DTR | UART_MCR_OUT2);
	assert_int_equal(interrupts(f), 1);
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_MSI);
	assert_int_equal(in(f, UART_MSR) & UART_MSR_ANY_DELTA, UART_MSR_DCTS | UART_MSR_TERI);
	assert_int_equal(in(f, UART_IIR) & IIR_CAUSE, UART_IIR_NO_INT);
	assert_int_equal(in(f, UART_MSR) & UART_MSR_ANY_DELTA, 0);
}

/* ---- the rest ---- */

static void every_width_at_every_offset_is_bytes_side_by_side(void **state)
{
	struct fixture *f = *state;
	struct bus *pio = &f->fake.machine.pio;

	out(f, UART_SCR, 0x5a);
	out(f, UART_LCR, 0x1b);
	assert_int_equal(fake_vcpu_read(&f->fake, pio, SERIAL_PORT + UART_MSR, 2), 0x5ab0);
	assert_int_equal(fake_vcpu_read(&f->fake, pio, SERIAL_PORT + UART_LCR, 1), 0x1b);
	fake_vcpu_write(&f->fake, pio, SERIAL_PORT + UART_MSR, 2, 0xa500);
	assert_int_equal(in(f, UART_SCR), 0xa5);
	f->room = 0;
	for (unsigned size = 1; size <= 8; size *= 2) {
		for (unsigned off = 0; off < 2 * SERIAL_PORTS; off++) {
			fake_vcpu_read(&f->fake, pio, SERIAL_PORT - 8 + off, size);
			fake_vcpu_write(&f->fake, pio, SERIAL_PORT - 8 + off, size, UINT64_MAX);
			fake_vcpu_write(&f->fake, pio, SERIAL_PORT - 8 + off, size, 0);
		}
	}
	assert_true(f->serial.tx_count <= SERIAL_FIFO);
	assert_true(f->serial.loopback_count <= SERIAL_FIFO);
}

static void reset_restores_registers_and_keeps_input(void **state)
{
	struct fixture *f = *state;

	start_receiving(f);
	type(f, "k");
	out(f, UART_SCR, 1);
	out(f, UART_LCR, UART_LCR_DLAB);
	serial_reset(&f->serial);
	assert_int_equal(in(f, UART_SCR), 0);
	assert_int_equal(in(f, UART_IER), 0);
	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	assert_int_equal(in(f, UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	assert_int_equal(in(f, UART_RX), 'k');
	interrupts(f);
	type(f, "l");
	start_receiving(f);
	assert_int_equal(interrupts(f), 1);
}

static void a_port_that_is_taken_is_an_error_and_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct bus *pio = &f->fake.machine.pio;
	struct serial second;

	assert_int_equal(serial_init(&second, &f->fake.machine, pio, SERIAL_PORT + 4, 3, &ops, f,
				     &f->e), -EEXIST);
	assert_non_null(strstr(f->e.msg, "serial port"));
	serial_fini(&second);
	f->fake.fail = -ENOMEM;
	assert_int_equal(serial_init(&second, &f->fake.machine, pio, 0x2f8, 3, &ops, f, &f->e),
			 -ENOMEM);
	assert_null(bus_overlap(pio, 0x2f8, 8));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_interrupt_enable_register_holds_four_bits),
		CASE(loopback_shows_the_outputs_as_modem_lines),
		CASE(enabled_fifos_identify_a_16550a_and_nothing_newer),
		CASE(the_scratch_register_and_the_divisor_keep_values),
		CASE(enabling_the_transmit_interrupt_raises_it_each_time),
		CASE(bytes_go_to_the_sink_at_once),
		CASE(a_burst_costs_one_signal),
		CASE(a_full_sink_holds_back_the_guest),
		CASE(a_guest_that_ignores_a_full_fifo_loses_bytes_and_nothing_grows),
		CASE(without_fifos_one_byte_waits),
		CASE(clearing_the_transmit_fifo_empties_it),
		CASE(input_interrupts_once_and_is_read_in_order),
		CASE(the_trigger_level_tells_data_from_a_timeout),
		CASE(a_full_queue_takes_no_more_and_says_when_it_does),
		CASE(the_queue_wraps_without_losing_a_byte),
		CASE(input_survives_the_start_of_a_driver),
		CASE(a_guest_that_polls_and_never_sets_rts_receives),
		CASE(a_guest_that_only_enables_interrupts_receives),
		CASE(receiving_has_priority_over_sending),
		CASE(looped_back_bytes_are_received_and_not_sent),
		CASE(looping_back_more_than_the_fifo_holds_is_an_overrun),
		CASE(a_changed_modem_line_interrupts_until_it_is_read),
		CASE(every_width_at_every_offset_is_bytes_side_by_side),
		CASE(reset_restores_registers_and_keeps_input),
		CASE(a_port_that_is_taken_is_an_error_and_leaves_nothing),
	};

	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
