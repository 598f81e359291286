#include "supported.h"

#include <errno.h>

static int no(struct lh_err *err, const char *key, const char *value)
{
	return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "peer configuration: key \"%s\": this build cannot do %s", key,
			  value);
}

/* Whoever adds a feature to the peer takes its line out; with the last one this file goes. */
int lh_peer_supported(const struct lh_peer_config *c, struct lh_err *err)
{
	if (c->membership == LH_MEMBERSHIP_FIXED && (c->checkpoint_ns || c->interrupted_ns))
		return no(err, "checkpoint_ns", "checkpoints of a fixed group");
	return 0;
}
