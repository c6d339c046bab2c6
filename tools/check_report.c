/* SPDX-License-Identifier: Apache-2.0 */
/* What vu-check prints: a line a rule, or one JSON document with an object a rule. */
#include <stdio.h>

#include "base/json.h"
#include "tools/check.h"

/* A path or a sentence of which every byte is escaped fits. */
enum { REPORT_LINE = 16384 };

static const char *const words[CHECK_VERDICTS] = {
	[CHECK_PASS] = "PASS",
	[CHECK_FAIL] = "FAIL",
	[CHECK_SKIP] = "SKIP",
	[CHECK_BLOCKED] = "SKIP",
};

void check_report_begin(struct check_report *r)
{
	if (r->json)
		printf("{\"rules\": [");
}

static void print_rule(const struct check_rule *rule, enum check_verdict verdict, const char *why)
{
	char buf[REPORT_LINE];
	struct json j;

	json_begin(&j, buf, sizeof(buf));
	json_text(&j, "rule", rule->id);
	json_text(&j, "verdict", words[verdict]);
	json_text(&j, "section", rule->section);
	json_text(&j, "says", rule->says);
	json_text(&j, "why", why);
	/* Without the newline, which would come before a comma. */
	printf("%.*s", (int)json_end(&j) - 1, buf);
}

void check_report_rule(struct check_report *r, const struct check_rule *rule,
		       enum check_verdict verdict, const char *why)
{
	bool first = true;

	for (unsigned i = 0; i < CHECK_VERDICTS; i++)
		first = first && !r->counts[i];
	r->counts[verdict]++;
	if (r->json) {
		printf("%s\n ", first ? "" : ",");
		print_rule(rule, verdict, why);
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

void check_report_end(struct check_report *r, const struct check_options *o)
{
	unsigned skipped = r->counts[CHECK_SKIP] + r->counts[CHECK_BLOCKED];
	char buf[REPORT_LINE];
	struct json j;

	if (!r->json) {
		printf("%u passed, %u failed, %u skipped\n", r->counts[CHECK_PASS],
		       r->counts[CHECK_FAIL], skipped);
		return;
	}
	json_begin(&j, buf, sizeof(buf));
	json_text(&j, "socket", o->socket);
	json_text(&j, "type", o->type ? o->type : "");
	json_number(&j, "passed", r->counts[CHECK_PASS]);
	json_number(&j, "failed", r->counts[CHECK_FAIL]);
	json_number(&j, "skipped", skipped);
	json_end(&j);
	/* They are members of the object that the rules are in. */
	printf("\n], %s", buf + 1);
}
