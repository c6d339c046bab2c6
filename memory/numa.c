/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/numa.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

#ifndef MPOL_PREFERRED_MANY	/* Linux 5.15 */
#define MPOL_PREFERRED_MANY 5
#endif

enum { BITS = 8 * sizeof(unsigned long) };

/* The node number at *@text, which moves behind it; -1 when there is none in range. */
static int node_number(const char **text)
{
	unsigned long n;
	char *end;

	if (!isdigit((unsigned char)**text))
		return -1;
	n = strtoul(*text, &end, 10);
	*text = end;
	return n < NUMA_NODES_MAX ? (int)n : -1;
}

static void add_node(struct numa_nodes *nodes, unsigned n)
{
	unsigned long bit = 1ul << (n % BITS);

	if (!(nodes->mask[n / BITS] & bit))
		nodes->count++;
	nodes->mask[n / BITS] |= bit;
	if (n > nodes->highest)
		nodes->highest = n;
}

int numa_parse(const char *text, struct numa_nodes *ret, struct err *e)
{
	struct numa_nodes nodes = { .count = 0 };
	const char *at = text;

	for (;;) {
		int first = node_number(&at), last = first;

		if (first >= 0 && *at == '-') {
			at++;
			last = node_number(&at);
		}
		if (first < 0 || last < first || (*at && *at != ','))
			return err_set(
				e, -EINVAL,
				"--mem-backend: host-nodes: \"%s\" is not a list of node numbers "
				"below %d, as in 0-1 or 0,,2",
				text, NUMA_NODES_MAX);
		for (int n = first; n <= last; n++)
			add_node(&nodes, (unsigned)n);
		if (!*at)
			break;
		at++;
	}
	*ret = nodes;
	return 0;
}

/* What the host says of its nodes with memory, for a sentence. */
static void online_nodes(char *buf, size_t size)
{
	autoclose int fd = open("/sys/devices/system/node/has_memory", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
}

static int kernel_mode(const struct mem_options *o, unsigned count)
{
	static const int modes[] = {
		[MEM_POLICY_DEFAULT] = MPOL_DEFAULT, [MEM_POLICY_PREFERRED] = MPOL_PREFERRED,
		[MEM_POLICY_BIND] = MPOL_BIND, [MEM_POLICY_INTERLEAVE] = MPOL_INTERLEAVE,
	};

	if (o->policy == MEM_POLICY_PREFERRED && count > 1)
		return MPOL_PREFERRED_MANY;
	return modes[o->policy];
}

int numa_bind(void *host, uint64_t len, const struct mem_options *o, struct err *e)
{
	struct numa_nodes nodes;
	char online[64];
	int r;

	if (o->policy == MEM_POLICY_DEFAULT)
		return 0;
	r = numa_parse(o->host_nodes, &nodes, e);
	if (r)
		return r;
	/* The kernel reads one bit less than it is told. */
	if (syscall(SYS_mbind, host, len, kernel_mode(o, nodes.count), nodes.mask,
		    nodes.highest + 2ul, MPOL_MF_STRICT | MPOL_MF_MOVE) == 0)
		return 0;
	if (errno == ENOSYS)
		return err_set(e, -ENOSYS,
			       "guest RAM: this kernel knows no NUMA policy; leave policy and "
			       "host-nodes out");
	online_nodes(online, sizeof(online));
	return err_sys(e, "guest RAM cannot be bound to host-nodes=%s (nodes with memory here: %s)",
		       o->host_nodes, online[0] ? online : "not known");
}
