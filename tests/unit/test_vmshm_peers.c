/* SPDX-License-Identifier: Apache-2.0 */
/* events-peer=: the doorbells of another VM are interrupts of this one, whatever it sends. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/pci_regs.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/events_card.h"
#include "tests/unit/process.h"

/* Two VMs, each with a socket; nobody is connected. */
struct pair {
	struct events_card *a, *b;
};

static struct events_card *new_vm(unsigned vectors)
{
	struct events_card *c = events_card_new(vectors);

	events_card_listen(c);
	events_card_enable(c);
	/* The first one makes its eventfd. */
	vmshm_events_state_changed(&c->events);
	events_card_run(c);
	events_card_interrupts(c, 0);
	return c;
}

static int setup(void **state)
{
	static struct pair p;

	p = (struct pair){ new_vm(4), new_vm(4) };
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	events_card_free(p->a);
	events_card_free(p->b);
	return 0;
}

static void run(struct pair *p)
{
	for (int i = 0; i < 3; i++) {
		events_card_run(p->a);
		events_card_run(p->b);
	}
}

/* @to takes the doorbells of @from. */
static void join(struct pair *p, struct events_card *to, const struct events_card *from)
{
	events_card_try(to, from);
	run(p);
	assert_true(events_card_is_up(to));
}

/* Each doorbell of @from is its vector of @to, and no other, without a loop's doing. */
static void assert_rings(struct events_card *from, struct events_card *to, unsigned n)
{
	for (unsigned i = 0; i < from->events.count; i++) {
		unsigned calls = fake_machine_calls(&to->fake);

		assert_true(events_card_ring(from, i));
		for (unsigned v = 1; v < to->options.vectors; v++)
			assert_int_equal(events_card_interrupts(to, v), v == i + 1 && i < n);
		assert_int_equal(fake_machine_calls(&to->fake), calls);
	}
}

static void two_vms_ring_each_other(void **state)
{
	struct pair *p = *state;

	join(p, p->a, p->b);
	join(p, p->b, p->a);
	assert_rings(p->a, p->b, 3);
	assert_rings(p->b, p->a, 3);
	assert_true(vmshm_events_has_peer(&p->a->events));
}

static void each_has_as_many_events_as_both_have(void **state)
{
	struct pair p = { new_vm(8), new_vm(2) };
	unsigned fds;

	(void)state;
	fds = process_fds();
	join(&p, p.b, p.a);
	assert_rings(p.a, p.b, 1);
	/* Of seven times two, one; and both ends of the connection. */
	assert_int_equal(process_fds(), fds + 3);
	join(&p, p.a, p.b);
	assert_rings(p.b, p.a, 1);
	events_card_free(p.a);
	events_card_free(p.b);
}

static void a_vm_may_be_its_own_peer(void **state)
{
	struct pair *p = *state;

	join(p, p->a, p->a);
	assert_rings(p->a, p->a, 3);
}

static void a_ring_from_before_the_connection_comes_with_it(void **state)
{
	struct pair *p = *state;

	events_card_ring(p->a, 1);
	join(p, p->b, p->a);
	assert_int_equal(events_card_interrupts(p->b, 2), 1);
	assert_int_equal(events_card_interrupts(p->b, 1), 0);
}

static void what_the_other_opens_is_not_kept(void **state)
{
	struct pair *p = *state;
	unsigned fds;

	join(p, p->b, p->a);
	fds = process_fds();
	for (unsigned i = 0; i < 1000; i++) {
		events_card_open(p->a, i & 1 ? STDERR_FILENO : -1, "x");
		run(p);
	}
	assert_int_equal(process_fds(), fds);
	assert_true(events_card_is_up(p->b));
	assert_rings(p->a, p->b, 3);
}

/* The other VM ends, or its socket's owner goes: interrupts end, and come with the next one. */
static void the_others_end_is_seen_and_it_may_come_back(void **state)
{
	struct pair *p = *state;
	unsigned irqfds = p->b->fake.irqfd_count;

	join(p, p->b, p->a);
	assert_int_equal(p->b->fake.irqfd_count, irqfds + 3);
	events_card_free(p->a);
	events_card_run(p->b);
	assert_true(events_card_is_resting(p->b));
	assert_int_equal(p->b->fake.irqfd_count, irqfds);

	p->a = new_vm(4);
	join(p, p->b, p->a);
	assert_rings(p->a, p->b, 3);
}

