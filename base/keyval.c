/* SPDX-License-Identifier: Apache-2.0 */
#include "base/keyval.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/range.h"

static const struct {
	const char *word;
	bool value;
} bool_words[] = {
	{ "on", true },	  { "yes", true }, { "true", true },
	{ "off", false }, { "no", false }, { "false", false },
};

static const struct {
	const char *unit;
	unsigned shift;
} size_units[] = {
	{ "B", 0 },  { "K", 10 },   { "KiB", 10 }, { "M", 20 },	  { "MiB", 20 },
	{ "G", 30 }, { "GiB", 30 }, { "T", 40 },   { "TiB", 40 },
};

/* The number at the start of @text; *ret_end is behind it. No sign, no space, no octal. */
static int number(const char *text, uint64_t *ret, const char **ret_end)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*ret = strtoull(text, &end, hex ? 16 : 10);
	*ret_end = end;
	return errno ? -ERANGE : 0;
}

int size_parse(const char *what, const char *text, uint64_t *ret_bytes, struct err *e)
{
	const char *unit;
	uint64_t n;
	int r = number(text, &n, &unit);

	if (r == -ERANGE)
		return err_set(e, r, "%s: the size %s is too large", what, text);
	if (r || (!*unit && n))
		return err_set(
			e, -EINVAL,
			"%s: %s is not a size: write a number with a unit, as in 512K, 256M or 4G",
			what, text);
	if (!*unit) {
		*ret_bytes = 0;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(size_units); i++) {
		unsigned shift = size_units[i].shift;

		if (strcasecmp(unit, size_units[i].unit))
			continue;
		if (n > UINT64_MAX >> shift)
			return err_set(e, -ERANGE, "%s: the size %s is too large", what, text);
		*ret_bytes = n << shift;
		return 0;
	}
	return err_set(e, -EINVAL, "%s: %s: the unit \"%s\" is none of B, K, M, G, T", what, text,
		       unit);
}

int uint_parse(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret,
	       struct err *e)
{
	const char *end;
	uint64_t n;

	if (number(text, &n, &end) || *end)
		return err_set(e, -EINVAL, "%s: %s is not a number from %" PRIu64 " to %" PRIu64,
			       what, text, min, max);
	if (n < min || n > max)
		return err_set(e, -EINVAL, "%s: %s is outside %" PRIu64 " to %" PRIu64, what, text,
			       min, max);
	*ret = n;
	return 0;
}

const char *size_format(uint64_t bytes, char buf[24])
{
	static const char units[] = "BKMGT";
	unsigned u = 0;

	while (u < 4 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		u++;
	}
	snprintf(buf, 24, "%" PRIu64 "%c", bytes, units[u]);
	return buf;
}

static int set_bool(const char *what, const char *value, bool *field, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(bool_words); i++) {
		if (!strcmp(bool_words[i].word, value)) {
			*field = bool_words[i].value;
			return 0;
		}
	}
	return err_set(e, -EINVAL, "%s: %s is neither on nor off", what, value);
}

static int set_enum(const char *what, const char *value, const struct keyval *k, int *field,
		    struct err *e)
{
	char known[256] = "";

	for (int i = 0; k->words[i]; i++) {
		if (!strcmp(k->words[i], value)) {
			*field = i;
			return 0;
		}
		err_list_add(known, sizeof(known), k->words[i]);
	}
	return err_set(e, -EINVAL, "%s: %s is none of %s", what, value, known);
}

static int add_item(const char *what, const char *value, struct keyval_list *l, struct err *e)
{
	char **items = realloc(l->items, (l->count + 1) * sizeof(*items));

	if (items) {
		l->items = items;
		items[l->count] = strdup(value);
	}
	if (!items || !items[l->count])
		return err_set(e, -ENOMEM, "%s: out of memory", what);
	l->count++;
	return 0;
}

static int set_value(const char *option, const struct keyval *k, const char *value, void *target,
		     struct err *e)
{
	void *field = (char *)target + k->offset;
	char what[128];

