/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest is a table of cases. The command line names the one to run, or says "list"; one boot runs
 * one case and powers off, so that a case finds the machine as after power on and may end it.
 * What it found is told on the serial port as TAP; a case that fails ends by the debug exit port.
 */
#ifndef BARE_TEST_H
#define BARE_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bare/lib/io.h"

struct test_case {
	const char *name;
	void (*run)(void);
};

/* The guest's own, with an empty one at its end. */
extern const struct test_case test_cases[];
#define CASE(function) { #function, function }

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum {
	TEST_FAILED = 0x10,		/* written to the debug exit port: exit code 33 */
	TEST_PATIENCE = 10,		/* some seconds, in units of 2^31 cycles */
};

/* Tells what is so; ends the machine when it is not. */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			test_fail(__FILE__, __LINE__, #condition);                                 \
	} while (0)
#define CHECK_EQ(actual, expected)                                                                 \
	test_equal(__FILE__, __LINE__, #actual, (uint64_t)(actual), (uint64_t)(expected))
/* Until it is so: what daemons and the loop do takes its time. */
#define WAIT_FOR(condition)                                                                        \
	do {                                                                                       \
		uint64_t since_ = cycles();                                                        \
		while (!(condition)) {                                                             \
			if ((cycles() - since_) >> 31 >= TEST_PATIENCE)                            \
				test_fail(__FILE__, __LINE__, "in time: " #condition);             \
			relax();                                                                   \
		}                                                                                  \
	} while (0)

__attribute__((noreturn)) void test_fail(const char *file, int line, const char *what);
void test_equal(const char *file, int line, const char *what, uint64_t actual, uint64_t expected);
/* Ends the machine by the debug exit port: minivmm's exit code is @value << 1 | 1. */
__attribute__((noreturn)) void test_exit(uint8_t value);
/* Ends the machine by ACPI's S5: exit code 0. */
__attribute__((noreturn)) void test_power_off(void);
/* Crashes this processor: no IDT, an undefined instruction, and two registers that tell. */
void test_triple_fault(void);
/* A line "# text" on the serial port; test_note_hex adds a number. */
void test_note(const char *text);
void test_note_hex(const char *text, uint64_t value);
/* A note that cases.py takes for an order and answers with a character; waits for that, however
 * long it takes. */
void test_order(const char *what);

/* Called by start.S. */
__attribute__((noreturn)) void test_main(uint64_t zero_page);

#endif