static void nobody_has_to_listen_yet(void **state)
{
	struct pair *p = *state;
	static const int absent[] = { -ENOENT, -ECONNREFUSED, -EAGAIN };

	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		events_card_try_in_vain(p->b, absent[i]);
		assert_true(events_card_is_resting(p->b));
		assert_string_equal(events_card_why(p->b), "");
		assert_int_equal(p->b->asks, i + 1);
	}
	events_card_try_in_vain(p->b, -EACCES);
	assert_string_equal(events_card_why(p->b), "for a reason");
	join(p, p->b, p->a);
	assert_rings(p->a, p->b, 3);
}

static void whose_events_another_has_is_told_so(void **state)
{
	struct pair *p = *state;
	struct vmshm_host h;

	assert_true(events_card_connect(p->a, &h));
	events_card_try(p->b, p->a);
	run(p);
	assert_true(events_card_is_resting(p->b));
	assert_non_null(strstr(events_card_why(p->b), "hung up at once"));
	vmshm_host_close(&h);
	run(p);
	join(p, p->b, p->a);
}

static void a_reset_of_either_leaves_them_joined(void **state)
{
	struct pair *p = *state;

	join(p, p->b, p->a);
	join(p, p->a, p->b);
	events_card_reset(p->b);
	events_card_ring(p->a, 0);		/* to a guest that is not there yet */
	events_card_enable(p->b);
	assert_rings(p->a, p->b, 3);
	events_card_reset(p->a);
	events_card_enable(p->a);
	assert_rings(p->a, p->b, 3);
	assert_rings(p->b, p->a, 3);
	assert_true(events_card_is_up(p->a) && events_card_is_up(p->b));
}

static void a_reset_that_finds_no_room_gives_the_other_up(void **state)
{
	struct pair *p = *state;
	unsigned fds = process_fds();

	join(p, p->b, p->a);
	p->b->fake.fail = -ENOSPC;
	events_card_reset(p->b);
	p->b->fake.fail = 0;
	run(p);
	assert_true(events_card_is_resting(p->b));
	assert_int_equal(process_fds(), fds);
}

/* A listener that plays by no rules. */

static struct vmshm_msg good(uint32_t kind, unsigned events)
{
	return (struct vmshm_msg){ .magic = VMSHM_MSG_MAGIC, .version = VMSHM_MSG_VERSION,
				   .kind = kind, .events = events };
}

/* Sends @len bytes of a @m and junk with @nfds descriptors, eventfds if @eventfds. */
static void send_bad(int sock, const struct vmshm_msg *m, size_t len, unsigned nfds, bool eventfds)
{
	char bytes[sizeof(*m) + 100] = "";
	int fds[FD_PASS_MAX] = { 0 };

	memcpy(bytes, m, sizeof(*m));
	for (unsigned i = 0; i < nfds; i++)
		fds[i] = eventfds ? eventfd(0, EFD_CLOEXEC) : dup(STDERR_FILENO);
	assert_int_equal(fd_send(sock, bytes, len, fds, nfds), len);
	for (unsigned i = 0; i < nfds; i++)
		fd_close(&fds[i]);
}

