/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backends/console.h"

#include <asm/ioctls.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/range.h"
#include "vhost/backends/device.h"

/* VIRTIO 1.3, 5.3.2: control queues stand between the first port's queues and the others'. */
enum { CONTROL_TO_GUEST = 2, CONTROL_OF_GUEST = 3, QUEUES_MAX = 2 * PORTS_MAX + 2 };

struct console {
	struct loop *loop;
	unsigned ports_n, queues_n;
	struct console_port ports[PORTS_MAX];
	struct backend_queue *queues[QUEUES_MAX];	/* NULL until first served; the library's */
	bool multiport;			/* negotiated */
	bool heard;			/* since then the guest's control queue was served */
	struct ring_chain chain;
	struct iovec iov[RING_SEGMENTS_MAX];
	struct misuse misuse;		/* by the guest */
};

struct loop *console_loop(const struct console *c)
{
	return c->loop;
}

static unsigned queue_to_guest(const struct console_port *p)
{
	return p->index ? 2 * p->index + 2 : 0;
}

static void wake(struct console *c, unsigned queue)
{
	if (c->queues[queue])
		backend_queue_wake(c->queues[queue]);
}

void console_wake(struct console_port *p)
{
	wake(p->console, queue_to_guest(p));
	wake(p->console, queue_to_guest(p) + 1);
}

static void owe(struct console_port *p, unsigned due)
{
	p->due |= due;
	wake(p->console, CONTROL_TO_GUEST);
}

void console_connected(struct console_port *p, bool connected)
{
	p->connected = connected;
	if (p->console->multiport)
		owe(p, DUE_OPEN);
	console_wake(p);
}

static bool serve_input(struct console *c, struct console_port *p, struct backend_queue *q)
{
	while (p->in_len) {
		size_t n;

		if (!backend_queue_has_chain(q) || !backend_queue_pop(q, &c->chain))
			return true;
		n = ring_chain_write(&c->chain, 0, p->input + p->in_at, p->in_len);
		p->in_at += (unsigned)n;
		p->in_len -= (unsigned)n;
		backend_queue_push(q, c->chain.head, (uint32_t)n);
		console_port_update(p);
	}
	return false;
}

static bool serve_output(struct console *c, struct console_port *p, struct backend_queue *q)
{
	while (backend_queue_has_chain(q)) {
		if (!console_port_takes(p))
			return false;
		if (!backend_queue_pop(q, &c->chain))
			break;
		console_port_write(p, &c->chain, c->iov);
		backend_queue_push(q, c->chain.head, 0);
	}
	return true;
}

/* The port's next control message into the chain; returns its bytes. */
static size_t put_control(struct console *c, struct console_port *p)
{
	static const struct {
		unsigned due;
		uint16_t event;
	} order[] = {
		{ DUE_ADD, VIRTIO_CONSOLE_PORT_ADD }, { DUE_CONSOLE, VIRTIO_CONSOLE_CONSOLE_PORT },
		{ DUE_NAME, VIRTIO_CONSOLE_PORT_NAME }, { DUE_OPEN, VIRTIO_CONSOLE_PORT_OPEN },
	};
	unsigned i = 0;
	struct virtio_console_control m = { .id = htole32(p->index) };
	size_t n;

	while (!(p->due & order[i].due))
		i++;
	p->due &= ~order[i].due;
	m.event = htole16(order[i].event);
	m.value = htole16(order[i].due != DUE_OPEN || p->connected);
	n = ring_chain_write(&c->chain, 0, &m, sizeof(m));
	if (order[i].due == DUE_NAME)
		n += ring_chain_write(&c->chain, n, p->o->name, strlen(p->o->name));
	return n;
}

static bool serve_control(struct console *c, struct backend_queue *q)
{
	for (unsigned i = 0; i < c->ports_n;) {
		struct console_port *p = &c->ports[i];

		if (!p->due) {
			i++;
			continue;
		}
		if (!backend_queue_has_chain(q) || !backend_queue_pop(q, &c->chain))
			return true;
		backend_queue_push(q, c->chain.head, (uint32_t)put_control(c, p));
	}
	return false;
}

static void misused(struct console *c, const char *what)
{
	if (misuse_first(&c->misuse))
		log_warn("console: the guest sent %s; this is logged once", what);
}

static void obey(struct console *c, const struct virtio_console_control *m)
{
	uint32_t id = le32toh(m->id);
	struct console_port *p = id < c->ports_n ? &c->ports[id] : NULL;
	uint16_t event = le16toh(m->event), value = le16toh(m->value);

	if (event == VIRTIO_CONSOLE_DEVICE_READY) {
		for (unsigned i = 0; i < c->ports_n && value; i++)
			owe(&c->ports[i], DUE_ADD);
		return;
	}
	if (!p)
		return misused(c, "a control message for a port that there is not");
	if (event == VIRTIO_CONSOLE_PORT_READY && value) {
		owe(p, (p->o->console ? DUE_CONSOLE : 0) | (p->o->name ? DUE_NAME : 0) | DUE_OPEN);
	} else if (event == VIRTIO_CONSOLE_PORT_OPEN) {
		p->guest_open = value;
		/* It was for whoever had it open. */
		if (!value)
			p->in_len = 0;
		console_port_update(p);
	} else {
		misused(c, "a control message that is none");
	}
}

