/* SPDX-License-Identifier: Apache-2.0 */
/* The platform's ports, and every way in which a machine ends or begins again. */
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"

enum {
	KEYBOARD = 0x64, BOOT_MARK = 0x80, DEBUG_EXIT = 0xf4, SLEEP_CONTROL = 0x600,
	SLEEP_STATUS = 0x601, RESET_CONTROL = 0xcf9, CONFIG_ADDRESS = 0xcf8, SERIAL = 0x3f8,
};

/* In .data and .bss: a loader that does not write them again shows here. */
static volatile uint32_t in_data = 0x600d600d;
static volatile uint32_t in_bss[64];

/* Ports */

static void unclaimed_ports_read_ones(void)
{
	/* PS/2 data, NMI control, CMOS, second serial port, IDE, parallel, VGA, the last one. */
	static const uint16_t ports[] = { 0x60, 0x61, 0x70, 0x71, 0x2f8, 0x1f0, 0x378, 0x3d4, 0x402,
					  0x510, 0xcf7, 0xd00, 0x602, 0xfff0 };

	for (unsigned i = 0; i < COUNT(ports); i++) {
		for (unsigned width = 1; width <= 4; width *= 2)
			CHECK_EQ(port_read(ports[i], width), ones(width));
	}
	CHECK_EQ(inb(0xffff), 0xff);
}

static void unclaimed_ports_take_writes(void)
{
	outb(0x60, 0xd1);
	outw(0x1ce, 0x1234);
	outl(0xd00, 0xffffffff);
	CHECK_EQ(inl(0xd00), 0xffffffff);
}

/* An access must lie wholly inside one range: else nobody answers. */
static void access_across_an_edge_reads_ones(void)
{
	CHECK_EQ(inw(KEYBOARD - 1), 0xffff);
	CHECK_EQ(inw(KEYBOARD), 0xffff);
	CHECK_EQ(inl(SLEEP_CONTROL), 0xffffffff);
	CHECK_EQ(inw(SLEEP_STATUS), 0xffff);
	CHECK_EQ(inl(SERIAL + 6), 0xffffffff);
	/* And a write across it is dropped: this would reset. */
	outw(KEYBOARD, 0x00fe);
}

static void platform_ports_read_as_they_should(void)
{
	CHECK_EQ(inb(KEYBOARD), 0);
	CHECK_EQ(inb(BOOT_MARK), 0xff);
	CHECK_EQ(inb(DEBUG_EXIT), 0xff);
	CHECK_EQ(inb(SLEEP_CONTROL), 0);
	CHECK_EQ(inb(SLEEP_STATUS), 0);
	CHECK_EQ(inw(SLEEP_CONTROL), 0);
	CHECK_EQ(inb(RESET_CONTROL), 0);
}

static void string_accesses_repeat_theirs(void)
{
	uint8_t zeros[16], *to = zeros;
	uint16_t words[8], *wide = words;
	uint64_t n = sizeof(zeros);

	memset(zeros, 0xaa, sizeof(zeros));
	__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(KEYBOARD) : "memory");
	for (unsigned i = 0; i < COUNT(zeros); i++)
		CHECK_EQ(zeros[i], 0);
	CHECK_EQ(n, 0);
	memset(words, 0, sizeof(words));
	n = COUNT(words);
	__asm__ volatile("rep insw" : "+D"(wide), "+c"(n) : "d"(0x1f0) : "memory");
	for (unsigned i = 0; i < COUNT(words); i++)
		CHECK_EQ(words[i], 0xffff);
}

static void serial_takes_a_string(void)
{
	static const char line[] = "# one rep outsb\n";
	const char *from = line;
	uint64_t n = sizeof(line) - 1;

	__asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(SERIAL) : "memory");
	CHECK_EQ(n, 0);
}

static void serial_gives_what_was_typed(void)
{
	static const char typed[] = "hello";

	for (const char *s = typed; *s; s++) {
		WAIT_FOR(inb(SERIAL + 5) & 1);
		CHECK_EQ(inb(SERIAL), *s);
	}
}

static void config_address_hides_the_reset_control_from_dwords_only(void)
{
	outl(CONFIG_ADDRESS, 0x80000600);	/* byte 1 is 0x06, which would reset */
	CHECK_EQ(inl(CONFIG_ADDRESS), 0x80000600);
	CHECK_EQ(inb(RESET_CONTROL), 0);
	outb(RESET_CONTROL, 0x02);
	CHECK_EQ(inb(RESET_CONTROL), 0x02);
	CHECK_EQ(inl(CONFIG_ADDRESS), 0x80000600);
}

static void sleep_types_other_than_s5_do_nothing(void)
{
	for (uint8_t type = 0; type < 8; type++) {
		if (type != 5)
			outb(SLEEP_CONTROL, (uint8_t)(type << 2 | 1 << 5));
	}
	outb(SLEEP_CONTROL, 5 << 2);		/* S5, but no enable */
	outb(SLEEP_STATUS, 5 << 2 | 1 << 5);	/* the wrong register */
	CHECK_EQ(inb(SLEEP_CONTROL), 5 << 2);
}

/* Ends. Each is one for run.py to judge; whatever follows the end shows as a wrong exit code. */

static void exit_code(void)
{
	outb(DEBUG_EXIT + 1, 77);		/* only the first byte of four counts */
	test_exit(21);
}

