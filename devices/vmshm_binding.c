/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vmshm_binding.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "devices/vmshm_name.h"
#include "guest/vmshm/vmshm_regs.h"

static const char *id_of(const struct vmshm_binding *b)
{
	return b->options->id;
}

static struct guest_window *window_of(struct vmshm_binding *b, const struct vmshm_wish *w)
{
	return w->flags & VMSHM_OPEN_LARGE ? &b->large : &b->window;
}

int vmshm_binding_init(struct vmshm_binding *b, const struct vmshm_options *o, struct machine *m,
		       void (*cut_short)(void *arg), void *arg, struct err *e)
{
	struct guest_window_params p = {
		.name = o->id, .size = VMSHM_WINDOW_SIZE, .idle_max = VMSHM_WINDOW_SIZE,
		.cut_short = cut_short, .arg = arg,
	};
	int r;

	*b = (struct vmshm_binding){ .options = o, .fd = -1 };
	r = guest_window_init(&b->window, m, &p, e);
	if (r == 0 && o->window) {
		p.size = o->window;
		p.idle_max = o->window_idle_max;
		r = guest_window_init(&b->large, m, &p, e);
	}
	if (r)
		vmshm_binding_fini(b);
	return r;
}

void vmshm_binding_fini(struct vmshm_binding *b)
{
	if (!b->options)
		return;
	guest_window_fini(&b->window);
	guest_window_fini(&b->large);
	fd_close(&b->fd);
	b->options = NULL;
}

/* The guest's own RAM has its policy elsewhere: nowhere. */
static bool is_own_ram(const struct vmshm_binding *b, const struct stat *st)
{
	const struct guest_mem *mem = b->window.machine->mem;

	for (unsigned i = 0; mem && i < mem->count; i++)
		if (fd_is_of(mem->regions[i].fd, st))
			return true;
	return false;
}

/* What of the object at *@fd goes into a window of @room bytes. */
static uint32_t judge(const struct vmshm_binding *b, const struct vmshm_wish *w, int fd,
		      uint64_t room, uint64_t *ret_size, uint64_t *ret_mapped)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), size;
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return VMSHM_EBADTYPE;
	if (is_own_ram(b, &st))
		return VMSHM_ENOENT;
	size = (uint64_t)st.st_size;
	if (size == 0)
		return VMSHM_EEMPTY;
	if (w->offset % page || w->offset >= size)
		return VMSHM_EBADOFFSET;
	if ((w->flags & VMSHM_OPEN_WHOLE) && size - w->offset > room)
		return VMSHM_ETOOBIG;
	*ret_size = size;
	*ret_mapped = align_up(min_u64(size - w->offset, room), page);
	return VMSHM_OK;
}

/* How a window's refusal is told to the guest. */
static uint32_t status_of(int r)
{
	switch (r) {
	case 0:
		return VMSHM_OK;
	case -EIO:
		return VMSHM_EIO;
	case -ENOMEM:
	case -ENOSPC:
	case -E2BIG:
	case -EMFILE:
	case -ENFILE:
	case -EAGAIN:
		return VMSHM_ENOMEM;
	}
	return VMSHM_EBADTYPE;
}

static void empty(struct vmshm_binding *b, struct guest_window *w)
{
	struct err e;

	if (w->machine && window_clear(&w->window, &e) && misuse_first(&b->kept))
		log_error("device %s: %s: the guest ends when it goes where an object was open",
			  id_of(b), e.msg);
}

/* Takes the words of why no object of this name was bound. */
static void complain(struct vmshm_binding *b, const struct vmshm_wish *w, const char *why)
{
	char name[VMSHM_NAME_MAX + 1];

	if (!misuse_first(&b->failed))
		return;
	vmshm_name_show(w->name, name);
	log_warn("device %s: the guest cannot open \"%s\": %s", id_of(b), name, why);
}

/* The object is in the window, and in no other. */
static void bound(struct vmshm_binding *b, const struct vmshm_wish *w, int *fd)
{
	struct guest_window *now = window_of(b, w), *before = window_of(b, &b->wish);

	guest_window_mapped(now);
	if (b->open && before != now)
		empty(b, before);
	fd_close(&b->fd);
	b->fd = fd_take(fd);
	b->open = true;
	b->truncated = false;
	b->wish = *w;
}

uint32_t vmshm_binding_open(struct vmshm_binding *b, const struct vmshm_wish *w, int *fd, bool rw,
			    bool sealed)
{
	struct guest_window *window = window_of(b, w);
	autoclose int object = fd_take(fd);
	bool populate = window == &b->window || b->options->prealloc;
	uint64_t size = 0, mapped = 0;
	uint32_t status = judge(b, w, object, window->window.size, &size, &mapped);
	struct err e;
	int r;

	if (status == VMSHM_ENOENT)
		complain(b, w, "it is this guest's own memory");
	if (status)
		return status;
	rw = rw && !(w->flags & VMSHM_OPEN_RO);
	r = window_replace(&window->window, object, w->offset, mapped, rw, populate, &e);
	if (r) {
		complain(b, w, e.msg);
		/* In the last resort the window was emptied. */
		if (b->open && window_of(b, &b->wish) == window && !window->window.count)
			vmshm_binding_close(b);
		return status_of(r);
	}
	bound(b, w, &object);
	b->ro = !rw;
	b->sealed = sealed;
	b->size = size;
	b->mapped = mapped;
	return VMSHM_OK;
}

void vmshm_binding_close(struct vmshm_binding *b)
{
	if (!b->open)
		return;
	empty(b, window_of(b, &b->wish));
	fd_close(&b->fd);
	b->open = b->ro = b->sealed = b->truncated = false;
	b->size = b->mapped = 0;
	b->wish = (struct vmshm_wish){ .flags = 0 };
}

void vmshm_binding_reset(struct vmshm_binding *b)
{
	vmshm_binding_close(b);
	empty(b, &b->window);
	empty(b, &b->large);
}

bool vmshm_binding_cut_short(struct vmshm_binding *b)
{
	const struct window_mapping *m;

	m = b->open ? window_find(&window_of(b, &b->wish)->window, 0) : NULL;
	if (!m || m->live == b->mapped)
		return false;
	b->mapped = m->live;
	b->truncated = true;
	return true;
}

void vmshm_binding_news(const struct vmshm_binding *b, struct vmshm_news *ret)
{
	*ret = (struct vmshm_news){ .fd = b->fd };
	if (!b->open)
		return;
	ret->msg.flags = (b->ro ? VMSHM_MSG_RO : 0) | (b->truncated ? VMSHM_MSG_TRUNCATED : 0);
	ret->msg.size = b->size;
	ret->msg.offset = b->wish.offset;
	ret->msg.mapped = b->mapped;
	snprintf(ret->msg.name, sizeof(ret->msg.name), "%s", b->wish.name);
}
