/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/range.h"
#include "devices/vhost_user_options.h"

struct fixture {
	struct vhost_user_options o;
	struct err e;
};

static struct fixture fixture;

static const struct vhost_user_options *parsed(const char *text)
{
	vhost_user_options_free(&fixture.o);
	if (vhost_user_options_parse(&fixture.o, text, &fixture.e))
		fail_msg("%s: %s", text, fixture.e.msg);
	return &fixture.o;
}

/* The sentence must name the option and hold @part, which says what is wrong or the way out. */
static void refused(const char *text, const char *part)
{
	vhost_user_options_free(&fixture.o);
	fixture.e.msg[0] = '\0';
	assert_int_equal(vhost_user_options_parse(&fixture.o, text, &fixture.e), -EINVAL);
	assert_non_null(strstr(fixture.e.msg, "--vhost-user"));
	if (!strstr(fixture.e.msg, part))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, fixture.e.msg, part);
}

static int teardown(void **state)
{
	(void)state;
	vhost_user_options_free(&fixture.o);
	vhost_user_options_free(&fixture.o);
	return 0;
}

static void a_path_alone_is_a_disk(void **state)
{
	static const char *const paths[] = {
		"sock", "blk.sock", "/run/vm/blk", "./blk", "blk1", "1.sock", "7up", "0f", "0x", "/tmp/a=b.sock",
		"./queues=4", "vhost-user",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		const struct vhost_user_options *o = parsed(paths[i]);

		assert_string_equal(o->type->name, "blk");
		assert_string_equal(o->socket, paths[i]);
		assert_int_equal(o->virtio_id, 2);
		assert_int_equal(o->queue_size, 128);
		assert_int_equal(o->config_size, 57);
		assert_false(o->queues_given);
	}
}

static void a_comma_in_a_path_is_written_twice(void **state)
{
	(void)state;
	assert_string_equal(parsed("/run/a,,b")->socket, "/run/a,b");
	assert_string_equal(parsed("blk,,rng")->socket, "blk,rng");
	assert_string_equal(parsed("rng,socket=/run/a,,b")->socket, "/run/a,b");
}

static void a_path_takes_the_keys_of_a_disk(void **state)
{
	const struct vhost_user_options *o;

	(void)state;
	o = parsed("blk.sock,queues=4,queue-size=256,id=root");

	assert_string_equal(o->socket, "blk.sock");
	assert_int_equal(o->queues, 4);
	assert_int_equal(o->queue_size, 256);
	assert_string_equal(o->id, "root");
}

static void a_type_or_its_alias_or_its_number_is_the_type(void **state)
{
	static const char *const words[] = { "rng", "vhost-user-rng-pci", "4", "0x4" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		char text[64];

		snprintf(text, sizeof(text), "%s,socket=s", words[i]);
		assert_string_equal(parsed(text)->type->name, "rng");
		assert_string_equal(fixture.o.socket, "s");
	}
	assert_string_equal(parsed("socket=s,type=rng")->type->name, "rng");
	assert_string_equal(parsed("socket=s")->type->name, "blk");
}

static void a_number_without_a_row_is_the_generic_device(void **state)
{
	const struct vhost_user_options *o;

	(void)state;
	o = parsed("23,socket=s,queues=2,queue-size=512,config-size=40");

	assert_ptr_equal(o->type, vu_generic_type);
	assert_int_equal(o->virtio_id, 23);
	assert_int_equal(o->queues, 2);
	assert_int_equal(o->queue_size, 512);
	assert_int_equal(o->config_size, 40);
}

static void the_generic_device_takes_qemus_words(void **state)
{
	const struct vhost_user_options *o;

	(void)state;
	o = parsed("vhost-user-test-device-pci,virtio-id=17,num_vqs=3,vq_size=128,config_size=8,"
		   "socket=s");

	assert_ptr_equal(o->type, vu_generic_type);
	assert_int_equal(o->virtio_id, 17);
	assert_int_equal(o->queues, 3);
	assert_int_equal(o->queue_size, 128);
	assert_int_equal(o->config_size, 8);
}

static void a_dash_in_a_key_may_be_an_underscore(void **state)
{
	const struct vhost_user_options *o;

	(void)state;
	o = parsed("generic,virtio_id=17,num-vqs=3,vq-size=128,config_size=8,socket=s");

	assert_int_equal(o->virtio_id, 17);
	assert_int_equal(o->queues, 3);
	assert_int_equal(o->queue_size, 128);
	assert_int_equal(o->config_size, 8);
}

