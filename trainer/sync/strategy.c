#include "strategy.h"

const struct lh_strategy_ops *lh_strategy_find(enum lh_strategy_kind kind)
{
	switch (kind) {
	case LH_STRATEGY_EXACT: return &lh_strategy_exact;
	case LH_STRATEGY_ETA: return &lh_strategy_eta;
	case LH_STRATEGY_DELAYED: return &lh_strategy_delayed;
	case LH_STRATEGY_LOCAL_SGD: return &lh_strategy_local_sgd;
	case LH_STRATEGY_DILOCO: return &lh_strategy_diloco;
	case LH_STRATEGY_STREAMING_DILOCO: return &lh_strategy_streaming_diloco;
	case LH_STRATEGY_ASYNC: return &lh_strategy_async;
	}
	return NULL;
}
