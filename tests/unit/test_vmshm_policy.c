/* SPDX-License-Identifier: Apache-2.0 */
/* What options say about names: one table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/range.h"
#include "devices/vmshm_policy.h"

/* A verdict in a word: "-", "HOST rw", "HOST ro", "map N rw", "map N ro". */
static const char *word_of(const struct vmshm_verdict *v, char buf[300])
{
	const char *mode = v->rw ? "rw" : "ro";

	if (v->policy == VMSHM_POLICY_REFUSED)
		return "-";
	if (v->policy == VMSHM_POLICY_MAP)
		snprintf(buf, 300, "map %d %s", v->map->fd, mode);
	else
		snprintf(buf, 300, "%s %s", v->host, mode);
	return buf;
}

static const char *judged(const char *options, const char *name, bool ro, char buf[300])
{
	struct vmshm_options o;
	struct vmshm_verdict v;
	struct err e = { "" };
	const char *word;

	if (vmshm_options_parse(&o, options, &e))
		fail_msg("%s: %s", options ? options : "nothing", e.msg);
	v = vmshm_policy_judge(&o, name, ro);
	word = word_of(&v, buf);
	vmshm_options_free(&o);
	return word;
}

static const struct {
	const char *options, *name, *verdict;
	bool ro;
} cases[] = {
	/* nothing is allowed */
	{ NULL, "a", "-" },
	{ "prefix=a", "a", "-" },
	{ "map=/b:fd=9", "a", "-" },
	/* a rule, its mode, and what was asked */
	{ "allow=/a", "a", "a rw" },
	{ "allow=/a", "a", "a ro", .ro = true },
	{ "allow=/a:ro", "a", "a ro" },
	{ "allow=/a:ro", "a", "a ro", .ro = true },
	{ "allow=/a", "ab", "-" },
	{ "allow=/a", "A", "-" },
	{ "allow=/ring-*", "ring-1", "ring-1 rw" },
	{ "allow=/ring-*", "ring-", "ring- rw" },
	{ "allow=/ring-*", "ring", "-" },
	{ "allow=/[ab]?", "b7", "b7 rw" },
	{ "allow=/a\\*", "a*", "a* rw" },
	{ "allow=/a\\*", "ab", "-" },
	/* the first that matches */
	{ "allow=/a*:ro,allow=/ab", "ab", "ab ro" },
	{ "allow=/ab,allow=/a*:ro", "ab", "ab rw" },
	{ "allow=/ab,allow=/a*:ro", "ac", "ac ro" },
	/* a dot at the beginning */
	{ "allow=/*", ".a", "-" },
	{ "allow=/?a", ".a", "-" },
	{ "allow=/[.]a", ".a", "-" },
	{ "allow=/.*", ".a", ".a rw" },
	{ "allow=/*", "a.b", "a.b rw" },
	/* the prefix, before the rules */
	{ "prefix=vm7-,allow=/vm7-*", "a", "vm7-a rw" },
	{ "prefix=vm7-,allow=/a", "a", "-" },
	{ "prefix=vm7-,allow=/*", "../a", "-" },
	{ "prefix=.,allow=/.*", ".", "-" },
	{ "prefix=.,allow=/.*", "a", ".a rw" },
	{ "prefix=..,allow=/.*", "a", "..a rw" },
	/* minivmm's own */
	{ "allow=/*", "minivmm-1", "-" },
	{ "allow=/*,allow=/m*", "minivmm-", "-" },
	{ "allow=/*", "minivmm", "minivmm rw" },
	{ "prefix=mini,allow=/*", "vmm-1-2", "-" },
	{ "prefix=x,allow=/*", "minivmm-1", "xminivmm-1 rw" },
	/* maps, before everything else and by the guest's name alone */
	{ "map=/a:fd=9,allow=/a:ro", "a", "map 9 rw" },
	{ "allow=/a:ro,map=/a:fd=9", "a", "map 9 rw" },
	{ "map=/a:fd=9", "a", "map 9 ro", .ro = true },
	{ "map=/a:fd=9:ro", "a", "map 9 ro" },
	{ "prefix=p,map=/a:fd=9", "a", "map 9 rw" },
	{ "map=/a*:fd=9", "ab", "-" },
	{ "map=/minivmm-1:fd=9", "minivmm-1", "map 9 rw" },
	/* what is no name: not from a VMM that was taken over, either */
	{ "allow=/*", "", "-" },
	{ "allow=/*", "..", "-" },
	{ "allow=/.*", "..", "-" },
	{ "allow=/.*", ".", "-" },
	{ "allow=/*", "a/b", "-" },
	{ "allow=/*", "/../a", "-" },
	{ "allow=/*", "a\nb", "-" },
};

static void rules_decide(void **state)
{
	char buf[300];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *got = judged(cases[i].options, cases[i].name, cases[i].ro, buf);

		if (strcmp(got, cases[i].verdict))
			fail_msg("%s: %s: %s, not %s", cases[i].options, cases[i].name, got,
				 cases[i].verdict);
	}
}

static void a_name_that_becomes_too_long_by_the_prefix_is_refused(void **state)
{
	char name[VMSHM_NAME_MAX + 1] = "", buf[300], want[300];

	(void)state;
	memset(name, 'a', VMSHM_NAME_MAX - 1);
	snprintf(want, sizeof(want), "p%s rw", name);
	assert_string_equal(judged("prefix=p,allow=/*", name, false, buf), want);
	name[VMSHM_NAME_MAX - 1] = 'a';
	assert_string_equal(judged("prefix=p,allow=/*", name, false, buf), "-");
	snprintf(want, sizeof(want), "%s rw", name);
	assert_string_equal(judged("allow=/*", name, false, buf), want);
}

/* The guest chooses the name: it must not be able to make matching take long. */
static void a_glob_of_many_stars_is_matched_in_time(void **state)
{
	char name[VMSHM_NAME_MAX + 1] = "", buf[300];

	(void)state;
	alarm(10);
	memset(name, 'a', VMSHM_NAME_MAX);
	assert_string_equal(judged("allow=/*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name, false, buf),
			    "-");
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_decide),
		cmocka_unit_test(a_name_that_becomes_too_long_by_the_prefix_is_refused),
		cmocka_unit_test(a_glob_of_many_stars_is_matched_in_time),
	};

	return cmocka_run_group_tests_name("vmshm_policy", tests, NULL, NULL);
}
