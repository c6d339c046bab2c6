/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/check.h"

#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "base/range.h"

const struct check_rule *const check_rules[] = {
	check_answer_rules, check_ring_rules, check_stop_rules, check_memory_rules,
	check_state_rules, check_blk_rules, check_device_rules, check_console_rules,
	check_hostile_rules, check_table_rules, NULL,
};

/* What every rule's connection goes through; a level that failed is not tried again. */
struct way {
	bool failed;
	enum check_from at;		/* the level that was not reached */
	uint64_t malformed;		/* requests, modulo 64, whose answer failed a rule so */
	char why[sizeof(((struct err *)0)->msg)];
};

static int climb(struct check *c, enum check_from to, const struct check_rule *rule)
{
	unsigned count = c->device ? c->device->queues : 1;

	switch (to) {
	case CHECK_FROM_CONNECTED:
		return 0;
	case CHECK_FROM_NEGOTIATED:
		return check_negotiate(c, check_known_features(c), rule->protocol);
	case CHECK_FROM_MEMORY:
		return check_give_memory(c);
	case CHECK_FROM_STARTED:
		return check_start(c, count, 0);
	case CHECK_FROM_RUNNING:
		return check_enable(c, true);
	case CHECK_FROM_SERVING:
		return check_serve(c);
	}
	return 0;
}

/* Brings the connection to the rule's level; false: w->why says what is in the way. */
static bool prepare(struct check *c, struct way *w, const struct check_rule *rule)
{
	for (unsigned level = 0; level <= rule->from; level++) {
		if (w->failed && level >= w->at)
			return false;
		if (climb(c, level, rule)) {
			w->failed = true;
			w->at = level;
			memcpy(w->why, c->e.msg, sizeof(w->why));
			return false;
		}
	}
	return true;
}

/* Whether the rule says nothing of this daemon, known before anything is done. */
static bool is_void(struct check *c, const struct check_rule *rule)
{
	const char *type = c->options->type;

	if (rule->device && (!type || strcmp(rule->device, type)))
		return check_skip(c, "it is about devices of type %s", rule->device);
	if (rule->requests && !c->device)
		return check_skip(c, "no type is given, so nobody knows what to ask of a queue");
	if ((rule->gate || rule->protocol) && !(c->features & BIT64(VU_F_PROTOCOL_FEATURES)))
		return check_skip(c, "feature bit %d is not offered", VU_F_PROTOCOL_FEATURES);
	return false;
}

/* PASS: the daemon offers what the rule is about. */
static enum check_verdict look_for_protocol(struct check *c, const struct check_rule *rule)
{
	if (rule->protocol && !c->protocol &&
	    vu_client_get(&c->client, VU_GET_PROTOCOL_FEATURES, &c->protocol, &c->e))
		return CHECK_BLOCKED;
	for (unsigned i = 0; i < VU_PF_END; i++)
		if (rule->protocol & ~c->protocol & BIT64(i))
			return check_skip(c, "protocol feature %s is not offered", vu_features[i].name);
	return CHECK_PASS;
}

/* Whether a rule has failed by the form of that answer before: if not, this one does. */
static bool is_told(struct way *w, uint32_t request)
{
	uint64_t bits = request == VU_CLIENT_EVERY ? UINT64_MAX : BIT64(request % 64);
	bool told = w->malformed & bits;

	w->malformed |= bits;
	return told;
}

static enum check_verdict judge(struct check *c, struct way *w, const struct check_rule *rule)
{
	enum check_verdict offered;
	bool told;
	int r;

	c->ring = &c->rings[c->device ? c->device->queue : 0];
	/* Nor is a request tried where no ring gets as far as to serve one. */
	if (!prepare(c, w, rule) || (w->failed && rule->requests && !rule->own)) {
		memcpy(c->e.msg, w->why, sizeof(w->why));
		return CHECK_BLOCKED;
	}
	offered = look_for_protocol(c, rule);
	if (offered != CHECK_PASS)
		return offered;
	c->step_failed = false;
	r = rule->run(c);
	told = r == -EPROTO && is_told(w, c->client.malformed);
	if (!rule->own && (told || (r < 0 && c->step_failed && w->failed)))
		return CHECK_BLOCKED;
	return r < 0 ? CHECK_FAIL : (enum check_verdict)r;
}

/* One rule; false: the daemon is gone. */
static bool try_rule(struct check *c, struct way *w, const struct check_rule *rule,
		     struct check_report *report)
{
	enum check_verdict verdict;
	char why[sizeof(c->e.msg)];
	bool alive;

	c->e.msg[0] = '\0';
	if (is_void(c, rule)) {
		check_report_rule(report, rule, CHECK_SKIP, c->e.msg);
		return true;
	}
	verdict = judge(c, w, rule);
	memcpy(why, c->e.msg, sizeof(why));
	for (unsigned i = 0; i < CHECK_RINGS; i++)
		driver_ring_fini(&c->rings[i]);
	alive = !check_reconnect(c);
	if (!alive && verdict != CHECK_FAIL) {
		verdict = CHECK_FAIL;
		err_prefix(&c->e, -ECONNRESET, "after it no other connection is served: ");
		memcpy(why, c->e.msg, sizeof(why));
	}
	check_report_rule(report, rule, verdict, verdict == CHECK_PASS ? "" : why);
	return alive;
}

static int init_ram(struct check *c, struct err *e)
{
	struct mem_options o = MEM_OPTIONS_DEFAULT;

	o.thp = MEM_THP_OFF;
	return guest_mem_init(&c->ram, &o, -1, CHECK_RAM_SIZE, e);
}

int check_run(const struct check_options *o, struct check_report *report, struct err *e)
{
	struct check c = { .options = o, .device = o->type ? check_device_named(o->type) : NULL };
	struct way w = { .failed = false };
	bool alive;
	int r = init_ram(&c, e);

	if (r)
		return r;
	for (unsigned i = 0; i < CHECK_RINGS; i++)
		c.rings[i] = (struct driver_ring){ .kick = -1, .call = -1, .err = -1 };
	r = vu_client_connect(&c.client, o->socket, (unsigned)o->timeout * 1000, e);
	if (r) {
		guest_mem_fini(&c.ram);
		return r;
	}
	/* The first rule is about the answer to GET_FEATURES, which the others have had. */
	alive = true;
	for (unsigned i = 0; check_rules[i]; i++) {
		for (const struct check_rule *rule = check_rules[i]; rule->id; rule++) {
			if (alive)
				alive = try_rule(&c, &w, rule, report);
			else
				check_report_rule(report, rule, CHECK_BLOCKED, "the daemon is gone");
		}
	}
	vu_client_close(&c.client);
	guest_mem_fini(&c.ram);
	return 0;
}