static void exit_code_of_a_dword(void)
{
	outl(DEBUG_EXIT, 0x01020315);
	test_exit(1);
}

static void power_off(void)
{
	test_power_off();
}

static void power_off_by_a_word(void)
{
	outw(SLEEP_CONTROL, 0xff00 | 5 << 2 | 1 << 5);
	test_exit(1);
}

static void triple_fault(void)
{
	test_triple_fault();
}

/* Resets */

static void reset_by_keyboard(void)
{
	outb(KEYBOARD, 0xfe);
	test_exit(1);
}

static void reset_by_control(void)
{
	outb(RESET_CONTROL, 0x02);
	outb(RESET_CONTROL, 0x06);
	test_exit(1);
}

/* What a boot finds and leaves. The memory the counter is in outlives a reset. */
static uint32_t boots(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;
	const uint32_t magic = 0x5eed0000;
	uint32_t n = *kept >> 16 == magic >> 16 ? *kept & 0xffff : 0;

	*kept = magic | (n + 1);
	return n;
}

static void check_image_is_fresh(void)
{
	CHECK_EQ(in_data, 0x600d600d);
	for (unsigned i = 0; i < COUNT(in_bss); i++)
		CHECK_EQ(in_bss[i], 0);
	in_data = 0xbad;
	for (unsigned i = 0; i < COUNT(in_bss); i++)
		in_bss[i] = 0xbad;
}

static void check_platform_is_fresh(void)
{
	CHECK_EQ(inb(RESET_CONTROL), 0);
	CHECK_EQ(inb(SLEEP_CONTROL), 0);
	CHECK_EQ(inl(CONFIG_ADDRESS), 0);
	CHECK_EQ(inb(SERIAL + 7), 0);
	outb(SLEEP_CONTROL, 3 << 2);
	outl(CONFIG_ADDRESS, 0x80000800);
	outb(SERIAL + 7, 0x5a);
}

static void boots_again_after_keyboard_reset(void)
{
	check_image_is_fresh();
	check_platform_is_fresh();
	if (boots() == 0)
		reset_by_keyboard();
}

static void boots_again_after_reset_control(void)
{
	check_image_is_fresh();
	check_platform_is_fresh();
	if (boots() == 0)
		reset_by_control();
}

static void boots_many_times(void)
{
	check_image_is_fresh();
	if (boots() < 10)
		reset_by_keyboard();
}

/* Not one instruction runs between the write that resets and the reset. */
static void reset_is_the_last_instruction(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)(MEMORY_KEPT + 64);
	uint32_t n = boots();

	if (n == 0)
		*kept = 0;
	CHECK_EQ(*kept, 0);
	if (n < 5)
		__asm__ volatile("outb %%al, $0x64\n\tmovl $1, (%1)" : : "a"(0xfe), "r"(kept)
				 : "memory");
}

/* Control registers and descriptor tables of the entry, and segments, are the protocol's again. */
static void reset_gives_the_entry_state_again(void)
{
	uint64_t cr0, cr3, cr4, rflags;
	uint16_t cs, ss;

	__asm__ volatile("mov %%cr0, %0\n\tmov %%cr3, %1\n\tmov %%cr4, %2\n\t"
			 "pushfq\n\tpopq %3\n\tmov %%cs, %4\n\tmov %%ss, %5"
			 : "=r"(cr0), "=r"(cr3), "=r"(cr4), "=r"(rflags), "=r"(cs), "=r"(ss));
	CHECK_EQ(cr0 & 0x80000011, 0x80000011);
	CHECK_EQ(cr3, 0x9000);
	CHECK_EQ(cr4, 0x20);
	CHECK_EQ(rflags & 0x600, 0);		/* interrupts off, upwards */
	CHECK_EQ(cs, 0x10);
	CHECK_EQ(ss, 0x18);
	if (boots() > 0)
		return;
	memcpy((void *)0x300000, (const void *)0x9000, 0x6000);
	((uint64_t *)0x300000)[0] += 0x300000 - 0x9000;
	write_cr3(0x300000);
	__asm__ volatile("mov %0, %%cr4\n\tstd\n\tmov %1, %%ss" : : "r"(cr4 | 0x200), "r"(0));
	reset_by_keyboard();
}

const struct test_case test_cases[] = {
	CASE(unclaimed_ports_read_ones),
	CASE(unclaimed_ports_take_writes),
	CASE(access_across_an_edge_reads_ones),
	CASE(platform_ports_read_as_they_should),
	CASE(string_accesses_repeat_theirs),
	CASE(serial_takes_a_string),
	CASE(serial_gives_what_was_typed),
	CASE(config_address_hides_the_reset_control_from_dwords_only),
	CASE(sleep_types_other_than_s5_do_nothing),
	CASE(exit_code),
	CASE(exit_code_of_a_dword),
	CASE(power_off),
	CASE(power_off_by_a_word),
	CASE(triple_fault),
	CASE(reset_by_keyboard),
	CASE(reset_by_control),
	CASE(boots_again_after_keyboard_reset),
	CASE(boots_again_after_reset_control),
	CASE(boots_many_times),
	CASE(reset_is_the_last_instruction),
	CASE(reset_gives_the_entry_state_again),
	{ NULL, NULL },
};
