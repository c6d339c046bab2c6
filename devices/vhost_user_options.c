/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_options.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_ids.h>

#include "base/range.h"
#include "devices/device_id.h"
#include "devices/guest_window.h"

#define OPTION "--vhost-user"
/* PCI device ids 0x1040 and up carry the virtio id; vendor 0x1af4 has them up to 0x107f. */
enum { VIRTIO_ID_LAST = 63 };

/* Of IPv4: no link may have less, and Linux takes no less. */
enum { MTU_MIN = 68 };

#define SHMEM_MAX_DEFAULT GIB(64)

static const char *const transports[] = { "pci", "mmio", NULL };
static const char *const on_lost_words[] = {
	[VHOST_USER_WAIT] = "wait", [VHOST_USER_RESET] = "reset", [VHOST_USER_EXIT] = "exit", NULL,
};

#define FIELD(f) offsetof(struct vhost_user_options, f)
#define NUMBER(k, f, lo, hi, text) \
	{ .key = k, .type = KEYVAL_UINT, .offset = FIELD(f), .min = lo, .max = hi, \
	  .given = FIELD(f##_given), .help = text }
#define STRING(k, f, text) { .key = k, .type = KEYVAL_STRING, .offset = FIELD(f), .help = text }
#define REFUSED(k, text) { .key = k, .type = KEYVAL_REFUSED, .help = text }

const struct keyval vhost_user_keys[] = {
	STRING("type", word, "the device type, or a virtio device number"),
	STRING("socket", socket, "path of the socket where the daemon listens"),
	NUMBER("fd", fd, 0, INT_MAX, "instead of socket: an inherited, connected socket"),
	STRING("exec", exec, "instead of socket: the command of a daemon that minivmm starts; see the manual"),
	{ .key = "server", .type = KEYVAL_BOOL, .offset = FIELD(server),
	  .help = "minivmm listens at socket, and the daemon connects" },
	{ .key = "reconnect", .type = KEYVAL_BOOL, .offset = FIELD(reconnect),
	  .given = FIELD(reconnect_given),
	  .help = "connect again when the daemon has ended; on, but with fd" },
	{ .key = "on-lost", .type = KEYVAL_ENUM, .offset = FIELD(on_lost),
	  .given = FIELD(on_lost_given), .words = on_lost_words,
	  .help = "what a device does whose daemon has ended" },
	STRING("id", id, "name of the device in messages"),
	STRING("mac", mac, "net: its address, as in 02:00:00:00:00:01"),
	NUMBER("mtu", mtu, MTU_MIN, UINT16_MAX, "net: the largest packet that guest and daemon are to send"),
	STRING("display", display, "gpu: path of the socket where its screen is, as minivmm-display has it"),
	STRING("tag", tag, "fs: what a guest mounts it by, at most 36 bytes"),
	{ .key = "transport", .type = KEYVAL_ENUM, .offset = FIELD(transport),
	  .given = FIELD(transport_given), .words = transports, .help = "how the guest reaches its registers" },
	NUMBER("queues", queues, 1, VIRTIO_QUEUES_MAX,
	       "number of queues, of net pairs of them; for blk one for each vCPU as far as the daemon goes"),
	NUMBER("queue-pairs", queues, 1, VIRTIO_QUEUES_MAX, "the same as queues, of net"),
	NUMBER("num-queues", queues, 1, VIRTIO_QUEUES_MAX, "the same as queues"),
	NUMBER("num-request-queues", queues, 1, VIRTIO_QUEUES_MAX, "the same as queues"),
	NUMBER("num_vqs", queues, 1, VIRTIO_QUEUES_MAX, "the same as queues"),
	NUMBER("queue-size", queue_size, 2, VU_QUEUE_SIZE_MAX,
	       "entries of each queue, a power of two: what daemons take is at most 1024"),
	NUMBER("vq_size", queue_size, 2, VU_QUEUE_SIZE_MAX, "the same as queue-size"),
	NUMBER("virtio-id", virtio_id, 1, VIRTIO_ID_LAST, "generic only: the virtio device number"),
	NUMBER("config-size", config_size, 0, VIRTIO_CONFIG_MAX,
	       "generic only: bytes of config space that the daemon serves; none without"),
	{ .key = "shmem-max", .type = KEYVAL_SIZE, .offset = FIELD(shmem_max),
	  .help = "most that the daemon's shared memory regions may have; 64G" },
	{ .key = "window-idle-max", .type = KEYVAL_SIZE, .offset = FIELD(window_idle_max),
	  .help = "most host memory a guest can use up through them, beside what is mapped; 4G" },
	STRING("quirk", quirk_word, "in what the daemon is not what the specification says; see the manual"),
	{ .key = "shmem-share", .type = KEYVAL_BOOL, .offset = FIELD(shmem_share),
	  .help = "other devices may read and write what the daemon maps there" },
	REFUSED("chardev", "there are no chardevs here: write the path of its socket, socket=PATH"),
	REFUSED("bootindex", "the kernel is given by --kernel, no device is booted from"),
	{ .key = NULL },
};

static bool is_number(const char *word)
{
	bool hex = word[0] == '0' && (word[1] == 'x' || word[1] == 'X');
	const char *digits = hex ? word + 2 : word;

	return *digits && !digits[strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789")];
}

/* Of the first item; a doubled comma does not end it. */
static size_t first_length(const char *text)
{
	size_t len = 0;

	while (text[len] && (text[len] != ',' || text[len + 1] == ','))
		len += text[len] == ',' ? 2 : 1;
	return len;
}

/* Whether the @len bytes at @text are a word that names a type. */
static bool is_type(const char *text, size_t len)
{
	char word[64];

	if (len >= sizeof(word))
		return false;
	memcpy(word, text, len);
	word[len] = '\0';
	return vu_device_type_named(word) || is_number(word);
}

/* Whether the first item is key=value. A key has no slash and no dot; a path may have a "=". */
static bool is_pair(const char *text, size_t len)
{
	const char *eq = memchr(text, '=', len);

	return eq && strcspn(text, "/.") > (size_t)(eq - text);
}

/* What begins with a socket's path, which has @len bytes. */
static int parse_path(struct vhost_user_options *o, const char *text, size_t len, struct err *e)
{
	char *pair, known[128];
	int r = text[len] ? keyval_parse(OPTION, text + len + 1, NULL, vhost_user_keys, o, e) : 0;

	if (r)
		return r;
	if (o->socket || o->fd_given || o->exec)
		return err_set(e, -EINVAL, OPTION ": %.*s is neither a device type (%s) nor a virtio device"
			       " number, so it is a socket's path; %s= gives another", (int)len, text,
			       vu_device_type_list(known, sizeof(known)),
			       o->socket ? "socket" : o->exec ? "exec" : "fd");
	if (asprintf(&pair, "socket=%.*s", (int)len, text) < 0)
		return err_set(e, -ENOMEM, OPTION ": out of memory");
	r = keyval_parse(OPTION, pair, NULL, vhost_user_keys, o, e);
	free(pair);
	return r;
}

static int parse_items(struct vhost_user_options *o, const char *text, struct err *e)
{
	size_t len = first_length(text);

	if (is_type(text, len))
		return keyval_parse(OPTION, text, "type", vhost_user_keys, o, e);
	if (!len || is_pair(text, len))
		return keyval_parse(OPTION, text, NULL, vhost_user_keys, o, e);
	return parse_path(o, text, len, e);
}

static int find_type(struct vhost_user_options *o, struct err *e)
{
	char known[128];
	uint64_t number;
	int r;

	o->type = vu_device_type_named(o->word ? o->word : "blk");
	if (o->type)
		return 0;
	if (!is_number(o->word))
		return err_set(e, -EINVAL, OPTION ": type: %s is neither a device type (%s) nor a virtio"
			       " device number", o->word,
			       vu_device_type_list(known, sizeof(known)));
	r = uint_parse(OPTION ": virtio device number", o->word, 1, VIRTIO_ID_LAST, &number, e);
	if (r)
		return r;
	o->type = vu_device_type_of_id(number);
	if (o->type)
		return 0;
	if (o->virtio_id_given)
		return err_set(e, -EINVAL, OPTION " %s: the number is the virtio-id already; leave out"
			       " virtio-id=", o->word);
	o->type = vu_generic_type;
	o->virtio_id = number;
	o->virtio_id_given = true;
	return 0;
}

static int check_socket(const struct vhost_user_options *o, struct err *e)
{
	const char *word = o->word ? o->word : o->type->name;

	if (!!o->socket + o->fd_given + !!o->exec > 1)
		return err_set(e, -EINVAL, OPTION " %s: %s and %s are two ways to the same daemon;"
			       " give one", word, o->socket ? "socket=" : "exec=",
			       o->fd_given ? "fd=" : "exec=");
	if (!o->socket && !o->fd_given && !o->exec)
		return err_set(e, -EINVAL, OPTION " %s: where is the daemon? Add socket=PATH (and if %s is"
			       " meant to be a socket's name, write ./%s)", word, word, word);
	if (o->fd_given && o->server)
		return err_set(e, -EINVAL, OPTION " %s: server=on: a path to listen at is needed, fd= is a"
			       " connection already; give socket=PATH", word);
	if (o->exec && o->server)
		return err_set(e, -EINVAL, OPTION " %s: server=on: a path to listen at is needed; give"
			       " socket=PATH, or leave it out: what exec= starts is connected as it is", word);
	if (o->fd_given && o->reconnect)
		return err_set(e, -EINVAL, OPTION " %s: reconnect=on: an inherited socket (fd=) cannot be"
			       " connected again; give socket=PATH", word);
	return 0;
}

/* After reconnect has its default. */
static int check_on_lost(const struct vhost_user_options *o, struct err *e)
{
	const char *word = o->word ? o->word : o->type->name;

	if (!o->on_lost_given)
		return 0;
	if (o->on_lost == VHOST_USER_WAIT && !o->reconnect)
		return err_set(e, -EINVAL, OPTION " %s: on-lost=wait: no other daemon will come%s", word,
			       o->fd_given ? " over an inherited socket (fd=); give socket=PATH" :
			       " with reconnect=off; leave one of the two out");
	if (o->on_lost == VHOST_USER_EXIT && o->reconnect && o->reconnect_given)
		return err_set(e, -EINVAL, OPTION " %s: on-lost=exit: nothing is connected again by a"
			       " machine that ends; leave out reconnect=on", word);
	return 0;
}

static int find_command(struct vhost_user_options *o, struct err *e)
{
	int r = o->exec ? exec_command_parse(&o->command, o->exec, e) : 0;

	return r ? err_prefix(e, r, OPTION " %s: exec=%.100s: ", o->word ? o->word : o->type->name,
			      o->exec) : 0;
}

static int find_quirk(struct vhost_user_options *o, struct err *e)
{
	char known[128];

	o->quirk = o->quirk_word ? vu_quirk_named(o->quirk_word) : NULL;
	if (o->quirk || !o->quirk_word)
		return 0;
	return err_set(e, -EINVAL, OPTION ": quirk: %s is not known; known: %s", o->quirk_word,
		       vu_quirk_list(known, sizeof(known)));
}

static int check_tag(const struct vhost_user_options *o, struct err *e)
{
	const char *type = o->type->name;

	if (o->type->virtio_id != VIRTIO_ID_FS)
		return o->tag ? err_set(e, -EINVAL, OPTION " %s: tag: only fs has one; leave it out",
					type) : 0;
	if (!o->tag)
		return err_set(e, -EINVAL, OPTION " %s: by what is a guest to mount it? Add tag=NAME",
			       type);
	if (strlen(o->tag) > VHOST_USER_TAG_MAX)
		return err_set(e, -EINVAL, OPTION " %s: tag: %s has %zu bytes; give at most %d", type,
			       o->tag, strlen(o->tag), VHOST_USER_TAG_MAX);
	return 0;
}

static int check_display(const struct vhost_user_options *o, struct err *e)
{
	const char *type = o->type->name;

	if (o->type->virtio_id != VIRTIO_ID_GPU)
		return o->display ? err_set(e, -EINVAL, OPTION " %s: display: only gpu has one; leave it out",
					    type) : 0;
	if (!o->display)
		return err_set(e, -EINVAL, OPTION " %s: where is its screen? Add display=PATH, the socket of"
			       " minivmm-display", type);
	return 0;
}

static int check_net(struct vhost_user_options *o, struct err *e)
{
	bool is_net = o->type->virtio_id == VIRTIO_ID_NET;
	uint8_t *m = o->mac_bytes;
	char end;

	if (!is_net && (o->mac || o->mtu_given))
		return err_set(e, -EINVAL, OPTION " %s: %s: only net has one; leave it out",
			       o->type->name, o->mac ? "mac" : "mtu");
	if (!o->mac)
		return 0;
	if (strlen(o->mac) != 17 || o->mac[strspn(o->mac, "0123456789abcdefABCDEF:")] ||
	    sscanf(o->mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &m[0], &m[1], &m[2], &m[3], &m[4],
		   &m[5], &end) != 6)
		return err_set(e, -EINVAL, OPTION " net: mac: %s is not six bytes as in"
			       " 02:00:00:00:00:01", o->mac);
	if (m[0] & 1 || !(m[0] | m[1] | m[2] | m[3] | m[4] | m[5]))
		return err_set(e, -EINVAL, OPTION " net: mac: %s is not the address of one interface; its"
			       " first byte must be even, and all cannot be 0", o->mac);
	return 0;
}

static int check_queues(const struct vhost_user_options *o, struct err *e)
{
	const struct vu_device_type *t = o->type;
	unsigned room = VIRTIO_QUEUES_MAX - t->queues_fixed - (t->control_feature != 0);
	unsigned max = room / (t->queues_each ? t->queues_each : 1);

	if (o->queues_given && !t->queues_default)
		return err_set(e, -EINVAL, OPTION " %s: queues: this device always has %u; leave it out",
			       t->name, t->queues_fixed);
	if (o->queues_given && o->queues > max)
		return err_set(e, -EINVAL, OPTION " %s: queues: give at most %u", t->name, max);
	if (!is_pow2(o->queue_size))
		return err_set(e, -EINVAL, OPTION " %s: queue-size: %" PRIu64 " is not a power of two; give"
			       " for example %u", t->name, o->queue_size, t->queue_size);
	return 0;
}

/* Fills in what the type's row says and was not given. */
static int apply_type(struct vhost_user_options *o, struct err *e)
{
	const struct vu_device_type *t = o->type;

	if (t == vu_generic_type && !o->virtio_id_given)
		return err_set(e, -EINVAL, OPTION " generic: which device? Add virtio-id=NUMBER");
	if (t == vu_generic_type && !o->queues_given)
		return err_set(e, -EINVAL, OPTION " %s: how many queues has it? Add num_vqs=NUMBER",
			       o->word);
	if (t != vu_generic_type && o->virtio_id_given)
		return err_set(e, -EINVAL, OPTION " %s: virtio-id: the type says it already; use generic for"
			       " another", t->name);
	if (t->config != VU_CONFIG_OPTION && o->config_size_given)
		return err_set(e, -EINVAL, OPTION " %s: config-size: the type says it already; it is for"
			       " generic", t->name);
	if (t->virtio_id)
		o->virtio_id = t->virtio_id;
	if (t->config_size)
		o->config_size = t->config_size;
	if (!o->queue_size_given)
		o->queue_size = t->queue_size;
	return 0;
}

/* A command is what most often has commas, and what follows one is no key then. */
static int hint_at_commas(int r, struct err *e)
{
	const struct err wrong = *e;

	return err_set(e, r, "%s (of a comma in exec=, write two)", wrong.msg);
}

int vhost_user_options_parse(struct vhost_user_options *o, const char *text, struct err *e)
{
	int r;

	*o = (struct vhost_user_options){ .shmem_max = SHMEM_MAX_DEFAULT,
					  .window_idle_max = GUEST_WINDOW_IDLE_MAX };
	r = parse_items(o, text, e);
	if (r && o->exec)
		r = hint_at_commas(r, e);
	if (!r)
		r = find_type(o, e);
	if (!r)
		r = check_socket(o, e);
	if (!r)
		r = find_command(o, e);
	if (!r && !o->fd_given && !o->reconnect_given)
		o->reconnect = !(o->on_lost_given && o->on_lost == VHOST_USER_EXIT);
	if (!r)
		r = check_on_lost(o, e);
	if (!r)
		r = o->id ? device_id_check(OPTION, o->id, e) : 0;
	if (!r)
		r = find_quirk(o, e);
	if (!r)
		r = apply_type(o, e);
	if (!r)
		r = check_tag(o, e);
	if (!r)
		r = check_display(o, e);
	if (!r)
		r = check_net(o, e);
	if (!r)
		r = check_queues(o, e);
	return r;
}

void vhost_user_options_name(const struct vhost_user_options *o,
			     char ret_name[VHOST_USER_ID_MAX + 1])
{
	if (o->id)
		snprintf(ret_name, VHOST_USER_ID_MAX + 1, "%s", o->id);
	else
		snprintf(ret_name, VHOST_USER_ID_MAX + 1, "%s%u", o->type->name, o->number);
}

static int check_pair(const struct vhost_user_options *a, const struct vhost_user_options *b,
		      struct err *e)
{
	char name[VHOST_USER_ID_MAX + 1], other[VHOST_USER_ID_MAX + 1];

	vhost_user_options_name(a, name);
	vhost_user_options_name(b, other);
	if (!strcmp(name, other))
		return err_set(e, -EINVAL, OPTION ": two devices are named %s; give one another id=", name);
	if (a->fd_given && b->fd_given && a->fd == b->fd)
		return err_set(e, -EINVAL, OPTION ": fd=%" PRIu64 " is given to %s and %s; a device needs a"
			       " connection of its own", a->fd, name, other);
	return 0;
}

int vhost_user_options_check(const struct vhost_user_options *o, unsigned n, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		for (unsigned j = i + 1; j < n; j++) {
			int r = check_pair(&o[i], &o[j], e);

			if (r)
				return r;
		}
	}
	return 0;
}

void vhost_user_options_free(struct vhost_user_options *o)
{
	keyval_free(vhost_user_keys, o);
	exec_command_free(&o->command);
}