static void whatever_a_listener_sends_first_it_is_judged(void **state)
{
	static const struct {
		uint32_t magic, version, kind, events;
		int more;			/* bytes */
		unsigned fds;
		bool others;			/* no eventfds */
		const char *why;
	} bad[] = {
		{ .more = -1, .events = 1, .fds = 2, .why = "size" },
		{ .more = 1, .events = 1, .fds = 2, .why = "size" },
		{ .more = 90, .events = 1, .fds = 2, .why = "size" },
		{ .more = 1 - (int)sizeof(struct vmshm_msg), .events = 1, .fds = 2, .why = "size" },
		{ .magic = 1, .events = 1, .fds = 2, .why = "magic" },
		{ .version = 7, .events = 1, .fds = 2, .why = "version" },
		{ .kind = 4, .events = 1, .fds = 2, .why = "kind" },
		{ .kind = UINT32_MAX, .why = "kind" },
		{ .events = 8, .fds = 16, .why = "too many events" },
		{ .events = UINT32_MAX, .fds = 2, .why = "too many events" },
		{ .events = 0x80000001, .fds = 2, .why = "too many events" },
		{ .events = 3, .fds = 0, .why = "two descriptors" },
		{ .events = 3, .fds = 5, .why = "two descriptors" },
		{ .events = 3, .fds = 7, .why = "two descriptors" },
		{ .events = 0, .fds = 1, .why = "two descriptors" },
		{ .events = 3, .fds = 6, .others = true, .why = "irqfd" },
		{ .kind = VMSHM_MSG_OPEN, .fds = 1, .why = "order" },
		{ .kind = VMSHM_MSG_OPEN, .fds = 2, .why = "one descriptor" },
		{ .kind = VMSHM_MSG_CLOSED, .why = "order" },
		{ .kind = VMSHM_MSG_CLOSED, .fds = 1, .why = "descriptors" },
	};
	struct pair *p = *state;
	unsigned fds = process_fds(), irqfds = p->b->fake.irqfd_count;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint32_t kind = bad[i].kind ? bad[i].kind : VMSHM_MSG_EVENTS;
		struct vmshm_msg m = good(kind, bad[i].events);
		int s[2];

		m.magic += bad[i].magic;
		m.version += bad[i].version;
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
		send_bad(s[1], &m, sizeof(m) + (size_t)bad[i].more, bad[i].fds, !bad[i].others);
		events_card_try_socket(p->b, &s[0]);
		events_card_run(p->b);
		assert_true(events_card_is_resting(p->b));
		if (!strstr(events_card_why(p->b), bad[i].why))
			fail_msg("case %zu: %s", i, events_card_why(p->b));
		close(s[1]);
		assert_int_equal(process_fds(), fds);
		assert_int_equal(p->b->fake.irqfd_count, irqfds);
	}
	join(p, p->b, p->a);
	assert_rings(p->a, p->b, 3);
}

static void whatever_a_listener_sends_later_it_is_judged(void **state)
{
	struct pair *p = *state;
	struct vmshm_msg events = good(VMSHM_MSG_EVENTS, 2), open = good(VMSHM_MSG_OPEN, 0);
	unsigned fds = process_fds(), irqfds = p->b->fake.irqfd_count;

	memset(open.name, 'x', sizeof(open.name));
	for (unsigned i = 0; i < 3; i++) {
		int s[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
		send_bad(s[1], &events, sizeof(events), 4, true);
		events_card_try_socket(p->b, &s[0]);
		events_card_run(p->b);
		assert_true(events_card_is_up(p->b));
		assert_int_equal(p->b->fake.irqfd_count, irqfds + 2);
		if (i == 0)			/* once is enough */
			send_bad(s[1], &events, sizeof(events), 4, true);
		else if (i == 1)		/* a name without an end */
			send_bad(s[1], &open, sizeof(open), 1, false);
		else				/* 16 is all there can be */
			send_bad(s[1], &events, 1, 16, true);
		events_card_run(p->b);
		assert_true(events_card_is_resting(p->b));
		close(s[1]);
		assert_int_equal(process_fds(), fds);
		assert_int_equal(p->b->fake.irqfd_count, irqfds);
	}
	join(p, p->b, p->a);
}

static void one_eventfd_for_all_is_what_the_kernel_makes_of_it(void **state)
{
	struct pair *p = *state;
	struct vmshm_msg m = good(VMSHM_MSG_EVENTS, 3);
	autoclose int fd = fd_eventfd();
	int six[] = { fd, fd, fd, fd, fd, fd }, s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	assert_int_equal(fd_send(s[1], &m, sizeof(m), six, 6), sizeof(m));
	events_card_try_socket(p->b, &s[0]);
	events_card_run(p->b);
	events_card_run(p->b);
	close(s[1]);
	events_card_run(p->b);
	assert_true(events_card_is_resting(p->b));
	join(p, p->b, p->a);
}

/* One that is full, waits when written to, and gives up one at a time when KVM reads it. */
static void the_vmm_never_writes_to_an_eventfd_of_the_other(void **state)
{
	struct pair *p = *state;
	struct vmshm_msg m = good(VMSHM_MSG_EVENTS, 3);
	int six[6], s[2];
	uint64_t one;

	for (unsigned i = 0; i < 6; i++)
		six[i] = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	assert_int_equal(fd_send(s[1], &m, sizeof(m), six, 6), sizeof(m));
	events_card_try_socket(p->b, &s[0]);
	events_card_run(p->b);
	assert_true(events_card_is_up(p->b));

	alarm(20);
	for (unsigned v = 0; v < 4; v++) {
		events_card_mask(p->b, v, true);
		events_card_mask(p->b, v, false);
	}
	events_card_msix_control(p->b, 0);
	events_card_msix_control(p->b, PCI_MSIX_FLAGS_ENABLE);
	events_card_run(p->b);
	alarm(0);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(fcntl(six[i], F_SETFL, O_NONBLOCK), 0);
		assert_int_equal(read(six[i], &one, sizeof(one)), -1);
		close(six[i]);
	}
	close(s[1]);
}

