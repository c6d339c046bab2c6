/* SPDX-License-Identifier: Apache-2.0 */
#include "toy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/process.h"

static bool toy_handle(void *arg, struct backend_queue *q)
{
	struct toy *f = arg;

	f->runs++;
	if (f->not_ready)
		return false;
	while (backend_queue_pop(q, &f->chain)) {
		if (f->chain.out_len == 13)
			backend_queue_break(q, "thirteen");
		if (!f->keep) {
			backend_queue_push(q, f->chain.head, (uint32_t)ring_chain_write(&f->chain, 0, "pong", 4));
			continue;
		}
		f->kept_of = q;
		f->kept[f->n_kept++] = f->chain.head;
	}
	return true;
}

static void toy_features(void *arg, uint64_t features)
{
	((struct toy *)arg)->negotiated = features;
}

static void toy_drop(void *arg, struct backend_queue *q)
{
	struct toy *f = arg;

	(void)q;
	f->dropped += f->n_kept;
	f->n_kept = 0;
}

static void toy_config_read(void *arg, uint8_t config[VU_CONFIG_MAX])
{
	memcpy(config, ((struct toy *)arg)->config, TOY_CONFIG);
}

static int toy_config_write(void *arg, unsigned off, const uint8_t *data, unsigned len)
{
	struct toy *f = arg;

	if (!range_ok(off, len, TOY_CONFIG))
		return -EINVAL;
	memcpy(f->config + off, data, len);
	return 0;
}

static const struct backend_ops toy_ops = {
	.handle_queue = toy_handle, .negotiated = toy_features, .drop = toy_drop,
	.config_read = toy_config_read, .config_write = toy_config_write,
};

int toy_setup(void **state)
{
	struct toy *f = test_calloc(1, sizeof(*f));
	struct backend_device dev = { "toy", BIT64(TOY_FEATURE), TOY_QUEUES, &toy_ops, f };
	int pair[2];
	struct err e;

	memcpy(f->config, "abcdefgh", TOY_CONFIG);
	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	assert_int_equal(backend_init(&f->backend, &f->loop, &dev, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	driver_init(&f->driver, &pair[0], &f->loop);
	f->fds = process_fds() - 1;
	assert_int_equal(backend_connect(&f->backend, &pair[1], &e), 0);
	*state = f;
	return 0;
}

int toy_teardown(void **state)
{
	struct toy *f = *state;

	backend_fini(&f->backend);
	loop_fini(&f->loop);
	driver_fini(&f->driver);
	test_free(f);
	return 0;
}

void toy_connect_again(struct toy *f)
{
	int pair[2];
	struct err e;

	driver_settle(&f->driver);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(f->backend.channel.sock, -1);
	assert_int_equal(backend_connect(&f->backend, &pair[1], &e), 0);
	driver_reconnect(&f->driver, &pair[0]);
}

void toy_assert_nothing_left(struct toy *f)
{
	fd_close(&f->driver.sock);
	driver_settle(&f->driver);
	assert_int_equal(f->backend.channel.sock, -1);
	assert_true(f->backend.ended);
	assert_int_equal(f->backend.map.count, 0);
	assert_int_equal(process_fds(), f->fds - 1);
}

struct toy *toy_negotiated(void **state)
{
	struct toy *f = *state;

	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	return f;
}

struct toy *toy_running(void **state)
{
	struct toy *f = toy_negotiated(state);

	driver_start_queue(&f->driver, 0, 16);
	return f;
}

int toy_back_channel(struct toy *f)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(driver_ask(&f->driver, VU_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	close(pair[1]);
	return pair[0];
}

void toy_assert_pong(struct toy *f, unsigned queue)
{
	struct driver_buf buf = { BUF, 16, true };

	memset(f->driver.ram + BUF, 0, 16);
	assert_int_equal(driver_request(&f->driver, queue, &buf, 1), 4);
	assert_memory_equal(f->driver.ram + BUF, "pong", 5);
}

void toy_assert_no_answer(struct toy *f, unsigned queue)
{
	uint16_t head;
	uint32_t len;

	driver_settle(&f->driver);
	assert_false(driver_used(&f->driver, queue, &head, &len));
}
