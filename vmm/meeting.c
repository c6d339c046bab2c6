/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/meeting.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "devices/unix_connect.h"

#define NAME "/minivmm-exec.XXXXXX"

static bool make_dir(struct meeting *m, const char *where)
{
	int n = snprintf(m->dir, sizeof(m->dir), "%s" NAME, where);

	if (*where == '/' && n < (int)sizeof(m->dir) && mkdtemp(m->dir))
		return true;
	m->dir[0] = '\0';
	return false;
}

int meeting_begin(struct meeting *m, struct err *e)
{
	const char *own = getenv("XDG_RUNTIME_DIR");

	*m = (struct meeting)MEETING_NONE;
	if (!(own && make_dir(m, own)) && !make_dir(m, "/tmp"))
		return err_set(e, -errno, "no directory can be made in /tmp: %s", strerror(errno));
	snprintf(m->path, sizeof(m->path), "%s/vhost.sock", m->dir);
	m->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (m->watch < 0 || inotify_add_watch(m->watch, m->dir, IN_CREATE | IN_MOVED_TO) < 0) {
		int r = err_set(e, -errno, "%s cannot be watched (inotify): %s", m->dir,
				strerror(errno));

		meeting_end(m);
		return r;
	}
	return 0;
}

void meeting_look(struct meeting *m)
{
	char events[4096];

	while (read(m->watch, events, sizeof(events)) > 0)
		;
}

int meeting_connect(struct meeting *m)
{
	static const char *const ends[] = { "", "0" };
	int r = -ENOENT;

	m->named = false;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		char path[sizeof(m->path) + 1];
		struct err e;

		snprintf(path, sizeof(path), "%s%s", m->path, ends[i]);
		r = unix_connect(path, SOCK_STREAM | SOCK_NONBLOCK, &e);
		if (r >= 0)
			return r;
		m->named = m->named || r == -ECONNREFUSED;
	}
	return r;
}

void meeting_end(struct meeting *m)
{
	DIR *dir = m->dir[0] ? opendir(m->dir) : NULL;
	struct dirent *entry;

	fd_close(&m->watch);
	while (dir && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	if (m->dir[0] && rmdir(m->dir))
		log_warn("the directory %s is left: %s; remove it", m->dir, strerror(errno));
	*m = (struct meeting)MEETING_NONE;
}
