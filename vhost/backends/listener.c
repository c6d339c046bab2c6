/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backends/listener.h"

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

/* Splits @path; l->dir is its directory. */
static int open_dir(struct listener *l, const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char dir[4096];
	int n = slash ? snprintf(dir, sizeof(dir), "%.*s/", (int)(slash - path), path) :
			snprintf(dir, sizeof(dir), ".");

	if (n < 0 || n >= (int)sizeof(dir) || strlen(name) >= sizeof(l->name))
		return err_set(e, -ENAMETOOLONG, "--socket-path %s is too long", path);
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return err_set(e, -EINVAL, "--socket-path %s names no file", path);
	memcpy(l->name, name, strlen(name) + 1);
	l->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return l->dir < 0 ? err_sys(e, "--socket-path %s: its directory", path) : 0;
}

/* 0 when what has our name is a socket that nobody listens on. */
static int check_stale(const struct listener *l, const char *path, struct err *e)
{
	autoclose int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;

	if (fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "--socket-path %s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST, "--socket-path %s exists and is no socket: remove it or choose another path", path);
	if (strlen(l->name) >= sizeof(a.sun_path))
		return err_set(e, -EEXIST, "--socket-path %s exists: remove it or choose another path", path);
	memcpy(a.sun_path, l->name, strlen(l->name) + 1);
	/* The working directory is l->dir. */
	if (sock < 0)
		return err_sys(e, "--socket-path %s", path);
	if (connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0 && errno == ECONNREFUSED)
		return 0;
	return err_set(e, -EADDRINUSE, "--socket-path %s: another program listens there: end it or choose another path", path);
}

/* Gives the socket bound as @made its name. */
static int publish(const struct listener *l, const char *made, const char *path, struct err *e)
{
	int r;

	if (!renameat2(l->dir, made, l->dir, l->name, RENAME_NOREPLACE))
		return 0;
	if (errno != EEXIST)
		return err_sys(e, "--socket-path %s", path);
	r = check_stale(l, path, e);
	if (r)
		return r;
	if (renameat(l->dir, made, l->dir, l->name) < 0)
		return err_sys(e, "--socket-path %s", path);
	log_warn("%s: replaced a socket that nobody listened on", path);
	return 0;
}

static int bind_and_listen(struct listener *l, const char *path, int sock, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;
	int r;

	/* A short name, whatever the path's length; renamed when it can be connected to. */
	snprintf(a.sun_path, sizeof(a.sun_path), ".minivmm-backend.%ld", (long)getpid());
	unlinkat(l->dir, a.sun_path, 0);
	if (bind(sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, "--socket-path %s", path);
	if (listen(sock, BACKLOG) < 0 || fstatat(l->dir, a.sun_path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = err_sys(e, "--socket-path %s", path);
	else
		r = publish(l, a.sun_path, path, e);
	if (r) {
		unlinkat(l->dir, a.sun_path, 0);
		return r;
	}
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return 0;
}

int listener_open(struct listener *l, const char *path, int *ret_sock, struct err *e)
{
	autoclose int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	*l = (struct listener){ .dir = -1 };
	if (sock < 0)
		return err_sys(e, "--socket-path %s", path);
	r = open_dir(l, path, e);
	if (!r && fchdir(l->dir) < 0)
		r = err_sys(e, "--socket-path %s: its directory", path);
	if (!r)
		r = bind_and_listen(l, path, sock, e);
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

int listener_inherit(int fd, bool *ret_listens, struct err *e)
{
	int listens = 0, type = 0, domain = 0;
	socklen_t len = sizeof(int);

	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(e, "--fd %d was not inherited", fd);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0)
		return err_sys(e, "--fd %d", fd);
	if (type != SOCK_STREAM || domain != AF_UNIX)
		return err_set(e, -EINVAL, "--fd %d is no Unix stream socket", fd);
	*ret_listens = listens;
	return 0;
}
