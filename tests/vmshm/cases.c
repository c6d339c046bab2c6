/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host has the objects rw (two windows long, the first page full of 'r'), small (a page of 's')
 * and, to be read only, ro (a window of 'o').
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "guest/vmshm/vmshm.h"
#include "tests/vmshm/driver.h"

#define BOTH	(PROT_READ | PROT_WRITE)
#define PAGE	4096
#define FAILS(call, error) CHECK((errno = 0, (call)) == MAP_FAILED && errno == (error))

/* No memory of ours; volatile, lest the compiler should know */
static void *volatile nowhere = (void *)16;

static struct vmshm_ioc_info info_of(int fd)
{
	struct vmshm_ioc_info info = { 0 };

	CHECK(!ioctl(fd, VMSHM_IOC_INFO, &info));
	return info;
}

static int open_object(int fd, const char *name, uint64_t offset, uint32_t flags)
{
	struct vmshm_ioc_open o = {
		.name = (uintptr_t)name, .offset = offset, .flags = flags, .size = ~0ull
	};

	return ioctl(fd, VMSHM_IOC_OPEN, &o);
}

/* As VMShm 0.1 has it */
static void legacy(void)
{
	int fd = driver_open(O_RDWR);
	char *at;

	CHECK(fd >= 0);
	CHECK_ERROR(driver_open(O_RDWR), EBUSY);
	FAILS(driver_map(fd, PAGE, BOTH, 0), ENXIO);
	CHECK_ERROR(ioctl(fd, 0, "/absent"), ENOENT);
	FAILS(driver_map(fd, PAGE, BOTH, 0), ENXIO);
	CHECK(!ioctl(fd, 0, "/rw"));
	at = driver_map(fd, DRIVER_WINDOW, BOTH, 0);
	CHECK(at != MAP_FAILED);
	CHECK(at[0] == 'r' && at[PAGE - 1] == 'r' && at[PAGE] == 0);
	strcpy(at + 2 * PAGE, "written by the guest");
	CHECK(!munmap(at, DRIVER_WINDOW) && !close(fd));
	fd = driver_open(O_RDWR);
	CHECK(fd >= 0);
	FAILS(driver_map(fd, PAGE, BOTH, 0), ENXIO);
}

static void wrong_requests(void)
{
	struct vmshm_ioc_open o = { .name = (uintptr_t)"/rw", .reserved = 1 };
	struct vmshm_ioc_info info = { .reserved = 1 };
	int fd = driver_open(O_RDWR);
	char name[VMSHM_NAME_SIZE + 1];

	CHECK_ERROR(ioctl(fd, VMSHM_IOC_OPEN, &o), EINVAL);
	CHECK_ERROR(ioctl(fd, VMSHM_IOC_INFO, &info), EINVAL);
	CHECK_ERROR(ioctl(fd, VMSHM_IOC_CLOSE, 1), EINVAL);
	CHECK_ERROR(open_object(fd, "/rw", 0, 1u << 31), EINVAL);
	CHECK_ERROR(open_object(fd, "/rw", PAGE / 2, 0), EINVAL);
	CHECK_ERROR(open_object(fd, "/rw", 1ull << 40, 0), EINVAL);
	CHECK_ERROR(open_object(fd, "/rw", 0, VMSHM_OPEN_WHOLE), EFBIG);
	CHECK_ERROR(ioctl(fd, VMSHM_IOC_OPEN, nowhere), EFAULT);
	CHECK_ERROR(ioctl(fd, VMSHM_IOC_INFO, nowhere), EFAULT);
	CHECK_ERROR(ioctl(fd, 0, nowhere), EFAULT);
	CHECK_ERROR(ioctl(fd, 0, -PAGE), EFAULT);
	CHECK_ERROR(ioctl(fd, 77, "/rw"), ENOTTY);
	CHECK_ERROR(ioctl(fd, _IO(0xE7, 77), 0), ENOTTY);
	CHECK_ERROR(ioctl(fd, 0, ""), EINVAL);
	CHECK_ERROR(ioctl(fd, 0, "/../rw"), EINVAL);
	memset(name, 'a', sizeof(name));
	name[VMSHM_NAME_SIZE] = 0;
	CHECK_ERROR(ioctl(fd, 0, name), ENAMETOOLONG);
	name[VMSHM_NAME_SIZE - 1] = 0;
	CHECK_ERROR(ioctl(fd, 0, name), EINVAL);
	CHECK(!(info_of(fd).status & VMSHM_S_OPEN));
	/* what is open stays so when another open fails */
	CHECK(!ioctl(fd, 0, "/rw"));
	CHECK_ERROR(ioctl(fd, 0, "/absent"), ENOENT);
	CHECK(info_of(fd).status & VMSHM_S_OPEN);
}

