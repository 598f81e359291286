/* Which engine a configuration asks for. */
#include "engine.h"

#include "model/own.h"

const struct lh_engine_ops *lh_engine_of(const struct lh_peer_config *c)
{
	if (c->engine == LH_ENGINE_PACED)
		return &lh_engine_paced;
	return lh_own_is(c->model) ? &lh_engine_cpu : &lh_engine_table;
}
