/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vmshm_options.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/range.h"
#include "devices/device_id.h"
#include "devices/guest_window.h"
#include "devices/vmshm_name.h"
#include "guest/vmshm/vmshm_events.h"
#include "guest/vmshm/vmshm_regs.h"
#include "memory/shm.h"

#define OPTION "--vmshm"
#define WINDOW_MIN MIB(2)
#define NAME_SIZE_MAX MIB(1)

enum { VECTORS_MAX = VMSHM_EVENTS_MAX + 1, VECTORS_WITH_EVENTS = 2 };

/* What is parsed, and those values of it that are looked at again. */
struct words {
	struct vmshm_options o;
	struct keyval_list allow, map;
	char *pci_id;
	bool vectors_given;
};

#define FIELD(f) offsetof(struct words, f)
#define STRING(k, f, text) { .key = k, .type = KEYVAL_STRING, .offset = FIELD(f), .help = text }
#define LIST(k, f, text) { .key = k, .type = KEYVAL_LIST, .offset = FIELD(f), .help = text }
#define SIZE(k, f, text) { .key = k, .type = KEYVAL_SIZE, .offset = FIELD(f), .help = text }
#define BOOL(k, f, text) { .key = k, .type = KEYVAL_BOOL, .offset = FIELD(f), .help = text }

const struct keyval vmshm_keys[] = {
	STRING("id", o.id, "name of the device in messages"),
	LIST("allow", allow, "GLOB[:ro] of host objects that may be opened; repeatable, first match"),
	LIST("map", map, "/NAME:fd=N[:ro]: opens an inherited descriptor by this name; repeatable"),
	STRING("prefix", o.prefix, "put before every name that the guest gives, but those of map"),
	{ .key = "owner", .type = KEYVAL_UINT, .offset = FIELD(o.owner), .max = UINT32_MAX - 1,
	  .help = "user id whose objects may be opened; that of minivmm itself unless given" },
	BOOL("exclusive", o.exclusive, "open no object that another has open so; off"),
	SIZE("window", o.window, "size of the large window, a power of two; none unless given"),
	SIZE("window-idle-max", o.window_idle_max,
	     "most host memory a guest can use up through it, beside what is mapped; 4G"),
	BOOL("prealloc", o.prealloc, "allocate an object before it is in the large window; off"),
	{ .key = "vectors", .type = KEYVAL_UINT, .offset = FIELD(o.vectors), .max = VECTORS_MAX,
	  .given = FIELD(vectors_given),
	  .help = "interrupts: one for changes of state, the others for events; 0, or 2 with events" },
	STRING("events", o.events, "path of a socket to listen on for who takes the events"),
	STRING("events-peer", o.events_peer, "path of another machine's events socket"),
	STRING("pci-id", pci_id, "VENDOR:DEVICE in hexadecimal; 1af4:6661"),
	SIZE("name-size", o.name_size, "size of the buffer for names, a power of two; 1K"),
	{ .key = NULL },
};

/* Takes ":ro" off the end of @text. */
static bool take_ro(char *text)
{
	size_t len = strlen(text);
	bool ro = len >= 3 && !strcmp(text + len - 3, ":ro");

	if (ro)
		text[len - 3] = '\0';
	return ro;
}

static int parse_allow(struct vmshm_options *o, char *text, struct err *e)
{
	struct vmshm_allow *a = &o->allow[o->n_allow];
	const char *glob = text[0] == '/' ? text + 1 : text;
	size_t len = strlen(text);

	if (o->n_allow == VMSHM_RULES_MAX)
		return err_set(e, -EINVAL, OPTION ": allow: at most %d of them; a glob allows many"
			       " names", VMSHM_RULES_MAX);
	if (len >= 3 && !strcmp(text + len - 3, ":rw"))
		return err_set(e, -EINVAL, OPTION ": allow: %s: leave out :rw, which is what is"
			       " allowed without :ro", text);
	a->ro = take_ro(text);
	if (!*glob)
		return err_set(e, -EINVAL, OPTION ": allow: \"%s\" allows no name; write one, or a"
			       " glob, as in /ring-*", text);
	if (strchr(glob, '/'))
		return err_set(e, -EINVAL, OPTION ": allow: %s: an object's name has one slash, at"
			       " the beginning, so a glob with another never matches", text);
	if (vmshm_name_is_own(glob))
		return err_set(e, -EINVAL, OPTION ": allow: %s: objects whose names begin with "
			       SHM_OBJECT_PREFIX " are minivmm's own and are never opened; choose"
			       " another name", text);
	if (asprintf(&a->glob, "/%s", glob) < 0) {
		a->glob = NULL;
		return err_set(e, -ENOMEM, OPTION ": out of memory");
	}
	o->n_allow++;
	return 0;
}