static void the_generic_device_has_qemus_defaults(void **state)
{
	const struct vhost_user_options *o;

	(void)state;
	/* The default, said. */
	o = parsed("generic,virtio-id=17,num_vqs=2,config_size=0,socket=s");
	assert_int_equal(o->config_size, 0);
	o = parsed("generic,virtio-id=17,num_vqs=2,socket=s");

	assert_int_equal(o->queue_size, 64);
	assert_int_equal(o->config_size, 0);
	assert_int_equal(o->queues, 2);
}

static void a_file_system_has_a_tag(void **state)
{
	static const char tag36[] = "123456789012345678901234567890123456";
	char text[96];

	(void)state;
	snprintf(text, sizeof(text), "fs,socket=s,tag=%s,num-request-queues=2", tag36);
	assert_string_equal(parsed(text)->tag, tag36);
	assert_int_equal(fixture.o.queues, 2);
	assert_int_equal(fixture.o.config_size, 40);
	snprintf(text, sizeof(text), "fs,socket=s,tag=%s7", tag36);
	refused(text, "at most 36");
	refused("fs,socket=s", "Add tag=NAME");
	refused("fs,socket=s,tag=", "needs a value");
	refused("rng,socket=s,tag=x", "only fs has one");
}

static void an_interface_has_an_address_of_one(void **state)
{
	(void)state;
	assert_memory_equal(parsed("net,socket=s,mac=02:aB:00:00:00:01")->mac_bytes,
			    "\x02\xab\0\0\0\1", 6);
	refused("net,socket=s,mac=02:00:00:00:00", "six bytes");
	refused("net,socket=s,mac=02:00:00:00:00:01:", "six bytes");
	refused("net,socket=s,mac=2:00:00:00:000:01", "six bytes");
	refused("net,socket=s,mac=02:00:00:00:00:0g", "six bytes");
	refused("net,socket=s,mac=03:00:00:00:00:01", "even");
	refused("net,socket=s,mac=00:00:00:00:00:00", "even");
	refused("net,socket=s,mtu=67", "68 to 65535");
	refused("blk,socket=s,mac=02:00:00:00:00:01", "only net");
	refused("blk,socket=s,mtu=1500", "only net");
}

/* Two queues each, and one for control: of 64. */
static void an_interface_has_pairs_of_queues(void **state)
{
	(void)state;
	assert_int_equal(parsed("net,socket=s,queue-pairs=4")->queues, 4);
	assert_int_equal(parsed("net,socket=s,queues=31")->queues, 31);
	refused("net,socket=s,queues=32", "at most 31");
}

static void an_inherited_socket_is_given_by_its_number(void **state)
{
	(void)state;
	assert_true(parsed("blk,fd=5")->fd_given);
	assert_int_equal(fixture.o.fd, 5);
	assert_null(fixture.o.socket);
}

static void a_device_needs_one_way_to_its_daemon(void **state)
{
	(void)state;
	refused("blk", "socket=PATH");
	refused("blk", "./blk");
	refused("23", "./23");
	refused("rng,queue-size=8", "socket=PATH");
	refused("blk,socket=s,fd=5", "give one");
	refused("blk.sock,fd=5", "fd= gives another");
	refused("blk.sock,socket=s", "socket= gives another");
	refused("disk,socket=s", "disk is neither a device type (blk, can, console, fs,");
	refused("blk.sock,queues=2,socket=s,id=a", "blk.sock is neither");
	refused("", "nothing");
	refused(",socket=s", "nothing");
	refused("blk,socket=", "needs a value");
}

static void a_device_is_connected_again_unless_it_cannot_or_must_not_be(void **state)
{
	(void)state;
	assert_true(parsed("s")->reconnect);
	assert_true(parsed("rng,socket=s")->reconnect);
	assert_true(parsed("rng,socket=s,reconnect")->reconnect);
	assert_false(parsed("s,reconnect=off")->reconnect);
	assert_false(parsed("blk,fd=5")->reconnect);
	assert_false(parsed("blk,fd=5,reconnect=off")->reconnect);
	refused("blk,fd=5,reconnect=on", "reconnect=on");
	refused("blk,fd=5,reconnect=on", "give socket=PATH");
}

