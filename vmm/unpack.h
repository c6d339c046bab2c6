/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload of a bzImage, unpacked on the host so that the guest runs no decompressor.
 *
 * The result is kept in $XDG_CACHE_HOME/minivmm (~/.cache/minivmm) as vmlinux-HASH, where HASH is
 * a SipHash of the payload under a key made for this directory: nobody can build a kernel that is
 * taken for another one's. An entry counts only when directory and file belong to our user, nobody
 * else may write them, the trailer is whole, and the modification time is the one the trailer was
 * sealed with: whatever is written later, by whomever, undoes the seal. Entries appear by rename,
 * after fsync. The oldest go when there are more than UNPACK_CACHE_KEEP. A cache that cannot be
 * used costs time, never the boot: the result is a memfd then.
 * Set-up only.
 */
#ifndef VMM_UNPACK_H
#define VMM_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { UNPACK_CACHE_KEEP = 8 };

struct unpacked {
	int fd;			/* owned by the caller; the kernel is its first `size` bytes */
	uint64_t size;
	const char *format;	/* "zstd", "lz4", "xz", "gzip" */
	bool cached;		/* came from the cache */
};

/*
 * Unpacks bytes [off, off + len) of @fd: a compressed stream and behind it, little-endian, the
 * 32-bit size of what is in it (Linux, Documentation/arch/x86/boot.rst, payload_offset). 0, or
 * -errno with @e: -ENOTSUP when this build has no library for the format, -EBADMSG when the stream
 * is broken.
 */
int unpack_payload(int fd, uint64_t off, uint64_t len, struct unpacked *ret, struct err *e);

#endif
