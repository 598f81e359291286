#include <errno.h>
#include <stdlib.h>

#include "deal.h"
#include "strategy.h"

static int next_round(const struct lh_peer_config *c, uint32_t epoch, struct lh_round *ret, struct lh_err *err)
{
	struct lh_share *shares = calloc(c->size, sizeof *shares);
	double *weights = calloc(c->size, sizeof *weights);
	int rc = 0;
	if (shares && weights) {
		for (unsigned i = 0; i < c->size; i++)
			weights[i] = c->peers[i].samples_per_s;
		lh_deal(c->target_batch, epoch, weights, c->size, shares);
		*ret = (struct lh_round){
			.first_sample = shares[c->rank].first, .samples = shares[c->rank].count,
			.total_samples = c->target_batch, .exchange = true,
		};
	} else {
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "deal samples");
	}
	free(shares);
	free(weights);
	return rc;
}

const struct lh_strategy lh_strategy_exact = { .name = "every target batch, exact", .round = next_round };
