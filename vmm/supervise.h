/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A supervisor process from its fork on: what it is asked over its socket, and what it does about
 * it. supervisor.c starts it and asks. One thread, and after supervise() nothing else.
 */
#ifndef VMM_SUPERVISE_H
#define VMM_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

#include "devices/vmshm_object.h"
#include "vmm/supervisor.h"

enum supervise_request {
	SUPERVISE_CONNECT, SUPERVISE_GOODBYE, SUPERVISE_CONNECT_NOW, SUPERVISE_OPEN_OBJECT,
};

/* What it is sent. `question` comes with OPEN_OBJECT only, and an fd when one is held. */
struct supervise_message {
	uint32_t request;
	uint32_t index;		/* CONNECT, CONNECT_NOW */
	struct vmshm_question question;
};

enum { SUPERVISE_SHORT = offsetof(struct supervise_message, question) };

/* With 0 an fd comes along, and with CONNECT_NOW the peer's pidfd after it, if it can be known. */
struct supervise_answer {
	int32_t error;		/* 0 or -errno */
	uint32_t request;	/* as asked */
	uint32_t index;
	struct err why;		/* the sentence, when it failed */
	struct vmshm_answer object;	/* OPEN_OBJECT: with VMSHM_OK an fd comes along */
};

/* What a supervisor process itself knows: all of it from before the fork. */
struct supervise_state {
	int sock;	/* its end tells that whom this process serves is gone */
	int line;	/* the other end of the spare's sock, held for that to see us; or -1 */
	int shm;	/* the object whose name is to be removed, or -1 */
	int shm_dir;	/* where objects are opened, or -1 */
	const struct supervisor_rights *rights;
	struct termios terminal;
	bool is_terminal;
	/* From here on the process's own. */
	struct vmshm_object_opener openers[SUPERVISOR_VMSHMS_MAX];
};

/* The rest of the process. Closes what is not in @s, which it may change. */
void supervise(struct supervise_state *s, enum seccomp_mode mode) __attribute__((noreturn));

#endif