static void what_does_not_fit_the_type_is_refused(void **state)
{
	(void)state;
	refused("rng,socket=s,queues=2", "always has 1");
	refused("rng,socket=s,config-size=8", "generic");
	refused("blk,socket=s,virtio-id=3", "generic");
	refused("23,socket=s,virtio-id=23", "leave out");
	refused("generic,socket=s", "virtio-id=NUMBER");
	refused("generic,virtio_id=17,socket=s", "num_vqs=NUMBER");
	refused("23,socket=s", "num_vqs=NUMBER");
	refused("socket=s,type=disk", "snd, spi, vsock, generic)");
}

static void numbers_out_of_bounds_are_refused(void **state)
{
	(void)state;
	refused("0,socket=s", "1 to 63");
	refused("64,socket=s", "1 to 63");
	refused("99999999999999999999,socket=s", "1 to 63");
	refused("blk.sock,queues=0", "1 to 64");
	refused("blk.sock,queues=65", "1 to 64");
	refused("blk.sock,queues=many", "not a number");
	refused("blk.sock,queue-size=1", "2 to 1024");
	refused("blk.sock,queue-size=2048", "2 to 1024");
	refused("blk.sock,queue-size=100", "power of two");
	refused("23,socket=s,config-size=257", "0 to 256");
	refused("blk,fd=-1", "not a number");
}

static void a_key_is_given_once_under_whatever_name(void **state)
{
	(void)state;
	refused("blk.sock,queues=2,num-queues=2", "twice");
	refused("23,socket=s,vq_size=64,queue-size=64", "twice");
}

static void words_of_qemu_that_have_no_meaning_here_say_what_to_write(void **state)
{
	(void)state;
	refused("vhost-user-blk-pci,chardev=c0", "socket=PATH");
	refused("vhost-user-blk-pci,socket=s,bootindex=1", "--kernel");
}

static void a_daemon_that_connects_needs_a_path(void **state)
{
	(void)state;
	assert_false(parsed("blk.sock")->server);
	assert_true(parsed("blk.sock,server=on")->server);
	assert_true(parsed("blk.sock,server=on")->reconnect);
	refused("blk,fd=7,server=on", "give socket=PATH");
	refused("blk,server=on", "where is the daemon");
}

static void what_is_to_follow_a_daemon_is_one_thing(void **state)
{
	(void)state;
	assert_false(parsed("blk.sock")->on_lost_given);
	assert_int_equal(parsed("blk.sock,on-lost=reset")->on_lost, VHOST_USER_RESET);
	assert_false(parsed("blk.sock,on-lost=exit")->reconnect);
	refused("blk.sock,on-lost=stop", "wait");
	refused("blk.sock,on-lost=wait,reconnect=off", "no other daemon will come");
	refused("blk,fd=7,on-lost=wait", "give socket=PATH");
	refused("blk.sock,on-lost=exit,reconnect=on", "leave out reconnect=on");
}

static void an_unknown_key_names_the_known_ones(void **state)
{
	(void)state;
	refused("blk.sock,size=4G", "queue-size");
	refused("quues=4", "queues");
}

static void a_name_has_letters_that_fit_a_message(void **state)
{
	(void)state;
	refused("blk.sock,id=a b", "letters");
	refused("blk.sock,id=a/b", "letters");
	refused("blk.sock,id=0123456789012345678901234567890x", "at most 31");
	assert_string_equal(parsed("blk.sock,id=disk-0_a.b")->id, "disk-0_a.b");
}

static void a_quirk_of_the_daemon_is_one_that_is_known(void **state)
{
	(void)state;
	assert_null(parsed("pmem,socket=s")->quirk);
	assert_string_equal(parsed("pmem,socket=s,quirk=shmem-bit-21")->quirk->name, "shmem-bit-21");
	assert_string_equal(parsed("blk.sock,quirk=shmem-bit-21")->quirk->name, "shmem-bit-21");
	refused("pmem,socket=s,quirk=", "quirk");
	refused("pmem,socket=s,quirk=shmem", "quirk: shmem is not known; known: shmem-bit-21");
	refused("pmem,socket=s,quirk", "quirk");
}

