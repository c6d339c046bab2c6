/* SPDX-License-Identifier: Apache-2.0 */
#include "base/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

enum { BACKLOG = 8 };

/* What is asked for. */
struct place {
	int type;
	const char *option, *path;	/* the name in messages is both */
};

#define PLACE "%s%s"
#define NAMES(p) (p)->option, (p)->path

/* Splits the path; l->dir is its directory. */
static int open_dir(struct listener *l, const struct place *p, struct err *e)
{
	const char *slash = strrchr(p->path, '/'), *name = slash ? slash + 1 : p->path;
	char dir[4096];
	int n = slash ? snprintf(dir, sizeof(dir), "%.*s/", (int)(slash - p->path), p->path) :
			snprintf(dir, sizeof(dir), ".");

	if (n < 0 || n >= (int)sizeof(dir) || strlen(name) >= sizeof(l->name))
		return err_set(e, -ENAMETOOLONG, PLACE " is too long", NAMES(p));
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return err_set(e, -EINVAL, PLACE " names no file", NAMES(p));
	memcpy(l->name, name, strlen(name) + 1);
	l->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return l->dir < 0 ? err_sys(e, PLACE ": its directory", NAMES(p)) : 0;
}

static int new_socket(const struct place *p)
{
	return socket(AF_UNIX, p->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* 0 when what has our name is a socket that nobody listens on. The working directory is l->dir. */
static int check_stale(const struct listener *l, const struct place *p, struct err *e)
{
	autoclose int sock = new_socket(p);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;

	if (fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, PLACE, NAMES(p));
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST, PLACE " exists and is no socket: remove it or choose another path", NAMES(p));
	if (strlen(l->name) >= sizeof(a.sun_path))
		return err_set(e, -EEXIST, PLACE " exists: remove it or choose another path", NAMES(p));
	memcpy(a.sun_path, l->name, strlen(l->name) + 1);
	if (sock < 0)
		return err_sys(e, PLACE, NAMES(p));
	if (connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0 && errno == ECONNREFUSED)
		return 0;
	return err_set(e, -EADDRINUSE, PLACE ": another program listens there: end it or choose another path", NAMES(p));
}

/* Gives the socket bound as @made its name. */
static int publish(const struct listener *l, const char *made, const struct place *p,
		   struct err *e)
{
	int r;

	if (!renameat2(l->dir, made, l->dir, l->name, RENAME_NOREPLACE))
		return 0;
	if (errno != EEXIST)
		return err_sys(e, PLACE, NAMES(p));
	r = check_stale(l, p, e);
	if (r)
		return r;
	if (renameat(l->dir, made, l->dir, l->name) < 0)
		return err_sys(e, PLACE, NAMES(p));
	log_warn("%s: replaced a socket that nobody listened on", p->path);
	return 0;
}

static int bind_and_listen(struct listener *l, const struct place *p, int sock, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;
	int r;

	/* A short name, whatever the path's length; renamed when it can be connected to. */
	snprintf(a.sun_path, sizeof(a.sun_path), ".minivmm.%ld", (long)getpid());
	unlinkat(l->dir, a.sun_path, 0);
	if (bind(sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, PLACE, NAMES(p));
	if (listen(sock, BACKLOG) < 0 || fstatat(l->dir, a.sun_path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = err_sys(e, PLACE, NAMES(p));
	else
		r = publish(l, a.sun_path, p, e);
	if (r) {
		unlinkat(l->dir, a.sun_path, 0);
		return r;
	}
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return 0;
}

/* A socket is bound and connected to by a path, and only a relative one is always short enough. */
static int listen_in_dir(struct listener *l, const struct place *p, int sock, struct err *e)
{
	autoclose int before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (before < 0)
		return err_sys(e, PLACE ": the working directory", NAMES(p));
	if (fchdir(l->dir) < 0)
		return err_sys(e, PLACE ": its directory", NAMES(p));
	r = bind_and_listen(l, p, sock, e);
	if (fchdir(before) < 0 && !r) {
		r = err_sys(e, PLACE ": the working directory", NAMES(p));
		unlinkat(l->dir, l->name, 0);
	}
	return r;
}

int listener_open(struct listener *l, int type, const char *option, const char *path,
		  int *ret_sock, struct err *e)
{
	const struct place p = { .type = type, .option = option, .path = path };
	autoclose int sock = new_socket(&p);
	int r;

	*l = (struct listener){ .dir = -1 };
	if (sock < 0)
		return err_sys(e, PLACE, NAMES(&p));
	r = open_dir(l, &p, e);
	if (!r)
		r = listen_in_dir(l, &p, sock, e);
	if (r) {
		fd_close(&l->dir);
		return r;
	}
	*ret_sock = fd_take(&sock);
	return 0;
}

void listener_close(struct listener *l)
{
	struct stat st;

	if (l->dir < 0)
		return;
	if (!fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW) && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		unlinkat(l->dir, l->name, 0);
	fd_close(&l->dir);
}
