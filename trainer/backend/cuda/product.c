/* What stands behind product.h on a GPU: both libraries, each opened by whoever calls it first. */
#include "backend/cuda/product_state.h"

#include <errno.h>
#include <stdlib.h>

int lh_product_open(struct lh_backend *b, struct lh_err *err)
{
	b->product = calloc(1, sizeof *b->product);
	return b->product ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "engine cuda");
}

void lh_product_close(struct lh_backend *b)
{
	if (!b->product)
		return;
	lh_product_lt_close(b->product);
	lh_product_cudnn_close(b->product);
	free(b->product);
	b->product = NULL;
}
