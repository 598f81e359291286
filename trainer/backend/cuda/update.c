/* Updates on the device: the table of chunks is made once, the numbers of each update come from the host. */
#include <errno.h>
#include <stdlib.h>

#include "backend/cuda/device.h"
#include "backend/cuda/optimizer.h"

struct lh_backend_optim {
	struct lh_cuda_chunk *chunks; /* of the device */
	void *scratch;                /* of the device */
	size_t nchunks;
};

int lh_cuda_update_open(struct lh_backend *b, const struct lh_optim *o, const struct lh_optim_tensor *tensors,
			size_t ntensors, struct lh_backend_optim **ret, struct lh_err *err)
{
	struct lh_backend_optim *u = calloc(1, sizeof *u);
	const size_t n = lh_cuda_optim_chunks(tensors, ntensors, NULL);
	struct lh_cuda_chunk *chunks = malloc((n + 1) * sizeof *chunks);
	int rc = u && chunks ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "engine cuda: the optimiser");
	if (!rc) {
		u->nchunks = n;
		lh_cuda_optim_chunks(tensors, ntensors, chunks);
		rc = lh_cuda_alloc(b, n * sizeof *chunks, (void **)&u->chunks, err);
	}
	if (!rc)
		rc = lh_cuda_put(b, u->chunks, chunks, n * sizeof *chunks, err);
	if (!rc)
		rc = lh_cuda_alloc(b, lh_cuda_optim_scratch(o, n), &u->scratch, err);
	free(chunks);
	if (rc) {
		lh_cuda_update_close(b, u);
		return rc;
	}
	*ret = u;
	return 0;
}

void lh_cuda_update_close(struct lh_backend *b, struct lh_backend_optim *u)
{
	if (!u)
		return;
	lh_cuda_release(b, u->chunks);
	lh_cuda_release(b, u->scratch);
	free(u);
}

/* In the workspace: no product is under way that is not over before this begins. */
int lh_cuda_update_square_sum(struct lh_backend *b, const void *vector, size_t n, double *ret, struct lh_err *err)
{
	double *sum = b->workspace;
	if (lh_cuda_sum_scratch(n) + 256 > b->workspace_bytes)
		return lh_err_set(err, LH_EXIT_BROKE, -ENOSPC, "GPU: the workspace is too small for a sum");
	int rc = lh_cuda_sum_squares(b, n, vector, sum, (char *)b->workspace + 256, err);
	return rc ? rc : lh_cuda_get(b, ret, sum, sizeof *ret, err);
}

int lh_cuda_update_step(struct lh_backend *b, struct lh_backend_optim *u, const struct lh_optim_step *step,
			void *params, const void *grads, void *moments, size_t stride, struct lh_err *err)
{
	return lh_cuda_optim_step(b, step, u->chunks, u->nchunks, params, grads, moments, stride, u->scratch, err);
}
