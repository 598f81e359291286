#include "strategy.h"

const struct lh_strategy_ops *lh_strategy_find(enum lh_strategy_kind kind)
{
	switch (kind) {
	case LH_STRATEGY_EXACT: return &lh_strategy_exact;
	default: return NULL;
	}
}
