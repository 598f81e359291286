/* Which engine a configuration asks for. */
#include "engine.h"

#include <string.h>

const struct lh_engine_ops *lh_engine_of(const struct lh_peer_config *c)
{
	const bool own = !strcmp(c->model, "digits") || !strcmp(c->model, "text");
	if (c->engine == LH_ENGINE_PACED)
		return &lh_engine_paced;
	return own ? &lh_engine_cpu : &lh_engine_table;
}
