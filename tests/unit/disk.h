/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minivmm-backend's disk in the same thread, on a file of its own, for tests: options as a user
 * writes them, requests as a guest's driver makes them.
 */
#ifndef TESTS_UNIT_DISK_H
#define TESTS_UNIT_DISK_H

#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_blk.h>

#include "base/loop.h"
#include "driver.h"
#include "vhost/backend.h"
#include "vhost/backends/options.h"

enum {
	DISK = 4 << 20, SECTORS = DISK / 512,
	HEADER = DRIVER_DATA, STATUS = DRIVER_DATA + 0x100, DATA = DRIVER_DATA + 0x10000,
	NO_STATUS = 0xee,
};

struct disk {
	char path[64];
	int file;		/* the test's own view of it */
	struct options options;
	struct loop loop;
	void *dev;
	struct backend backend;
	struct driver driver;
	bool uring;			/* requests go through io_uring */
	struct vu_inflight inflight;	/* then there is a record of those in flight */
	int inflight_fd;
};

/* cmocka's set-up and tear-down: a file of zeros, nothing started. */
int disk_setup(void **state);
int disk_teardown(void **state);
/* As disk_setup; the disk will be served through io_uring, if this build and this kernel can. */
int disk_setup_uring(void **state);

/* Parses `minivmm-backend blk --fd 9 --file PATH<keys> <more>` into d->options; @more may be NULL.
 */
void disk_parse(struct disk *d, const char *keys, const char *more);
/* Opens what d->options say; the caller closes ret->arg. */
int disk_open(struct disk *d, struct backend_device *ret, struct err *e);
/* The state's disk, running with one queue of 64 entries. */
struct disk *disk_started(void **state, const char *keys, const char *more);
/* As after a reset: queue 0 begins anew, with a new record of what is in flight. */
void disk_begin(struct disk *d);

/* Puts a request's header and an impossible status into RAM. */
void disk_put_header(struct disk *d, uint32_t type, uint64_t sector);
/* One request with @len bytes of data at DATA; returns its status. */
uint8_t disk_request(struct disk *d, uint32_t type, uint64_t sector, uint32_t len);
uint8_t disk_request_on(struct disk *d, unsigned queue, uint32_t type, uint64_t sector,
			uint32_t len);

/* A pattern that differs from sector to sector and from @seed to @seed. */
void disk_fill(uint8_t *at, size_t len, unsigned seed);
/* Fills [sector, sector + sectors) of the file with 0xaa. */
void disk_dirty(struct disk *d, uint64_t sector, size_t sectors);
void disk_assert_file(struct disk *d, uint64_t sector, const void *want, size_t len);
void disk_assert_zero(struct disk *d, uint64_t sector, size_t len);

/* The config space as the guest reads it. */
struct virtio_blk_config disk_config(struct disk *d);

#endif
