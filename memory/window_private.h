/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the window (window.c, window_replace.c); see window.h. Loop only. */
#ifndef MEMORY_WINDOW_PRIVATE_H
#define MEMORY_WINDOW_PRIVATE_H

#include "memory/window.h"

/*
 * A new mapping as @wanted says (offset, len, live, fd_offset, rw), judged, counted, and with its
 * object behind @fd (borrowed), but neither in the window nor in its tree. 0, and *@ret is the
 * caller's until window_insert; or as window_map, with @e.
 */
int window_admit(struct mem_window *w, const struct window_mapping *wanted, int fd,
		 struct window_mapping **ret, struct err *e);
/* Undoes window_admit and frees @m. */
void window_dismiss(struct mem_window *w, struct window_mapping *m);
/* Puts @m into the tree, which must have nothing where it is. 0, or -ENOMEM with @e. */
int window_insert(struct mem_window *w, struct window_mapping *m, struct err *e);
/* Undoes window_insert and window_admit and frees @m. What it mapped is not touched. */
void window_forget(struct mem_window *w, struct window_mapping *m);

/* A mapping in the tree that shares a byte with [offset, offset + len), or NULL. */
struct window_mapping *window_search(const struct mem_window *w, uint64_t offset, uint64_t len);

/* What @m is to map of @fd in @w, made elsewhere: owned by the caller. NULL with @e and *@ret_code
 * -errno. */
void *window_stage(const struct mem_window *w, const struct window_mapping *m, int fd,
		   int *ret_code, struct err *e);
/* Puts filler over [offset, offset + len), whatever is there. 0 or -errno. */
int window_cover(struct mem_window *w, uint64_t offset, uint64_t len);

#endif
