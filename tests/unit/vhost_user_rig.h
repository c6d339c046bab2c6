/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole vhost-user device for tests: fake machine, guest's driver, scripted daemon. Everything
 * happens in the test's thread, and the loop runs when a call says so.
 */
#ifndef TESTS_VHOST_USER_RIG_H
#define TESTS_VHOST_USER_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/vhost_user_device.h"
#include "tests/unit/scripted_daemon.h"
#include "tests/unit/virtio_guest.h"

#define RIG_V1 BIT64(VIRTIO_F_VERSION_1)

struct vhost_user_rig {
	struct fake_machine fake;
	struct pci_bus bus;
	struct scripted_daemon daemon;	/* to be changed before vhost_user_rig_connect */
	int sock;			/* the front end's end; the device's once connected */
	struct vhost_user_options options;
	struct vhost_user_device dev;
	struct virtio_guest guest;
	struct err e;
	unsigned resets_done;
	unsigned asked, forgotten;	/* times the device asked for a connection, took it back */
	int refusal;			/* a negative errno: no connection is ever made again */
};

/* cmocka's set-up and tear-down: *state is a rig without a device. The tear-down fails the test
 * when the daemon got a message that the protocol forbids. */
int vhost_user_rig_setup(void **state);
int vhost_user_rig_teardown(void **state);

/* Parses @text, connects and runs the loop: afterwards the device is ready or failed. */
void vhost_user_rig_connect(struct vhost_user_rig *r, const char *text, unsigned vcpus);
/* The same, realized, its BAR decoding: the guest sees it. */
void vhost_user_rig_plug(struct vhost_user_rig *r, const char *text);
/* The guest's driver with @queues queues of 4 entries and MSI-X (vector 0: config, then one each)
 * sets DRIVER_OK; the loop has not run since. */
void vhost_user_rig_driver_ok(struct vhost_user_rig *r, unsigned queues);
/* vhost_user_rig_driver_ok, and the daemon has started. */
void vhost_user_rig_run(struct vhost_user_rig *r, unsigned queues);
/* A disk of 2 queues that offers MQ and CONFIG_WCE, plugged; and one that runs. Return *state. */
struct vhost_user_rig *vhost_user_rig_plugged(void **state);
struct vhost_user_rig *vhost_user_rig_running(void **state);
/* Runs the loop until nothing is ready. A pause between two attempts is left to the test. */
void vhost_user_rig_settle(struct vhost_user_rig *r);

/* Runs the loop and takes the interrupts of MSI-X vector @vector. */
unsigned vhost_user_rig_interrupts(struct vhost_user_rig *r, unsigned vector);
bool vhost_user_rig_needs_reset(struct vhost_user_rig *r);
/* The oldest unanswered request misses its deadline. */
void vhost_user_rig_deadline(struct vhost_user_rig *r);
/* From now on the device is connected again, when the test brings a daemon. */
void vhost_user_rig_reconnects(struct vhost_user_rig *r);
/* The device's pause between two attempts is over at once: its length in ms. It asks now. */
unsigned vhost_user_rig_pause_over(struct vhost_user_rig *r);
/* A new good daemon, not connected yet: to be changed before ... */
void vhost_user_rig_new_daemon(struct vhost_user_rig *r);
/* ... it answers what the device asks for, after its pause; the loop has run. */
void vhost_user_rig_answer(struct vhost_user_rig *r);
/* The daemon ends, and the device asks for another one. */
void vhost_user_rig_lose(struct vhost_user_rig *r);
/* A new good daemon is the device's. */
void vhost_user_rig_come_back(struct vhost_user_rig *r);
/* The machine resets; counts in resets_done. The loop has not run since. */
void vhost_user_rig_reset(struct vhost_user_rig *r);

#endif