static void a_flood_is_read_one_at_a_time(void **state)
{
	struct pair *p = *state;
	struct vmshm_msg events = good(VMSHM_MSG_EVENTS, 1), closed = good(VMSHM_MSG_CLOSED, 0);
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	send_bad(s[1], &events, sizeof(events), 2, true);
	events_card_try_socket(p->b, &s[0]);
	events_card_run(p->b);
	for (unsigned i = 0; i < 50; i++)
		send_bad(s[1], &closed, sizeof(closed), 0, true);
	close(s[1]);
	for (unsigned i = 0; i < 50; i++)
		loop_once(&p->b->fake.loop, 0);
	assert_true(events_card_is_up(p->b));
	events_card_run(p->b);
	assert_true(events_card_is_resting(p->b));
}

static void a_listener_that_says_nothing_holds_up_nobody(void **state)
{
	struct pair *p = *state;
	unsigned fds = process_fds();
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	alarm(20);
	events_card_try_socket(p->b, &s[0]);
	events_card_run(p->b);
	alarm(0);
	assert_false(events_card_is_up(p->b) || events_card_is_resting(p->b));
	events_card_reset(p->b);
	close(s[1]);
	events_card_run(p->b);
	assert_true(events_card_is_resting(p->b));
	assert_int_equal(process_fds(), fds);
}

static void a_thousand_connections_leave_nothing(void **state)
{
	struct pair *p = *state;
	unsigned fds = process_fds(), irqfds = p->b->fake.irqfd_count;

	log_setup("minivmm", LOG_ERROR);	/* each is a line */
	for (unsigned i = 0; i < 1000; i++) {
		join(p, p->b, p->a);
		/* The other's program restarts: it hangs up. */
		shutdown(p->a->events.listener.peer, SHUT_RDWR);
		run(p);
		assert_true(events_card_is_resting(p->b));
	}
	log_setup("minivmm", LOG_WARN);
	assert_int_equal(process_fds(), fds);
	assert_int_equal(p->b->fake.irqfd_count, irqfds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		CASE(two_vms_ring_each_other),
		cmocka_unit_test(each_has_as_many_events_as_both_have),
		CASE(a_vm_may_be_its_own_peer),
		CASE(a_ring_from_before_the_connection_comes_with_it),
		CASE(what_the_other_opens_is_not_kept),
		CASE(the_others_end_is_seen_and_it_may_come_back),
		CASE(nobody_has_to_listen_yet),
		CASE(whose_events_another_has_is_told_so),
		CASE(a_reset_of_either_leaves_them_joined),
		CASE(a_reset_that_finds_no_room_gives_the_other_up),
		CASE(whatever_a_listener_sends_first_it_is_judged),
		CASE(whatever_a_listener_sends_later_it_is_judged),
		CASE(one_eventfd_for_all_is_what_the_kernel_makes_of_it),
		CASE(the_vmm_never_writes_to_an_eventfd_of_the_other),
		CASE(a_flood_is_read_one_at_a_time),
		CASE(a_listener_that_says_nothing_holds_up_nobody),
		CASE(a_thousand_connections_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
