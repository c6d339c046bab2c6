/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bare/lib/test.h"

#include "tests/bare/lib/memory.h"

enum {
	SERIAL = 0x3f8, SERIAL_STATUS = SERIAL + 5, SERIAL_READY = 1,
	SERIAL_EMPTY = 0x20,
	DEBUG_EXIT = 0xf4, SLEEP_CONTROL = 0x600, SLEEP_S5 = 5 << 2 | 1 << 5,
	ZERO_PAGE_CMDLINE = 0x228,	/* boot_params.hdr.cmd_line_ptr */
};

/* Several processors may speak: a line stays whole. */
static uint32_t speaking;

static void begin(void)
{
	while (__atomic_exchange_n(&speaking, 1, __ATOMIC_ACQUIRE))
		relax();
}

static void end(void)
{
	__atomic_store_n(&speaking, 0, __ATOMIC_RELEASE);
}

static void put(char c)
{
	while (!(inb(SERIAL_STATUS) & SERIAL_EMPTY))
		relax();
	outb(SERIAL, (uint8_t)c);
}

static void text(const char *s)
{
	while (*s)
		put(*s++);
}

static void number(uint64_t v, unsigned base)
{
	char digits[20];
	unsigned n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n)
		put(digits[--n]);
}

void test_note(const char *s)
{
	begin();
	text("# ");
	text(s);
	text("\n");
	end();
}

void test_note_hex(const char *s, uint64_t value)
{
	begin();
	text("# ");
	text(s);
	text(" 0x");
	number(value, 16);
	text("\n");
	end();
}

void test_order(const char *what)
{
	test_note(what);
	while (!(inb(SERIAL_STATUS) & SERIAL_READY))
		relax();
	inb(SERIAL);
}

void test_exit(uint8_t value)
{
	outb(DEBUG_EXIT, value);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void test_power_off(void)
{
	outb(SLEEP_CONTROL, SLEEP_S5);
	test_exit(TEST_FAILED);
}

void test_triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lidt %0\n\t"
			 "movabs $0x1122334455667788, %%rax\n\t"
			 "movabs $0x99aabbccddeeff00, %%r15\n\t"
			 "ud2" : : "m"(none) : "rax", "r15");
}

static void place(const char *file, int line, const char *what)
{
	text("# ");
	text(file);
	put(':');
	number((uint64_t)line, 10);
	text(": ");
	text(what);
}

void test_fail(const char *file, int line, const char *what)
{
	begin();
	text("not ok\n");
	place(file, line, what);
	text(": is not so\n");
	test_exit(TEST_FAILED);
}

void test_equal(const char *file, int line, const char *what, uint64_t actual, uint64_t expected)
{
	if (actual == expected)
		return;
	begin();
	text("not ok\n");
	place(file, line, what);
	text(": 0x");
	number(actual, 16);
	text(", not 0x");
	number(expected, 16);
	text("\n");
	test_exit(TEST_FAILED);
}

static bool equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static void list(void)
{
	for (const struct test_case *c = test_cases; c->name; c++) {
		text("case ");
		text(c->name);
		text("\n");
	}
	test_power_off();
}

/* In front of it minivmm may have put words of its own. */
static const char *last_word(const char *line)
{
	const char *word = line;

	for (; *line; line++) {
		if (*line == ' ')
			word = line + 1;
	}
	return word;
}

void test_main(uint64_t zero_page)
{
	const char *wanted =
		last_word((const char *)(uintptr_t)read32(zero_page + ZERO_PAGE_CMDLINE));

	if (equal(wanted, "list"))
		list();
	for (const struct test_case *c = test_cases; c->name; c++) {
		if (!equal(c->name, wanted))
			continue;
		c->run();
		begin();
		text("ok - ");
		text(c->name);
		text("\n");
		test_power_off();
	}
	test_fail(wanted, 0, "is a case of this guest");
}