static void wrong_mappings(void)
{
	int fd = driver_open(O_RDWR);
	char *at;

	CHECK(!ioctl(fd, 0, "/rw"));
	FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0), EINVAL);
	FAILS(driver_map(fd, DRIVER_WINDOW + PAGE, BOTH, 0), EINVAL);
	FAILS(driver_map(fd, DRIVER_WINDOW, BOTH, PAGE), EINVAL);
	FAILS(driver_map(fd, PAGE, BOTH, DRIVER_WINDOW), EINVAL);
	FAILS(driver_map(fd, PAGE, BOTH, VMSHM_MMAP_LARGE - PAGE), EINVAL);
	FAILS(driver_map(fd, PAGE, BOTH, VMSHM_MMAP_LARGE), ENXIO);
	at = driver_map(fd, PAGE, BOTH, DRIVER_WINDOW - PAGE);
	CHECK(at != MAP_FAILED);
	FAILS(mremap(at, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
	at[0] = 1;
}

/* Of VMSHM_IOC_OPEN, what is told of it, and how the window goes on */
static void objects(void)
{
	struct vmshm_ioc_open o = { .name = (uintptr_t)"/rw", .offset = PAGE };
	int fd = driver_open(O_RDWR);
	struct vmshm_ioc_info info, first = info_of(fd);
	char *at;

	CHECK(first.version >> 16 == 1 && first.length == DRIVER_WINDOW && !first.mapped);
	CHECK(!ioctl(fd, VMSHM_IOC_OPEN, &o));
	CHECK(o.size == 2 * DRIVER_WINDOW && o.mapped == DRIVER_WINDOW && !o.mmap_offset);
	CHECK(o.length == DRIVER_WINDOW);
	at = driver_map(fd, DRIVER_WINDOW, BOTH, o.mmap_offset);
	CHECK(at != MAP_FAILED);
	CHECK(at[0] == 0 && at[PAGE] == 'w');	/* what legacy() wrote */

	CHECK(!open_object(fd, "small", 0, VMSHM_OPEN_WHOLE));
	info = info_of(fd);
	CHECK(info.size == PAGE && info.mapped == PAGE && info.status & VMSHM_S_OPEN);
	CHECK(info.generation != first.generation);
	CHECK(at[0] == 's' && at[PAGE] == 0);
	at[PAGE] = 1;
	CHECK(!ioctl(fd, VMSHM_IOC_CLOSE, 0));
	CHECK(at[0] == 0 && at[PAGE] == 0);
	CHECK(!(info_of(fd).status & VMSHM_S_OPEN));
	FAILS(driver_map(fd, PAGE, BOTH, 0), ENXIO);
	at[0] = 'x';
	CHECK(!ioctl(fd, VMSHM_IOC_CLOSE, 0));
	CHECK(!ioctl(fd, 0, "/small"));
	CHECK(at[0] == 's');
}

static void readonly(void)
{
	int fd = driver_open(O_RDWR);
	char *at;

	CHECK(!ioctl(fd, 0, "/ro"));
	CHECK(info_of(fd).status & VMSHM_S_RO);
	FAILS(driver_map(fd, PAGE, BOTH, 0), EACCES);
	at = driver_map(fd, PAGE, PROT_READ, 0);
	CHECK(at != MAP_FAILED && at[0] == 'o');
	CHECK_ERROR(mprotect(at, PAGE, BOTH), EACCES);
	CHECK(!open_object(fd, "/rw", 0, VMSHM_OPEN_RO));
	FAILS(driver_map(fd, PAGE, BOTH, 0), EACCES);
	CHECK(at[0] == 'r');
	CHECK(!close(fd) && !munmap(at, PAGE));

	fd = driver_open(O_RDONLY);
	CHECK(fd >= 0 && !ioctl(fd, 0, "/rw"));
	FAILS(driver_map(fd, PAGE, BOTH, 0), EACCES);
	at = driver_map(fd, PAGE, PROT_READ, 0);
	CHECK(at != MAP_FAILED && at[0] == 'r');
}

/* The device has a large window of 8 MiB, in which rw fits */
static void large(void)
{
	struct vmshm_ioc_open o = { .name = (uintptr_t)"/rw",
				    .flags = VMSHM_OPEN_LARGE | VMSHM_OPEN_WHOLE };
	int fd = driver_open(O_RDWR);
	char *at, *second;

	CHECK(!ioctl(fd, VMSHM_IOC_OPEN, &o));
	CHECK(o.mapped == 2 * DRIVER_WINDOW && o.length == 8 * DRIVER_WINDOW);
	CHECK(o.mmap_offset == VMSHM_MMAP_LARGE && info_of(fd).large == o.length);
	FAILS(driver_map(fd, PAGE, BOTH, 0), ENXIO);
	FAILS(driver_map(fd, o.length + PAGE, BOTH, o.mmap_offset), EINVAL);
	at = driver_map(fd, o.length, BOTH, o.mmap_offset);
	second = driver_map(fd, PAGE, BOTH, o.mmap_offset + DRIVER_WINDOW);
	CHECK(at != MAP_FAILED && second != MAP_FAILED && at[0] == 'r');
	strcpy(second, "in the large window");
	CHECK(!strcmp(at + DRIVER_WINDOW, second));
}

/* A device without vectors: nobody can wait for what never comes */
static void no_events(void)
{
	int fd = driver_open(O_RDWR);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint32_t word = 0;

	CHECK(!info_of(fd).vectors && !info_of(fd).events);
	CHECK(poll(&p, 1, -1) == 1 && p.revents == POLLERR);
	CHECK_ERROR(read(fd, &word, 4), EOPNOTSUPP);
	CHECK_ERROR(write(fd, &word, 4), EOPNOTSUPP);
	CHECK_ERROR(read(fd, &word, 2), EINVAL);
	CHECK_ERROR(write(fd, &word, 2), EINVAL);
	CHECK_ERROR(lseek(fd, 0, SEEK_SET), ESPIPE);
}

/* A device with three vectors. The host gives each event back to us; event 1 twice, at once. */
static void events(void)
{
	int fd = driver_open(O_RDWR | O_NONBLOCK);
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLPRI };
	uint32_t word = 0, mask = 0;

	CHECK(info_of(fd).vectors == 3 && info_of(fd).events == 2);
	/* at the start interrupts may come that nobody gave */
	while (read(fd, &mask, 4) == 4)
		;
	CHECK(errno == EAGAIN && !(info_of(fd).status & VMSHM_S_PEER));
	dprintf(1, "vmshm-driver: events: the host may come\n");
	CHECK(poll(&p, 1, -1) == 1 && p.revents == (POLLIN | POLLPRI));
	CHECK(read(fd, &mask, 4) == 4 && mask == VMSHM_EVENT_STATE);
	CHECK(info_of(fd).status & VMSHM_S_PEER);
	CHECK_ERROR(read(fd, &mask, 4), EAGAIN);
	for (word = 0; word < 2; word++) {
		CHECK(write(fd, &word, 4) == 4);
		CHECK(poll(&p, 1, -1) == 1 && p.revents == POLLIN);
		CHECK_ERROR(read(fd, nowhere, 4), EFAULT);
		CHECK(read(fd, &mask, 4) == 4 && mask == VMSHM_EVENT(word));
	}
	CHECK_ERROR(write(fd, &word, 4), EINVAL);
	CHECK_ERROR(write(fd, nowhere, 4), EFAULT);
	CHECK(!fcntl(fd, F_SETFL, 0));
	word = 0;
	CHECK(write(fd, &word, 4) == 4);
	CHECK(read(fd, &mask, 4) == 4 && mask == VMSHM_EVENT(0));
}

