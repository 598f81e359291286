/* cmd_models.c - `longhaul models` and `longhaul bench train`: longhaul-peer's tables. The trainer knows models and devices,
 * this program does not, so it becomes that one. */
#include "cli.h"

#include "peer_command.h"

int cmd_models(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_peer_command c;
	int rc = lh_peer_command_init(inv, "models", &c, &err);
	if (!rc) {
		if (inv->json)
			lh_peer_command_word(&c, "--json");
		lh_peer_command_option(&c, "--microbatch", inv->microbatch);
		lh_peer_command_option(&c, "--precision", inv->precision);
		lh_peer_command_word(&c, "--");
		lh_peer_command_become(&c, inv->rest, inv->nrest, &err);
	}
	return lh_fail(&err);
}

int cmd_bench_train(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_peer_command c;
	if (!lh_peer_command_bench_train(inv, inv->json, &c, &err))
		lh_peer_command_become(&c, NULL, 0, &err);
	return lh_fail(&err);
}
