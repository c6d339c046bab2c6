/* SPDX-License-Identifier: Apache-2.0 */
/* --vmshm: what its words come to, and what is refused with which sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/range.h"
#include "devices/vmshm_options.h"
#include "guest/vmshm/vmshm_regs.h"

static struct vmshm_options parsed(const char *text)
{
	struct vmshm_options o;
	struct err e = { "" };

	if (vmshm_options_parse(&o, text, &e))
		fail_msg("%s: %s", text, e.msg);
	return o;
}

static void nothing_is_allowed_unless_it_is_said(void **state)
{
	struct vmshm_options o = parsed(NULL);

	(void)state;
	assert_int_equal(o.n_allow + o.n_maps, 0);
	assert_null(o.prefix);
	assert_int_equal(o.owner, geteuid());
	assert_int_equal(o.window, 0);
	assert_int_equal(o.window_idle_max, GIB(4));
	assert_int_equal(o.vectors, 0);
	assert_false(o.exclusive);
	assert_int_equal(o.pci_vendor, VMSHM_PCI_VENDOR);
	assert_int_equal(o.pci_device, VMSHM_PCI_DEVICE);
	assert_int_equal(o.name_size, VMSHM_NAME_SIZE);
	vmshm_options_free(&o);
	vmshm_options_free(&o);
}

static void every_key_is_taken(void **state)
{
	struct vmshm_options o = parsed(
		"id=a,prefix=/vm7-,owner=1000,window=64M,window-idle-max=1G,prealloc,vectors=8,"
		"events=/run/a,events-peer=/run/b,exclusive=on,pci-id=1AF5:0001,name-size=1M");

	(void)state;
	assert_string_equal(o.id, "a");
	assert_string_equal(o.prefix, "vm7-");
	assert_int_equal(o.owner, 1000);
	assert_int_equal(o.window, MIB(64));
	assert_int_equal(o.window_idle_max, GIB(1));
	assert_true(o.prealloc && o.exclusive);
	assert_int_equal(o.vectors, 8);
	assert_string_equal(o.events, "/run/a");
	assert_string_equal(o.events_peer, "/run/b");
	assert_int_equal(o.pci_vendor, 0x1af5);
	assert_int_equal(o.pci_device, 1);
	assert_int_equal(o.name_size, MIB(1));
	vmshm_options_free(&o);
}

static void rules_keep_their_order_and_get_a_slash(void **state)
{
	struct vmshm_options o = parsed("allow=/a*:ro,map=/m:fd=9,allow=b,,c,map=n:fd=1:fd=3:ro");

	(void)state;
	assert_int_equal(o.n_allow, 2);
	assert_string_equal(o.allow[0].glob, "/a*");
	assert_true(o.allow[0].ro);
	assert_string_equal(o.allow[1].glob, "/b,c");
	assert_false(o.allow[1].ro);
	assert_int_equal(o.n_maps, 2);
	assert_string_equal(o.maps[0].name, "m");
	assert_int_equal(o.maps[0].fd, 9);
	assert_false(o.maps[0].ro);
	assert_string_equal(o.maps[1].name, "n:fd=1");
	assert_int_equal(o.maps[1].fd, 3);
	assert_true(o.maps[1].ro);
	vmshm_options_free(&o);
}

static void a_socket_for_events_brings_two_vectors_unless_told_otherwise(void **state)
{
	static const struct {
		const char *text;
		unsigned vectors;
	} cases[] = {
		{ "allow=/x", 0 },
		{ "events=/run/a", 2 },
		{ "events-peer=/run/a", 2 },
		{ "events=/run/a,vectors=1", 1 },
		{ "vectors=5,events-peer=/run/a", 5 },
		{ "vectors=0", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmshm_options o = parsed(cases[i].text);

		assert_int_equal(o.vectors, cases[i].vectors);
		vmshm_options_free(&o);
	}
}

static void what_cannot_be_is_refused_with_the_way_out(void **state)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{ "word", "--vmshm: \"word\" is not a key" },
		{ "", "nothing between two commas" },
		{ "allow=", "--vmshm: allow needs a value" },
		{ "allow=/", "allow: \"/\" allows no name; write one" },
		{ "allow=:ro", "allow: \"\" allows no name" },
		{ "allow=/a/b", "allow: /a/b: an object's name has one slash" },
		{ "allow=//a", "allow: //a: an object's name has one slash" },
		{ "allow=/../x", "an object's name has one slash" },
		{ "allow=/x:rw", "allow: /x:rw: leave out :rw" },
		{ "allow=/minivmm-*", "never opened; choose another name" },
		{ "allow=minivmm-1", "never opened; choose another name" },
		{ "map=/x", "map: /x: which descriptor?" },
		{ "map=/x:fd=", "map: fd:  is not a number" },
		{ "map=/x:fd=-1", "map: fd: -1 is not a number" },
		{ "map=/x:fd=3:rx", "map: fd: 3:rx is not a number" },
		{ "map=/x:fd=2147483648", "is outside 0 to 2147483647" },
		{ "map=:fd=3", "map: \"\" is not an object's name" },
		{ "map=/..:fd=3", "map: \"/..\" is not an object's name" },
		{ "map=/a/b:fd=3", "map: \"/a/b\" is not an object's name" },
		{ "map=/x:fd=3,map=x:fd=4", "map: /x is given twice" },
		{ "prefix=a/b", "prefix: \"a/b\" cannot begin an object's name" },
		{ "prefix=../", "prefix: \"../\" cannot begin an object's name" },
		{ "prefix=/", "prefix: it has 1 to 254 bytes" },
		{ "prefix=minivmm-1", "never opened; choose another prefix" },
		{ "owner=root", "owner: root is not a number" },
		{ "owner=4294967295", "owner: 4294967295 is outside" },
		{ "window=1M", "window: 1M is not a power of two from 2M on" },
		{ "window=3M", "window: 3M is not a power of two from 2M on" },
		{ "window=64", "window: 64 is not a size" },
		{ "prealloc", "prealloc=on is about the large window" },
		{ "vectors=9", "vectors: 9 is outside 0 to 8" },
		{ "vectors=0,events=/x", "vectors=0: there are no events without" },
		{ "events=/x,events-peer=/x", "events-peer: /x is this device's own socket" },
		{ "pci-id=1af4", "pci-id: 1af4 is not VENDOR:DEVICE" },
		{ "pci-id=1af4:66610", "is not VENDOR:DEVICE" },
		{ "pci-id=1ag4:6661", "is not VENDOR:DEVICE" },
		{ "pci-id=ffff:6661", "vendor ffff means that there is no device" },
		{ "name-size=512B", "name-size: 512B is not a power of two from 1K to 1M" },
		{ "name-size=2M", "name-size: 2M is not" },
		{ "name-size=3K", "name-size: 3K is not" },
		{ "id=a b", "--vmshm: id: a b: only letters" },
		{ "id=a,id=b", "--vmshm: id is given twice" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmshm_options o;
		struct err e = { "" };

		if (vmshm_options_parse(&o, cases[i].text, &e) != -EINVAL)
			fail_msg("%s is taken", cases[i].text);
		if (!strstr(e.msg, cases[i].sentence))
			fail_msg("%s: \"%s\"", cases[i].text, e.msg);
		vmshm_options_free(&o);
	}
}

static void what_is_too_long_or_too_much_is_refused(void **state)
{
	static const char *const keys[] = { "events=/", "events-peer=/", "prefix=" };
	struct vmshm_options o;
	char text[32 + 8 * (VMSHM_RULES_MAX + 1)], *at = text;
	struct err e = { "" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		snprintf(text, sizeof(text), "%s%0255d", keys[i], 0);
		assert_int_equal(vmshm_options_parse(&o, text, &e), -EINVAL);
		vmshm_options_free(&o);
	}
	for (unsigned i = 0; i <= VMSHM_RULES_MAX; i++)
		at += sprintf(at, "%sallow=a", i ? "," : "");
	assert_int_equal(vmshm_options_parse(&o, text, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "allow: at most 32 of them"));
	vmshm_options_free(&o);
}

static void devices_get_numbers_and_names_and_share_neither_name_nor_socket(void **state)
{
	static const struct {
		const char *first, *second, *sentence;
	} cases[] = {
		{ "events=/a,events-peer=/b", "events=/b,events-peer=/a", NULL },
		{ "id=x", "id=x", "two devices are named x" },
		{ "id=vmshm1", NULL, "two devices are named vmshm1" },
		{ "events=/a", "events=/a", "events=/a is given to vmshm0 and vmshm1" },
		{ "events-peer=/a", "events-peer=/a", "events-peer=/a is given to vmshm0" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmshm_options o[2] = { parsed(cases[i].first), parsed(cases[i].second) };
		struct err e = { "" };

		assert_int_equal(vmshm_options_check(o, 2, &e), cases[i].sentence ? -EINVAL : 0);
		if (cases[i].sentence) {
			assert_non_null(strstr(e.msg, cases[i].sentence));
		} else {
			assert_string_equal(o[0].id, "vmshm0");
			assert_string_equal(o[1].id, "vmshm1");
			assert_int_equal(o[1].number, 1);
		}
		vmshm_options_free(&o[0]);
		vmshm_options_free(&o[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_allowed_unless_it_is_said),
		cmocka_unit_test(every_key_is_taken),
		cmocka_unit_test(rules_keep_their_order_and_get_a_slash),
		cmocka_unit_test(a_socket_for_events_brings_two_vectors_unless_told_otherwise),
		cmocka_unit_test(what_cannot_be_is_refused_with_the_way_out),
		cmocka_unit_test(what_is_too_long_or_too_much_is_refused),
		cmocka_unit_test(
			devices_get_numbers_and_names_and_share_neither_name_nor_socket),
	};

	return cmocka_run_group_tests_name("vmshm_options", tests, NULL, NULL);
}
