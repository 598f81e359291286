/* Messages of the kernel, as the reader of a network takes them: interfaces, queueing disciplines, addresses,
 * neighbours, routes, rules. The first byte chooses the decoder, the rest is the message behind its header. */
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "read_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_qdisc(const struct lh_qdisc_seen *seen)
{
	char line[1024];
	FILE *f = fmemopen(line, sizeof line, "w");
	if (!f)
		return;
	lh_qdisc_print_tc(&seen->q, f);
	fclose(f);
	/* What was read is the same as what was read. */
	if (seen->q.kind == LH_QDISC_NETEM && lh_qdisc_compare("x", &seen->q, seen, NULL, NULL))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct { uint16_t type; lh_decode_fn *decode; } kinds[] = {
		{ RTM_NEWQDISC, lh_decode_qdisc }, { RTM_NEWLINK, lh_decode_link }, { RTM_NEWADDR, lh_decode_address },
		{ RTM_NEWNEIGH, lh_decode_neighbour }, { RTM_NEWROUTE, lh_decode_route },
		{ RTM_NEWRULE, lh_decode_rule },
	};
	union {
		struct lh_qdisc_seen qdisc;
		struct lh_seen_link link;
		struct lh_seen_address address;
		struct lh_seen_neighbour neighbour;
		struct lh_seen_route route;
		struct lh_seen_rule rule;
	} item;
	if (!size || size > UINT16_MAX)
		return 0;
	unsigned kind = data[0] % (sizeof kinds / sizeof *kinds);
	struct nlmsghdr *nlh = malloc(MNL_NLMSG_HDRLEN + size - 1);
	if (!nlh)
		return 0;
	*nlh = (struct nlmsghdr){ .nlmsg_len = (uint32_t)(MNL_NLMSG_HDRLEN + size - 1),
		.nlmsg_type = kinds[kind].type };
	memcpy((char *)nlh + MNL_NLMSG_HDRLEN, data + 1, size - 1);
	memset(&item, 0, sizeof item);
	if (!kinds[kind].decode(nlh, &item, NULL) && kind == 0)
		use_qdisc(&item.qdisc);
	free(nlh);
	return 0;
}
