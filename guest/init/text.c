/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include "sys.h"

static const char *const error_names[] = {
	[EPERM] = "EPERM",     [ENOENT] = "ENOENT",	  [EINTR] = "EINTR",
	[EIO] = "EIO",	       [ENXIO] = "ENXIO",	  [ENOEXEC] = "ENOEXEC",
	[EBADF] = "EBADF",     [ECHILD] = "ECHILD",	  [EAGAIN] = "EAGAIN",
	[ENOMEM] = "ENOMEM",   [EACCES] = "EACCES",	  [EFAULT] = "EFAULT",
	[EBUSY] = "EBUSY",     [EEXIST] = "EEXIST",	  [ENODEV] = "ENODEV",
	[ENOTDIR] = "ENOTDIR", [EISDIR] = "EISDIR",	  [EINVAL] = "EINVAL",
	[ENOTTY] = "ENOTTY",   [ENOSPC] = "ENOSPC",	  [EROFS] = "EROFS",
	[ENOSYS] = "ENOSYS",   [ETIMEDOUT] = "ETIMEDOUT", [EAFNOSUPPORT] = "EAFNOSUPPORT",
};

struct buffer {
	char *at;
	char *end;
};

static void put(struct buffer *b, const char *s, size_t len)
{
	if (len > (size_t)(b->end - b->at))
		len = (size_t)(b->end - b->at);
	memcpy(b->at, s, len);
	b->at += len;
}

static void put_number(struct buffer *b, uint64_t value, unsigned base)
{
	char digits[24];
	size_t n = sizeof(digits);

	do {
		digits[--n] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	put(b, digits + n, sizeof(digits) - n);
}

static void put_error(struct buffer *b, int error)
{
	size_t e = (size_t)(error < 0 ? -error : error);

	if (e < sizeof(error_names) / sizeof(*error_names) && error_names[e]) {
		put(b, error_names[e], strlen(error_names[e]));
		return;
	}
	put(b, "error ", 6);
	put_number(b, e, 10);
}

static void put_format(struct buffer *b, const char *fmt, va_list ap)
{
	const char *s;

	for (; *fmt; fmt++) {
		if (*fmt != '%' || !fmt[1]) {
			put(b, fmt, 1);
			continue;
		}
		switch (*++fmt) {
		case 's':
			s = va_arg(ap, const char *);
			put(b, s, strlen(s));
			break;
		case 'u':
			put_number(b, va_arg(ap, unsigned long), 10);
			break;
		case 'x':
			put_number(b, va_arg(ap, unsigned long), 16);
			break;
		case 'e':
			put_error(b, va_arg(ap, int));
			break;
		default:
			put(b, fmt, 1);
		}
	}
}

size_t text_format(char *buf, size_t size, const char *fmt, ...)
{
	struct buffer b = { buf, buf + size - 1 };
	va_list ap;

	va_start(ap, fmt);
	put_format(&b, fmt, ap);
	va_end(ap);
	*b.at = 0;
	return (size_t)(b.at - buf);
}

void text_vsay(const char *prefix, const char *fmt, va_list ap)
{
	char line[TEXT_MAX];
	struct buffer b = { line, line + sizeof(line) - 1 };

	put(&b, prefix, strlen(prefix));
	put_format(&b, fmt, ap);
	b.end++;
	put(&b, "\n", 1);
	sys_write(1, line, (size_t)(b.at - line));
}

void text_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text_vsay("minivmm-init: ", fmt, ap);
	va_end(ap);
}

void text_hex(char *hex, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;

	for (; len; len--, p++) {
		*hex++ = "0123456789abcdef"[*p >> 4];
		*hex++ = "0123456789abcdef"[*p & 15];
	}
	*hex = 0;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 99;
}

bool text_number(const char **s, uint64_t *ret_value)
{
	const char *p = *s;
	int base = p[0] == '0' && p[1] == 'x' ? 16 : 10;
	const char *first = base == 16 ? p + 2 : p;
	unsigned shift = 0;
	uint64_t value = 0;

	for (p = first; digit_value(*p) < base; p++) {
		if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
		    __builtin_add_overflow(value, (uint64_t)digit_value(*p), &value))
			return false;
	}
	if (p == first)
		return false;

	if (*p == 'K' || *p == 'M' || *p == 'G') {
		shift = *p == 'K' ? 10 : *p == 'M' ? 20 : 30;
		p++;
	}
	if (value > UINT64_MAX >> shift)
		return false;
	*ret_value = value << shift;
	*s = p;
	return true;
}

bool text_option(const char *cmdline, const char *name, char *buf, size_t size)
{
	size_t name_len = strlen(name);
	const char *p = cmdline, *end;
	bool found = false;

	for (;; p = end) {
		while (*p == ' ' || *p == '\n')
			p++;
		for (end = p; *end && *end != ' ' && *end != '\n'; end++)
			;
		if (end == p || (end - p == 2 && !strncmp(p, "--", 2)))
			return found;
		if (strncmp(p, name, name_len) || (size_t)(end - p) < name_len)
			continue;
		p += name_len;
		if (p != end && *p++ != '=')
			continue;
		if ((size_t)(end - p) >= size)
			continue;
		/* the last one counts, as in the kernel */
		memcpy(buf, p, (size_t)(end - p));
		buf[end - p] = 0;
		found = true;
	}
}