	snprintf(what, sizeof(what), "%s: %s", option, k->key);
	if (k->given) {
		bool *given = (bool *)((char *)target + k->given);

		if (*given)
			return err_set(e, -EINVAL, "%s is given twice", what);
		*given = true;
	}
	if (!*value && k->type != KEYVAL_REFUSED)
		return err_set(e, -EINVAL, "%s needs a value", what);
	switch (k->type) {
	case KEYVAL_STRING:
		if (*(char **)field)
			return err_set(e, -EINVAL, "%s is given twice", what);
		*(char **)field = strdup(value);
		return *(char **)field ? 0 : err_set(e, -ENOMEM, "%s: out of memory", what);
	case KEYVAL_BOOL:
		return set_bool(what, value, field, e);
	case KEYVAL_UINT:
		return uint_parse(what, value, k->min, k->max ? k->max : UINT64_MAX, field, e);
	case KEYVAL_SIZE:
		return size_parse(what, value, field, e);
	case KEYVAL_ENUM:
		return set_enum(what, value, k, field, e);
	case KEYVAL_LIST:
		return add_item(what, value, field, e);
	case KEYVAL_REFUSED:
		return err_set(e, -EINVAL, "%s: %s", what, k->help);
	}
	return err_set(e, -EINVAL, "%s: unknown kind of value", what);
}

/* Copies the next item to @item, doubled commas made single; returns what follows, NULL at the end.
 */
static const char *next_item(const char *text, char *item)
{
	while (*text && (text[0] != ',' || text[1] == ',')) {
		text += text[0] == ',';
		*item++ = *text++;
	}
	*item = '\0';
	return *text ? text + 1 : NULL;
}

/* Dash and underscore are one sign: what is typed comes from many programs. */
static bool is_key(const char *key, const char *typed)
{
	for (; *key && *typed; key++, typed++)
		if (*key != *typed && (!strchr("-_", *key) || !strchr("-_", *typed)))
			return false;
	return *key == *typed;
}

static int parse_item(const char *option, char *item, const char *bare_key,
		      const struct keyval *table, void *target, struct err *e)
{
	char *eq = strchr(item, '=');
	const char *key = item, *value = eq ? eq + 1 : NULL;
	char known[384] = "";

	if (eq)
		*eq = '\0';
	if (!eq && bare_key) {
		key = bare_key;
		value = item;
	}
	for (const struct keyval *k = table; k->key; k++) {
		if (!is_key(k->key, key)) {
			if (k->type != KEYVAL_REFUSED)
				err_list_add(known, sizeof(known), k->key);
			continue;
		}
		if (!value && k->type != KEYVAL_BOOL && k->type != KEYVAL_REFUSED)
			return err_set(e, -EINVAL, "%s: %s needs a value, as in %s=...", option,
				       key, key);
		return set_value(option, k, value ? value : "on", target, e);
	}
	return err_set(e, -EINVAL, "%s: \"%s\" is not a key of this option; known are %s", option,
		       key, known);
}

int keyval_parse(const char *option, const char *text, const char *first,
		 const struct keyval *table, void *target, struct err *e)
{
	char *item = malloc(strlen(text) + 1);
	int r = 0;

	if (!item)
		return err_set(e, -ENOMEM, "%s: out of memory", option);
	while (text && r == 0) {
		text = next_item(text, item);
		if (!*item)
			r = err_set(e, -EINVAL,
				    "%s: there is nothing between two commas or at an end", option);
		else
			r = parse_item(option, item, first, table, target, e);
		first = NULL;
	}
	free(item);
	return r;
}

static void free_list(struct keyval_list *l)
{
	while (l->count > 0)
		free(l->items[--l->count]);
	free(l->items);
	l->items = NULL;
}

void keyval_free(const struct keyval *table, void *target)
{
	for (const struct keyval *k = table; k->key; k++) {
		char **field = (char **)((char *)target + k->offset);

		if (k->type == KEYVAL_LIST)
			free_list((struct keyval_list *)((char *)target + k->offset));
		if (k->type != KEYVAL_STRING)
			continue;
		free(*field);
		*field = NULL;
	}
}
