/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs about network interfaces */
#include <linux/ethtool.h>
#include <linux/sockios.h>

#include "sys.h"
#include "text.h"
#include "verb.h"

/* struct ifreq, whose header wants a C library */
struct request {
	char name[16];
	void *data;
	char rest[16];
};

/* Does one command of linux/ethtool.h with the interface */
static int ethtool(const char *name, void *data)
{
	struct request r = { .data = data };
	int fd = (int)SYS(__NR_socket, 2 /* AF_INET */, SYS_SOCK_DGRAM | SYS_SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return fd;
	text_format(r.name, sizeof(r.name), "%s", name);
	err = (int)SYS(__NR_ioctl, fd, SIOCETHTOOL, &r);
	sys_close(fd);
	return err;
}

/* INTERFACE,NUMBER: as `ethtool -L INTERFACE combined NUMBER` does */
static int run_pairs(const struct call *c)
{
	struct ethtool_channels have = { .cmd = ETHTOOL_GCHANNELS }, want;
	const char *number = c->value;
	char name[16];
	uint64_t n;
	int err;

	text_format(name, sizeof(name), "%s", c->value);
	for (char *p = name; *p; p++)
		if (*p == ',')
			*p = 0;
	while (*number && *number != ',')
		number++;
	if (*number)
		number++;
	if (!text_number(&number, &n) || *number)
		return verb_fail(c, "not INTERFACE,NUMBER");
	err = ethtool(name, &have);
	if (err)
		return verb_fail(c, "%s: %e", name, err);
	want = have;
	want.cmd = ETHTOOL_SCHANNELS;
	want.combined_count = (uint32_t)n;
	err = ethtool(name, &want);
	if (!err)
		err = ethtool(name, &have);
	if (err)
		return verb_fail(c, "%s: %u pairs of %u: %e", name, (unsigned long)n,
				 (unsigned long)have.max_combined, err);
	verb_say(c, "%s uses %u of %u", name, (unsigned long)have.combined_count,
		 (unsigned long)have.max_combined);
	return 0;
}

const struct verb net_verbs[] = {
	{ "pairs", "INTERFACE,NUMBER", VERB_PLAIN, run_pairs,
	  "how many pairs of queues a network interface uses" },
	{ 0 },
};
