/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/display/pictures.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* Files are small enough at zlib's first level, and pictures come often. */
enum { COMPRESSION = 1 };

static const char unfinished[] = ".new";

static int open_dir(struct pictures *p, const char *path, struct err *e)
{
	p->dir = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	return p->dir < 0 ? err_sys(e, "the directory %s", path) : 0;
}

static int open_dir_of(struct pictures *p, const char *file, struct err *e)
{
	const char *slash = strrchr(file, '/');
	char *path;
	int r;

	p->name = slash ? slash + 1 : file;
	if (!*p->name || strlen(p->name) > PICTURES_NAME_MAX)
		return err_set(e, -EINVAL, "--png %s: that is no name of a file", file);
	if (!slash)
		return open_dir(p, ".", e);
	path = slash == file ? strdup("/") : strndup(file, (size_t)(slash - file));
	if (!path)
		return err_set(e, -ENOMEM, "--png: out of memory");
	r = open_dir(p, path, e);
	free(path);
	return r;
}

int pictures_open(struct pictures *p, const char *file, const char *dir, unsigned keep,
		  struct err *e)
{
	struct stat st;
	int r;

	*p = (struct pictures){ .dir = -1, .path = file ? file : dir, .keep = keep };
	r = file ? open_dir_of(p, file, e) : open_dir(p, dir, e);
	if (r == 0 && file && fstatat(p->dir, p->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !S_ISREG(st.st_mode))
		r = err_set(e, -EINVAL, "--png %s: there is something that is not a regular file", file);
	if (r)
		pictures_close(p);
	return r;
}

/* Of png_set_write_fn, whose pointer is to the fd. */
static void write_bytes(png_structp png, png_bytep data, size_t size)
{
	if (fd_write_all(*(const int *)png_get_io_ptr(png), data, size))
		png_error(png, "write");
}

static void flush_nothing(png_structp png)
{
	(void)png;
}

static void fail(png_structp png, png_const_charp why)
{
	(void)why;
	png_longjmp(png, 1);
}

static void be_silent(png_structp png, png_const_charp why)
{
	(void)png;
	(void)why;
}

/* 0, or -EIO: errno has more. @line has room for one. */
static int encode(int fd, const struct screen *s, uint8_t *line)
{
	png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, fail, be_silent);
	png_infop info = png ? png_create_info_struct(png) : NULL;

	if (!info || setjmp(png_jmpbuf(png))) {
		png_destroy_write_struct(&png, &info);
		return -EIO;
	}
	png_set_write_fn(png, &fd, write_bytes, flush_nothing);
	png_set_user_limits(png, SCREEN_SIDE_MAX, SCREEN_SIDE_MAX);
	png_set_compression_level(png, COMPRESSION);
	png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
	png_set_IHDR(png, info, s->width, s->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
		     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_write_info(png, info);
	for (uint32_t y = 0; y < s->height; y++) {
		screen_line(s, y, line);
		png_write_row(png, line);
	}
	png_write_end(png, info);
	png_destroy_write_struct(&png, &info);
	return 0;
}

/* Under the name that nobody looks at. */
static int write_unfinished(struct pictures *p, const char *name, const struct screen *s,
			    struct err *e)
{
	uint8_t *line = malloc(3 * (size_t)s->width);
	autoclose int fd = -1;
	int r = 0;

	if (!line)
		return err_set(e, -ENOMEM, "%s: out of memory", p->path);
	/* What somebody else put there, a FIFO for example, is not opened. */
	unlinkat(p->dir, name, 0);
	fd = openat(p->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	errno = fd < 0 ? errno : 0;
	if (fd < 0 || encode(fd, s, line)) {
		errno = errno ? errno : EIO;
		r = err_sys(e, "%s: the picture cannot be written", p->path);
	}
	free(line);
	return r;
}

static void number_name(uint64_t number, char *ret, size_t size)
{
	snprintf(ret, size, "%06" PRIu64 ".png", number);
}

/* The oldest one, which is one too many. */
static void drop_oldest(const struct pictures *p)
{
	char name[PICTURES_NAME_MAX + 1];

	if (p->name || p->written <= p->keep)
		return;
	number_name(p->written - p->keep, name, sizeof(name));
	unlinkat(p->dir, name, 0);
}

int pictures_write(struct pictures *p, const struct screen *s, struct err *e)
{
	char name[PICTURES_NAME_MAX + 1], hidden[PICTURES_NAME_MAX + sizeof(unfinished) + 1];
	int r;

	if (p->name)
		snprintf(name, sizeof(name), "%s", p->name);
	else
		number_name(p->written + 1, name, sizeof(name));
	snprintf(hidden, sizeof(hidden), "%s%s", name, unfinished);
	r = write_unfinished(p, hidden, s, e);
	if (r == 0 && renameat(p->dir, hidden, p->dir, name) < 0)
		r = err_sys(e, "%s: the picture cannot get its name", p->path);
	if (r) {
		unlinkat(p->dir, hidden, 0);
		return r;
	}
	p->written++;
	log_debug("picture %" PRIu64 " is %s, %u x %u", p->written, name, s->width, s->height);
	drop_oldest(p);
	return 0;
}

void pictures_close(struct pictures *p)
{
	fd_close(&p->dir);
}
