/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The init of minivmm's guests: /init of an initrd, /sbin/init of a disk, often both in one boot.
 *Its arguments are verbs (what follows "--" on the kernel command line):
 *
 *	console=ttyS0 root=/dev/vda rw -- verify write=64M sync poweroff
 *
 * As PID 1 it first tells the VMM that it runs: a byte to a port, before anything is printed or
 *mounted. It ends the machine after the last verb; a verb that fails ends it with INIT_FAILED. As
 *any other process it just does the verbs: the outside computes with it what the inside must have
 *written.
 */
#include "boot.h"
#include "machine.h"
#include "sys.h"
#include "text.h"
#include "verb.h"

#define PORT_UP	    0x80 /* where minivmm listens for the byte INIT_UP */
#define INIT_UP	    0x41
#define INIT_FAILED 70 /* to the debug exit port when a verb fails */

/* In the environment of the second init of a boot */
#define MARK "MINIVMM_INIT=up"

static const struct verb *const tables[] = { disk_verbs, hammer_verbs, machine_verbs,
					   net_verbs, process_verbs, request_verbs };

static const struct verb *verb_find(const char *word)
{
	for (size_t t = 0; t < sizeof(tables) / sizeof(*tables); t++) {
		for (const struct verb *v = tables[t]; v->name; v++) {
			size_t len = strlen(v->name);

			if (!strncmp(word, v->name, len) && (!word[len] || word[len] == '='))
				return v;
		}
	}
	return NULL;
}

static void help(void)
{
	for (size_t t = 0; t < sizeof(tables) / sizeof(*tables); t++) {
		for (const struct verb *v = tables[t]; v->name; v++)
			text_say("%s%s%s  %s", v->name, v->value ? "=" : "",
				 v->value ? v->value : "", v->help);
	}
}

static int run_verb(const char *word)
{
	const struct verb *v = verb_find(word);
	struct call c = { .verb = word, .value = "" };

	if (!strcmp(word, "help")) {
		help();
		return 0;
	}
	if (!v)
		return verb_fail(&c, "no such verb");
	c.verb = v->name;
	if (word[strlen(v->name)])
		c.value = word + strlen(v->name) + 1;
	if (*c.value && !v->value)
		return verb_fail(&c, "takes no value");
	if (!*c.value && v->value && v->value[0] != '[')
		return verb_fail(&c, "needs a value: %s", v->value);
	if (v->kind != VERB_PLAIN && sys_getpid() != 1)
		return verb_fail(&c, "only the first process of a machine does this");
	if (v->kind == VERB_END)
		text_say("ok");
	return v->run(&c);
}

static bool was_up(char *const *envp)
{
	for (; *envp; envp++) {
		if (!strcmp(*envp, MARK))
			return true;
	}
	return false;
}

/* The kernel opens the console for us unless the initrd hides its /dev/console */
static void open_console(void)
{
	int fd;

	if (SYS(__NR_fcntl, 1, F_GETFD) >= 0)
		return;
	fd = sys_open("/dev/console", O_RDWR);
	for (int i = 0; fd >= 0 && i < 3; i++)
		SYS(__NR_dup3, fd, i, 0);
}

static void first_act(int port_error)
{
	open_console();
	if (port_error)
		text_say("port 0x80: %e; the VMM does not know that init runs", port_error);
	text_say("up");
}

static void __attribute__((noreturn)) pid1(int argc, char **argv)
{
	char *second_env[] = { MARK, "HOME=/root", "TERM=vt100", NULL };
	bool initrd = boot_in_initrd();

	if (boot_mounts())
		machine_end(INIT_FAILED);
	if (initrd && (boot_modules() || boot_root(argv, second_env)))
		machine_end(INIT_FAILED);

	for (int i = 1; i < argc; i++) {
		if (run_verb(argv[i]))
			machine_end(INIT_FAILED);
	}
	if (argc < 2) {
		text_say("this is minivmm's init; `help' among its arguments lists what it can do");
		if (!initrd || sys_exists("/bin/sh"))
			run_verb("shell");
	}
	text_say("ok");
	machine_end(0);
}

int main(int argc, char **argv, char **envp)
{
	if (sys_getpid() == 1) {
		if (!was_up(envp))
			first_act(machine_out(PORT_UP, INIT_UP));
		pid1(argc, argv);
	}
	for (int i = 1; i < argc; i++) {
		if (run_verb(argv[i]))
			return 1;
	}
	if (argc < 2)
		help();
	return 0;
}
