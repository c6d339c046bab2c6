/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shared memory object in this program's memory, however it gets there: in a guest by the driver
 * of VMShm, on the host as the file that it is. Header only; needs guest/vmshm beside it.
 */
#ifndef GUEST_EXAMPLES_OBJECT_H
#define GUEST_EXAMPLES_OBJECT_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../vmshm/vmshm.h"

struct object {
	int fd;			/* the device, or the file */
	void *mem;
	size_t size;		/* bytes that the other side has, too */
	bool events;		/* a device by which both sides can be woken */
};

/* Works on one that could not be opened. In a guest the object is released. */
static inline void object_close(struct object *o)
{
	if (o->mem)
		munmap(o->mem, o->size);
	if (o->fd >= 0)
		close(o->fd);
	*o = (struct object){ .fd = -1 };
}

static inline int object_map(struct object *o, uint64_t size, uint64_t at)
{
	void *mem = MAP_FAILED;

	if (size && size <= SIZE_MAX)
		mem = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, o->fd,
			   (off_t)at);
	if (mem == MAP_FAILED) {
		int rc = size ? -errno : -ENODATA;

		object_close(o);
		return rc;
	}
	o->mem = mem;
	o->size = (size_t)size;
	return 0;
}

/*
 * In a guest: the host's object @name, "/name", by @device, "/dev/vmshm0"; @flags are VMSHM_OPEN_*.
 * 0 or -errno: -ENOENT that there is none or that the host does not allow it, -EBUSY that another
 * program has the device.
 */
static inline int object_open_device(struct object *o, const char *device, const char *name,
				     uint32_t flags)
{
	struct vmshm_ioc_open open_it = { .name = (uintptr_t)name, .flags = flags };
	struct vmshm_ioc_info info = { 0 };
	uint64_t size;

	*o = (struct object){ .fd = open(device, O_RDWR | O_CLOEXEC) };
	if (o->fd < 0)
		return -errno;
	if (ioctl(o->fd, VMSHM_IOC_OPEN, &open_it) < 0 || ioctl(o->fd, VMSHM_IOC_INFO, &info) < 0) {
		int rc = -errno;

		object_close(o);
		return rc;
	}
	/* the last page of an object may be its own in part; a device of 0.1 cannot tell sizes */
	size = open_it.size ? open_it.mapped : open_it.length;
	if (open_it.size && size > open_it.size - open_it.offset)
		size = open_it.size - open_it.offset;
	o->events = info.events > 0 && info.vectors > 1;
	return object_map(o, size, open_it.mmap_offset);
}

/* On the host: the first @size bytes, 0: all, of the file @path, made if need be. 0 or -errno. */
static inline int object_open_file(struct object *o, const char *path, uint64_t size)
{
	struct stat st;

	/* a guest that is allowed the object may not replace it by a link, but others might */
	*o = (struct object){ .fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) };
	if (o->fd < 0)
		return -errno;
	if (fstat(o->fd, &st) < 0 ||
	    ((uint64_t)st.st_size < size && ftruncate(o->fd, (off_t)size) < 0)) {
		int rc = -errno;

		object_close(o);
		return rc;
	}
	return object_map(o, size ? size : (uint64_t)st.st_size, 0);
}

#endif
