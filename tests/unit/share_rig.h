/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake machine with three vhost-user devices and a scripted daemon for each, for tests of what
 * they share. Everything happens in the test's thread; the loop runs in most calls. Include after
 * cmocka.h.
 */
#ifndef TESTS_UNIT_SHARE_RIG_H
#define TESTS_UNIT_SHARE_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/vhost_user_device.h"
#include "tests/unit/scripted_daemon.h"
#include "tests/unit/virtio_guest.h"

enum { NEED_REPLY = VU_FLAG_VERSION | VU_FLAG_NEED_REPLY };
#define PAGE ((uint64_t)VU_SHMEM_PAGE)
#define MAP VU_BACKEND_SHMEM_MAP
#define UNMAP VU_BACKEND_SHMEM_UNMAP

/* Keys for share_plug: a device that shares its region of 64 pages, one that keeps it, one that has
 * none. */
#define GIVER "pmem,socket=/run/pmem,id=%s,shmem-share=on"
#define OWN "pmem,socket=/run/pmem,id=%s"
#define TAKER "rng,socket=/run/rng,id=%s"

struct share_card {
	struct fake_machine *fake;
	struct scripted_daemon daemon;	/* to be changed before plug */
	struct vhost_user_options options;
	struct vhost_user_device dev;
	struct virtio_guest guest;
	char id[8];
	int sock;
	unsigned resets;
};

struct share_rig {
	struct fake_machine fake;
	struct pci_bus bus;
	struct share_card a, b, c;		/* usually: gives, takes, whatever the test says */
	int file;
	struct err e;
};

/* cmocka's set-up and tear-down: nothing is plugged. The tear-down fails the test when something
 * is left in the machine's table, or a daemon got a message that the protocol forbids. */
int share_setup(void **state);
int share_teardown(void **state);

/* Runs the loop until nothing is ready. */
void share_settle(struct share_card *c);
/* Makes a device as @keys say, until the guest sees it. */
void share_plug(struct share_rig *m, struct share_card *c, const char *keys);
/* The guest's driver starts it; what its daemon got till then is forgotten. */
void share_run(struct share_card *c);
/* A gives, B takes, both run. Returns *state. */
struct share_rig *share_pair(void **state);

/* The daemon asks for page @page of the file at the same page of its region, or for its end. The
 * loop has not run then. */
void share_send_map(struct share_rig *m, struct share_card *c, uint64_t page, bool rw);
void share_send_unmap(struct share_card *c, uint64_t page);
/* What a request is answered: 0 or 1; -1 for nothing yet, -2 when the channel has ended. */
int share_answer(struct share_card *c, uint32_t request);
/* Maps it for writing, with success; unmaps it, and returns the answer as it is now. */
void share_map(struct share_rig *m, struct share_card *c, uint64_t page);
int share_unmap(struct share_card *c, uint64_t page);

/* Where the guest has the window. */
uint64_t share_home(struct share_card *c);
/* Whether @c's daemon has page @page of @giver's window in its table. */
bool share_has(struct share_card *c, struct share_card *giver, uint64_t page);
/* Whether the guest reaches the file there. */
bool share_is_mapped(struct share_card *c, uint64_t page);
/* How many of these the daemon got. */
unsigned share_count(struct share_card *c, uint32_t request);

/* The daemon keeps its answers from the next to @request on; gives them; they come too late. */
void share_fall_silent_at(struct share_card *c, uint32_t request);
void share_give_answers(struct share_card *c);
void share_miss_the_deadline(struct share_card *c);

#endif
