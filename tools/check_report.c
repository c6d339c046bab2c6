/* SPDX-License-Identifier: Apache-2.0 */
/* What vu-check prints: a line a rule, or one JSON document with an object a rule. */
#include <stdio.h>

#include "tools/check.h"

static const char *const words[CHECK_VERDICTS] = {
	[CHECK_PASS] = "PASS",
	[CHECK_FAIL] = "FAIL",
	[CHECK_SKIP] = "SKIP",
	[CHECK_BLOCKED] = "SKIP",
};

/* A string of JSON; what comes from the daemon are numbers only, but a path may hold anything. */
static void print_json(const char *text)
{
	putchar('"');
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			printf("\\%c", *p);
		else if (*p < 0x20)
			printf("\\u%04x", *p);
		else
			putchar(*p);
	}
	putchar('"');
}

void check_report_begin(struct check_report *r, const struct check_options *o)
{
	if (!r->json)
		return;
	printf("{\"socket\": ");
	print_json(o->socket);
	printf(", \"type\": ");
	print_json(o->type ? o->type : "");
	printf(", \"rules\": [");
}

void check_report_rule(struct check_report *r, const struct check_rule *rule,
		       enum check_verdict verdict, const char *why)
{
	bool first = true;

	for (unsigned i = 0; i < CHECK_VERDICTS; i++)
		first = first && !r->counts[i];
	r->counts[verdict]++;
	if (r->json) {
		printf("%s\n {\"rule\": \"%s\", \"verdict\": \"%s\", \"section\": \"%s\", \"says\": \"%s\","
		       " \"why\": ", first ? "" : ",", rule->id, words[verdict], rule->section, rule->says);
		print_json(why);
		putchar('}');
	} else {
		printf("%s %-24s [%s] %s%s%s%s\n", words[verdict], rule->id, rule->section, rule->says,
		       why[0] ? ": " : "", verdict == CHECK_BLOCKED ? "not tried: " : "", why);
	}
	fflush(stdout);
}

void check_report_list(void)
{
	for (unsigned i = 0; check_rules[i]; i++)
		for (const struct check_rule *rule = check_rules[i]; rule->id; rule++)
			printf("%-24s [%s] %s\n", rule->id, rule->section, rule->says);
}

void check_report_end(struct check_report *r)
{
	unsigned skipped = r->counts[CHECK_SKIP] + r->counts[CHECK_BLOCKED];

	if (r->json)
		printf("\n], \"passed\": %u, \"failed\": %u, \"skipped\": %u}\n",
		       r->counts[CHECK_PASS], r->counts[CHECK_FAIL], skipped);
	else
		printf("%u passed, %u failed, %u skipped\n", r->counts[CHECK_PASS],
		       r->counts[CHECK_FAIL], skipped);
}
