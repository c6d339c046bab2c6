/* SPDX-License-Identifier: Apache-2.0 */
/* Windows and what a daemon maps into them, for tests. */
#ifndef TESTS_UNIT_WINDOW_RIG_H
#define TESTS_UNIT_WINDOW_RIG_H

#include "memory/window.h"

enum { PAGE = 4096 };

/* An object whose page i begins with the word @tag + i; its fd. */
int window_rig_object(uint32_t tag, uint64_t pages);
/* A window of @size bytes, ended by window_fini. */
struct mem_window window_rig_new(uint64_t size);
/* The same, which may cost at most @idle_max. */
struct mem_window window_rig_bounded(uint64_t size, uint64_t idle_max);
/* The same with filler that is one piece again and again, as of a larger window. */
struct mem_window window_rig_in_pieces(uint64_t size);

/* The first word of a page. */
static inline volatile uint32_t *window_rig_word(const struct mem_window *w, uint64_t page)
{
	return (volatile uint32_t *)(void *)(w->host + page * PAGE);
}

#endif