/*
 * The driver has told another process, or this one before a pause, which ports it has open, and
 * does not do so again. One that counts as open too soon loses input, one that counts as closed is
 * deaf. Which it was told of itself may be less than it asked for: a driver ignores what it has.
 */
static void go_on(struct console *c)
{
	for (unsigned i = 0; i < c->ports_n && c->multiport; i++) {
		c->ports[i].guest_open = true;
		owe(&c->ports[i], DUE_ADD | DUE_OPEN);
		console_port_update(&c->ports[i]);
	}
}

static bool take_control(struct console *c, struct backend_queue *q)
{
	struct virtio_console_control m;

	if (!c->heard && q->base)
		go_on(c);
	c->heard = true;
	while (backend_queue_pop(q, &c->chain)) {
		if (ring_chain_read(&c->chain, 0, &m, sizeof(m)) == sizeof(m))
			obey(c, &m);
		else
			misused(c, "a control message that is too short");
		backend_queue_push(q, c->chain.head, 0);
	}
	return true;
}

static bool handle_queue(void *arg, struct backend_queue *q)
{
	struct console *c = arg;
	unsigned i = q->index;
	struct console_port *p;

	c->queues[i] = q;
	if (i == CONTROL_TO_GUEST)
		return serve_control(c, q);
	if (i == CONTROL_OF_GUEST)
		return take_control(c, q);
	p = &c->ports[i > CONTROL_OF_GUEST ? i / 2 - 1 : 0];
	return i % 2 ? serve_output(c, p, q) : serve_input(c, p, q);
}

/* Another driver, or none. */
static void negotiated(void *arg, uint64_t features)
{
	struct console *c = arg;

	/* The same features once more, while it runs. */
	if (features && c->queues[0] && c->queues[0]->started)
		return;
	c->multiport = features & BIT64(VIRTIO_CONSOLE_F_MULTIPORT);
	c->heard = false;
	for (unsigned i = 0; i < c->ports_n; i++) {
		struct console_port *p = &c->ports[i];

		p->due = 0;
		p->in_len = 0;
		/* A driver without control messages has the first port open. */
		p->guest_open = features && !c->multiport && i == 0;
		console_port_update(p);
	}
	if (!features)
		memset(c->queues, 0, sizeof(c->queues));
}

static void config_read(void *arg, uint8_t config[VU_CONFIG_MAX])
{
	const struct console *c = arg;
	struct virtio_console_config v = { .max_nr_ports = htole32(c->ports_n) };

	memcpy(config, &v, sizeof(v));
}

static const struct backend_ops ops = {
	.handle_queue = handle_queue, .negotiated = negotiated, .config_read = config_read,
};

static void console_close(void *dev)
{
	struct console *c = dev;

	for (unsigned i = 0; i < c->ports_n; i++)
		console_port_fini(&c->ports[i]);
	free(c);
}

static int console_open(const struct options *o, struct loop *loop, struct backend_device *ret,
			struct err *e)
{
	struct console *c = calloc(1, sizeof(*c));
	const struct port_options *first = &o->ports[0];
	bool multiport = o->n_ports > 1 || first->name || !first->console;
	int r = 0;

	if (!c)
		return err_set(e, -ENOMEM, "console: out of memory");
	c->loop = loop;
	for (unsigned i = 0; i < o->n_ports && !r; i++) {
		c->ports[i] = (struct console_port){ .console = c, .index = i };
		c->ports_n++;
		r = console_port_init(&c->ports[i], &o->ports[i], e);
	}
	if (r) {
		console_close(c);
		return r;
	}
	*ret = (struct backend_device){
		.name = "console",
		.features = multiport ? BIT64(VIRTIO_CONSOLE_F_MULTIPORT) : 0,
		.queues = multiport ? 2 * o->n_ports + 2 : 2,
		.ops = &ops, .arg = c, .refuses_outside = true,
	};
	return 0;
}

static unsigned console_socket_dirs(const void *dev, int ret_dirs[DEVICE_DIRS_MAX])
{
	const struct console *c = dev;
	unsigned n = 0;

	for (unsigned i = 0; i < c->ports_n; i++)
		if (c->ports[i].listener.dir >= 0)
			ret_dirs[n++] = c->ports[i].listener.dir;
	return n;
}

static const struct seccomp_rule rules[] = {
	{ SYS_writev, SECCOMP_ANY, 0 },
	{ SYS_ioctl, 1, TIOCGPGRP },	/* a terminal is set back at the end */
	{ SYS_ioctl, 1, TCSETS },
	{ SYS_ioctl, 1, SECCOMP_TCSETS2 },
};

const struct device_type console_device = {
	.name = "console",
	.capabilities = "{\n  \"type\": \"console\"\n}\n",
	.open = console_open,
	.close = console_close,
	.socket_dirs = console_socket_dirs,
	.rules = rules,
	.n_rules = ARRAY_SIZE(rules),
};
