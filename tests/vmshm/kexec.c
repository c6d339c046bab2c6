/* SPDX-License-Identifier: Apache-2.0 */
/* Goes over to the kernel /kernel with the initrd /initrd and the command line of this boot, with
 * nobody told before: what is open in programs stays open. */
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE 2048

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(void)
{
	int kernel = open("/kernel", O_RDONLY | O_CLOEXEC);
	int initrd = open("/initrd", O_RDONLY | O_CLOEXEC);
	int words = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	char line[LINE] = "";
	ssize_t n;

	if (kernel < 0 || initrd < 0 || words < 0)
		return fail("vmshm-kexec: open");
	n = read(words, line, sizeof(line) - 1);
	if (n <= 0)
		return fail("vmshm-kexec: /proc/cmdline");
	line[strcspn(line, "\n")] = '\0';
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(line) + 1, line, 0))
		return fail("vmshm-kexec: load");
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	return fail("vmshm-kexec: the machine goes on");
}
