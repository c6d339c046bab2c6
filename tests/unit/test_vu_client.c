/* SPDX-License-Identifier: Apache-2.0 */
/* The front end that vu-check waits for daemons with, and daemons that talk while it waits. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "tools/vu_client.h"

/* The back channel has @n requests to read; gives the daemon's end. */
static int client_asked(struct vu_client *c, const struct vu_header *asked, size_t n)
{
	int none = -1, pair[2];

	*c = (struct vu_client){ .timeout_ms = 1000 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	vu_channel_init(&c->main, &none);
	vu_channel_init(&c->back, &pair[0]);
	assert_int_equal(fd_send(pair[1], asked, n * sizeof(*asked), NULL, 0), n * sizeof(*asked));
	return pair[1];
}

/* So that each look at the clock is after one request, and no daemon keeps it waiting. */
static void requests_of_the_daemon_do_not_hide_what_is_waited_for(void **state)
{
	struct vu_header asked[100];
	autoclose int daemon = -1, event = fd_eventfd();
	struct vu_client c;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
		asked[i] = (struct vu_header){ VU_BACKEND_CONFIG_CHANGE_MSG, VU_FLAG_VERSION, 0 };
	daemon = client_asked(&c, asked, ARRAY_SIZE(asked));
	fd_signal(event);
	assert_true(vu_client_wait(&c, event, 1000));
	assert_in_range(c.back_requests, 0, 1);
	vu_client_close(&c);
}

static void a_request_is_answered_while_something_else_is_waited_for(void **state)
{
	struct vu_header asked = { VU_BACKEND_CONFIG_CHANGE_MSG,
				   VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, 0 };
	struct vu_client c;
	autoclose int daemon = client_asked(&c, &asked, 1);

	(void)state;
	/* What is waited for comes only because the request was answered. */
	assert_true(vu_client_wait(&c, daemon, 1000));
	assert_int_equal(c.back_requests, 1);
	vu_client_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_of_the_daemon_do_not_hide_what_is_waited_for),
		cmocka_unit_test(a_request_is_answered_while_something_else_is_waited_for),
	};

	return cmocka_run_group_tests_name("vu_client", tests, NULL, NULL);
}