/* The last ":fd=" in @text: a name may have one in it. */
static char *find_fd(char *text)
{
	char *last = NULL;

	for (char *at = text; (at = strstr(at, ":fd=")); at++)
		last = at;
	return last;
}

static int parse_map(struct vmshm_options *o, char *text, struct err *e)
{
	struct vmshm_map *m = &o->maps[o->n_maps];
	char name[VMSHM_NAME_MAX + 1], *fd;
	uint64_t number;
	int r;

	if (o->n_maps == VMSHM_RULES_MAX)
		return err_set(e, -EINVAL, OPTION ": map: at most %d of them; use another " OPTION,
			       VMSHM_RULES_MAX);
	m->ro = take_ro(text);
	fd = find_fd(text);
	if (!fd)
		return err_set(e, -EINVAL, OPTION ": map: %s: which descriptor? Write"
			       " map=/NAME:fd=N, and :ro at the end for reading only", text);
	*fd = '\0';
	r = uint_parse(OPTION ": map: fd", fd + 4, 0, INT_MAX, &number, e);
	if (r)
		return r;
	if (vmshm_name_parse(text, strlen(text) + 1, name))
		return err_set(e, -EINVAL, OPTION ": map: \"%s\" is not an object's name: write a"
			       " slash and then 1 to %d bytes without slash or control character",
			       text, VMSHM_NAME_MAX);
	for (unsigned i = 0; i < o->n_maps; i++) {
		if (!strcmp(o->maps[i].name, name))
			return err_set(e, -EINVAL, OPTION ": map: /%s is given twice; give one"
				       " another name", name);
	}
	m->fd = (int)number;
	m->name = strdup(name);
	if (!m->name)
		return err_set(e, -ENOMEM, OPTION ": out of memory");
	o->n_maps++;
	return 0;
}

/* The slash that all names begin with may be written. */
static int check_prefix(char *prefix, struct err *e)
{
	char name[VMSHM_NAME_MAX + 1];

	if (prefix[0] == '/')
		memmove(prefix, prefix + 1, strlen(prefix));
	/* "." and ".." are no names, but what names may begin with. */
	if (strspn(prefix, ".") != strlen(prefix) &&
	    vmshm_name_parse(prefix, strlen(prefix) + 1, name))
		return err_set(e, -EINVAL, OPTION ": prefix: \"%s\" cannot begin an object's name:"
			       " no slash and no control character can be in it, at most %d bytes",
			       prefix, VMSHM_NAME_MAX);
	if (!*prefix || strlen(prefix) >= VMSHM_NAME_MAX)
		return err_set(e, -EINVAL, OPTION ": prefix: it has 1 to %d bytes, the slash at the"
			       " beginning left out", VMSHM_NAME_MAX - 1);
	if (vmshm_name_is_own(prefix))
		return err_set(e, -EINVAL, OPTION ": prefix: objects whose names begin with "
			       SHM_OBJECT_PREFIX " are minivmm's own and are never opened; choose"
			       " another prefix");
	return 0;
}

/* Four hexadecimal digits. */
static bool parse_hex16(const char *text, uint16_t *ret)
{
	if (strspn(text, "0123456789abcdefABCDEF") != 4)
		return false;
	*ret = (uint16_t)strtoul((const char[]){ text[0], text[1], text[2], text[3], '\0' }, NULL,
				 16);
	return true;
}

static int parse_pci_id(struct vmshm_options *o, const char *text, struct err *e)
{
	if (strlen(text) != 9 || text[4] != ':' || !parse_hex16(text, &o->pci_vendor) ||
	    !parse_hex16(text + 5, &o->pci_device))
		return err_set(e, -EINVAL, OPTION ": pci-id: %s is not VENDOR:DEVICE in four"
			       " hexadecimal digits each, as in %04x:%04x", text, VMSHM_PCI_VENDOR,
			       VMSHM_PCI_DEVICE);
	if (o->pci_vendor == 0 || o->pci_vendor == 0xffff)
		return err_set(e, -EINVAL, OPTION ": pci-id: %s: vendor %04x means that there is no"
			       " device; give another", text, o->pci_vendor);
	return 0;
}

static int check_sizes(const struct vmshm_options *o, struct err *e)
{
	char text[24];

	if (o->window && (o->window < WINDOW_MIN || !is_pow2(o->window)))
		return err_set(e, -EINVAL, OPTION ": window: %s is not a power of two from 2M on, as"
			       " the size of a PCI BAR must be", size_format(o->window, text));
	if (o->name_size < VMSHM_NAME_SIZE || o->name_size > NAME_SIZE_MAX ||
	    !is_pow2(o->name_size))
		return err_set(e, -EINVAL, OPTION ": name-size: %s is not a power of two from 1K to"
			       " 1M", size_format(o->name_size, text));
	if (o->prealloc && !o->window)
		return err_set(e, -EINVAL, OPTION ": prealloc=on is about the large window, and"
			       " there is none; add window=SIZE");
	return 0;
}