static void two_devices_have_neither_one_name_nor_one_socket(void **state)
{
	static const struct { const char *one, *other, *part; } rows[] = {
		{ "rng,socket=a,id=x", "blk,socket=b,id=x", "named x" },
		{ "blk,socket=a,id=blk1", "blk,socket=b", "named blk1" },
		{ "rng,fd=7", "blk,fd=7", "fd=7" },
		{ "blk,socket=a", "blk,socket=a", NULL },
		{ "rng,fd=7", "rng,fd=8", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vhost_user_options o[2];
		struct err e = { "" };

		assert_int_equal(vhost_user_options_parse(&o[0], rows[i].one, &e), 0);
		assert_int_equal(vhost_user_options_parse(&o[1], rows[i].other, &e), 0);
		o[1].number = 1;
		assert_int_equal(vhost_user_options_check(o, 2, &e), rows[i].part ? -EINVAL : 0);
		assert_true(!rows[i].part || strstr(e.msg, rows[i].part));
		vhost_user_options_free(&o[0]);
		vhost_user_options_free(&o[1]);
	}
}

static void a_command_is_a_way_to_the_daemon(void **state)
{
	const struct vhost_user_options *o;

	(void)state;
	o = parsed("rng,exec=/usr/bin/rng --fd %d");
	assert_null(o->socket);
	assert_true(o->command.by_fd);
	assert_int_equal(o->command.count, 3);
	assert_true(o->reconnect);
	o = parsed("exec=qsd --blockdev driver=file,,node-name=d --export addr.path=%s,reconnect=off");
	assert_string_equal(o->type->name, "blk");
	assert_string_equal(o->exec, "qsd --blockdev driver=file,node-name=d --export addr.path=%s");
	assert_false(o->reconnect);
	assert_false(parsed("blk,exec=a %s,on-lost=exit")->reconnect);
	refused("blk,exec=a %s,socket=s", "give one");
	refused("blk,exec=a %s,fd=5", "give one");
	refused("blk.sock,exec=a %s", "exec= gives another");
	refused("blk,exec=a %s,server=on", "server=on");
	refused("blk,exec=a", "exec=a: where is the daemon to be found?");
	refused("blk,exec=a 'b %s", "is not closed");
	refused("blk,exec=qsd driver=file,node-name=d %s", "of a comma in exec=, write two");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_path_alone_is_a_disk, teardown),
		cmocka_unit_test_teardown(a_comma_in_a_path_is_written_twice, teardown),
		cmocka_unit_test_teardown(a_path_takes_the_keys_of_a_disk, teardown),
		cmocka_unit_test_teardown(a_type_or_its_alias_or_its_number_is_the_type, teardown),
		cmocka_unit_test_teardown(a_number_without_a_row_is_the_generic_device, teardown),
		cmocka_unit_test_teardown(the_generic_device_takes_qemus_words, teardown),
		cmocka_unit_test_teardown(a_dash_in_a_key_may_be_an_underscore, teardown),
		cmocka_unit_test_teardown(the_generic_device_has_qemus_defaults, teardown),
		cmocka_unit_test_teardown(an_inherited_socket_is_given_by_its_number, teardown),
		cmocka_unit_test_teardown(an_interface_has_an_address_of_one, teardown),
		cmocka_unit_test_teardown(an_interface_has_pairs_of_queues, teardown),
		cmocka_unit_test_teardown(a_file_system_has_a_tag, teardown),
		cmocka_unit_test_teardown(a_device_needs_one_way_to_its_daemon, teardown),
		cmocka_unit_test_teardown(
			a_device_is_connected_again_unless_it_cannot_or_must_not_be, teardown),
		cmocka_unit_test_teardown(what_does_not_fit_the_type_is_refused, teardown),
		cmocka_unit_test_teardown(numbers_out_of_bounds_are_refused, teardown),
		cmocka_unit_test_teardown(a_key_is_given_once_under_whatever_name, teardown),
		cmocka_unit_test_teardown(words_of_qemu_that_have_no_meaning_here_say_what_to_write,
					  teardown),
		cmocka_unit_test_teardown(a_daemon_that_connects_needs_a_path, teardown),
		cmocka_unit_test_teardown(what_is_to_follow_a_daemon_is_one_thing, teardown),
		cmocka_unit_test_teardown(an_unknown_key_names_the_known_ones, teardown),
		cmocka_unit_test_teardown(a_name_has_letters_that_fit_a_message, teardown),
		cmocka_unit_test_teardown(a_quirk_of_the_daemon_is_one_that_is_known, teardown),
		cmocka_unit_test(two_devices_have_neither_one_name_nor_one_socket),
		cmocka_unit_test(a_command_is_a_way_to_the_daemon),
	};

	return cmocka_run_group_tests_name("vhost_user_options", tests, NULL, NULL);
}
