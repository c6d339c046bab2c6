/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the cases of vmshm-driver are written with. The first device's node, address in $DEVICE
 * (0000:00:01.0). One thread.
 */
#ifndef TESTS_VMSHM_DRIVER_H
#define TESTS_VMSHM_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DRIVER_NODE	"/dev/vmshm0"
#define DRIVER_WINDOW	(1u << 20)

struct driver_case {
	const char *name;
	void (*run)(void);
};

/* Ends with a row without a name */
extern const struct driver_case driver_cases[];

/* Ends the program unless what it says is so. */
#define CHECK(what) ((void)((what) || driver_fail(__FILE__, __LINE__, #what)))
/* The call fails, with this errno. */
#define CHECK_ERROR(call, error) CHECK((errno = 0, (call)) < 0 && errno == (error))

int driver_fail(const char *file, int line, const char *what);
/* The node: an fd, or -1 with errno. */
int driver_open(int flags);
/* mmap(2) of it, MAP_SHARED: MAP_FAILED with errno. */
char *driver_map(int fd, size_t size, int prot, uint64_t offset);
/* Binds the driver to the device, or unbinds it: 0, or -1 with errno. */
int driver_bind(bool bind);
int driver_write_file(const char *path, const char *text);
/* Reads and writes a byte there; false: that raises SIGBUS. */
bool driver_can_touch(volatile char *at);
/* The end of a child: its exit code, or 128 and the signal. */
int driver_wait(pid_t pid);

#endif