static int check_socket(const char *key, const char *path, struct err *e)
{
	static const struct sockaddr_un addr;

	if (path && strlen(path) >= sizeof(addr.sun_path))
		return err_set(e, -EINVAL, OPTION ": %s: a socket's path has at most %zu characters;"
			       " use a shorter or a relative one", key, sizeof(addr.sun_path) - 1);
	return 0;
}

static int check_events(struct vmshm_options *o, bool vectors_given, struct err *e)
{
	int r = check_socket("events", o->events, e);

	if (r == 0)
		r = check_socket("events-peer", o->events_peer, e);
	if (r || (!o->events && !o->events_peer))
		return r;
	if (o->events && o->events_peer && !strcmp(o->events, o->events_peer))
		return err_set(e, -EINVAL, OPTION ": events-peer: %s is this device's own socket;"
			       " give that of another", o->events_peer);
	if (!vectors_given)
		o->vectors = VECTORS_WITH_EVENTS;
	if (!o->vectors)
		return err_set(e, -EINVAL, OPTION ": vectors=0: there are no events without; leave"
			       " it out, or give one more than events are wanted");
	return 0;
}

static int judge(struct words *w, struct err *e)
{
	struct vmshm_options *o = &w->o;
	int r = o->id ? device_id_check(OPTION, o->id, e) : 0;

	for (unsigned i = 0; i < w->allow.count && r == 0; i++)
		r = parse_allow(o, w->allow.items[i], e);
	for (unsigned i = 0; i < w->map.count && r == 0; i++)
		r = parse_map(o, w->map.items[i], e);
	if (r == 0 && o->prefix)
		r = check_prefix(o->prefix, e);
	if (r == 0 && w->pci_id)
		r = parse_pci_id(o, w->pci_id, e);
	if (r == 0)
		r = check_sizes(o, e);
	if (r == 0)
		r = check_events(o, w->vectors_given, e);
	return r;
}

static void free_list(struct keyval_list *l)
{
	static const struct keyval list[] = { { .key = "", .type = KEYVAL_LIST }, { NULL } };

	keyval_free(list, l);
}

int vmshm_options_parse(struct vmshm_options *o, const char *text, struct err *e)
{
	struct words w = { .o = { .owner = geteuid(),
				  .window_idle_max = GUEST_WINDOW_IDLE_MAX,
				  .pci_vendor = VMSHM_PCI_VENDOR,
				  .pci_device = VMSHM_PCI_DEVICE,
				  .name_size = VMSHM_NAME_SIZE } };
	int r = text ? keyval_parse(OPTION, text, NULL, vmshm_keys, &w, e) : 0;

	if (r == 0)
		r = judge(&w, e);
	free_list(&w.allow);
	free_list(&w.map);
	free(w.pci_id);
	*o = w.o;
	return r;
}

static int name_it(struct vmshm_options *o, unsigned number, struct err *e)
{
	o->number = number;
	if (o->id || asprintf(&o->id, "vmshm%u", number) >= 0)
		return 0;
	o->id = NULL;
	return err_set(e, -ENOMEM, OPTION ": out of memory");
}

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

static int check_pair(const struct vmshm_options *a, const struct vmshm_options *b, struct err *e)
{
	if (same(a->id, b->id))
		return err_set(e, -EINVAL, OPTION ": two devices are named %s; give one another id=",
			       a->id);
	if (same(a->events, b->events))
		return err_set(e, -EINVAL, OPTION ": events=%s is given to %s and %s; a device"
			       " needs a socket of its own", a->events, a->id, b->id);
	if (same(a->events_peer, b->events_peer))
		return err_set(e, -EINVAL, OPTION ": events-peer=%s is given to %s and %s; a device's"
			       " events go to one at a time", a->events_peer, a->id, b->id);
	return 0;
}

int vmshm_options_check(struct vmshm_options *o, unsigned n, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++) {
		r = name_it(&o[i], i, e);
		for (unsigned j = 0; j < i && r == 0; j++)
			r = check_pair(&o[j], &o[i], e);
	}
	return r;
}

void vmshm_options_free(struct vmshm_options *o)
{
	for (unsigned i = 0; i < o->n_allow; i++)
		free(o->allow[i].glob);
	for (unsigned i = 0; i < o->n_maps; i++)
		free(o->maps[i].name);
	free(o->id);
	free(o->prefix);
	free(o->events);
	free(o->events_peer);
	*o = (struct vmshm_options){ .n_allow = 0 };
}