/* rmmod while the node is open */
static void unload(void)
{
	int fd = driver_open(O_RDWR);

	CHECK(fd >= 0);
	CHECK_ERROR((int)syscall(SYS_delete_module, "vmshm", O_NONBLOCK), EWOULDBLOCK);
	CHECK(!ioctl(fd, 0, "/rw") && !close(fd));
	CHECK(!syscall(SYS_delete_module, "vmshm", O_NONBLOCK));
	CHECK_ERROR(driver_open(O_RDWR), ENOENT);
}

/* Unbound while a child waits and both have the window mapped */
static void unbind(void)
{
	int fd = driver_open(O_RDWR), unbound[2], pid;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint32_t word = 0;
	bool waits;
	char *at;

	CHECK(fd >= 0 && !pipe(unbound));
	CHECK(!ioctl(fd, 0, "/rw"));
	at = driver_map(fd, DRIVER_WINDOW, BOTH, 0);
	CHECK(at != MAP_FAILED && driver_can_touch(at));
	waits = info_of(fd).vectors;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(unbound[1]);
		/* what comes before nobody gave; after it comes the end */
		while (waits && read(fd, &word, 4) == 4)
			;
		CHECK(!waits || errno == ENODEV);
		CHECK(read(unbound[0], &word, 1) == 0);
		CHECK(poll(&p, 1, -1) == 1 && p.revents & POLLHUP);
		CHECK(!driver_can_touch(at + PAGE));
		_exit(0);
	}
	CHECK(!driver_bind(false));
	close(unbound[1]);
	CHECK(!driver_wait(pid));
	CHECK(!driver_can_touch(at) && !driver_can_touch(at + DRIVER_WINDOW - 1));
	CHECK_ERROR(driver_open(O_RDWR), ENOENT);
	CHECK_ERROR(ioctl(fd, 0, "/rw"), ENODEV);
	CHECK_ERROR(open_object(fd, "/rw", 0, 0), ENODEV);
	CHECK_ERROR(ioctl(fd, VMSHM_IOC_CLOSE, 0), ENODEV);
	CHECK_ERROR(read(fd, &word, 4), ENODEV);
	FAILS(driver_map(fd, PAGE, BOTH, 0), ENODEV);
	CHECK(poll(&p, 1, -1) == 1 && p.revents == (POLLHUP | POLLERR));

	/* again, while the old file is there still */
	CHECK(!driver_bind(true));
	pid = driver_open(O_RDWR);
	CHECK(pid >= 0 && !ioctl(pid, 0, "/rw"));
	CHECK(!driver_can_touch(at));
	CHECK(!munmap(at, DRIVER_WINDOW) && !close(fd));
	at = driver_map(pid, DRIVER_WINDOW, BOTH, 0);
	CHECK(at != MAP_FAILED && at[0] == 'r');
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Everything a program may do, in an order that nobody chose, until it is @over; much fails. */
static void stress_user(unsigned seed, const volatile bool *over)
{
	static const char *const names[] = { "/rw", "/ro", "/small", "/absent" };
	struct vmshm_ioc_info info = { 0 };
	uint32_t word = 0;

	while (!*over) {
		int fd = driver_open(O_RDWR | O_NONBLOCK);
		char *at = MAP_FAILED;

		CHECK(fd >= 0 || errno == EBUSY || errno == ENOENT || errno == ENODEV);
		for (int i = 0; fd >= 0 && i < 20; i++) {
			switch (rand_r(&seed) % 7) {
			case 0:
			case 1:
				ioctl(fd, 0, names[rand_r(&seed) % 4]);
				break;
			case 2:
				if (at == MAP_FAILED)
					at = driver_map(fd, DRIVER_WINDOW, BOTH, 0);
				break;
			case 3:
				if (at != MAP_FAILED)
					driver_can_touch(at + rand_r(&seed) % DRIVER_WINDOW);
				break;
			case 4:
				ioctl(fd, VMSHM_IOC_INFO, &info);
				break;
			case 5:
				if (read(fd, &word, 4) < 0)
					write(fd, &word, 4);
				break;
			case 6:
				ioctl(fd, VMSHM_IOC_CLOSE, 0);
				break;
			}
		}
		if (fd >= 0)
			close(fd);
		if (at != MAP_FAILED) {
			driver_can_touch(at);
			munmap(at, DRIVER_WINDOW);
		}
	}
}

static void stress(void)
{
	enum { USERS = 4, ROUNDS = 10 };
	volatile bool *over = mmap(NULL, sizeof(*over), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t end = now_ms() + 5000;
	pid_t users[USERS];

	CHECK(over != MAP_FAILED);

	for (int i = 0; i < USERS; i++) {
		users[i] = fork();
		CHECK(users[i] >= 0);
		if (!users[i]) {
			stress_user((unsigned)i + 1, over);
			_exit(0);
		}
	}
	for (unsigned rounds = 0; rounds < ROUNDS || now_ms() < end; rounds++) {
		CHECK(!driver_bind(false));
		CHECK(!driver_bind(true));
		poll(NULL, 0, 5);
	}
	*over = true;
	for (int i = 0; i < USERS; i++)
		CHECK(!driver_wait(users[i]));
	unload();
}

const struct driver_case driver_cases[] = {
	{ "legacy", legacy },
	{ "wrong-requests", wrong_requests },
	{ "wrong-mappings", wrong_mappings },
	{ "objects", objects },
	{ "readonly", readonly },
	{ "large", large },
	{ "no-events", no_events },
	{ "events", events },
	{ "unbind", unbind },
	{ "unload", unload },
	{ "stress", stress },
	{ 0 },
};
