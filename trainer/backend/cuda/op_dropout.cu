/* Dropout, element by element, and stochastic depth, sample by sample: the choices of the cpu backend. Keys of samples are
 * arguments of the kernel, so many samples are several launches. */
#include <math.h>

#include "backend/cuda/kernel.h"
#include "backend/random.h"

struct lh_choice lh_choice_of(const struct lh_node *node)
{
	struct lh_choice c;
	c.threshold = static_cast<uint64_t>(ceil(ldexp(node->p, 53)));
	c.keep = static_cast<float>(1 / (1 - node->p));
	return c;
}

struct lh_keys lh_keys_of(const struct lh_op_run *r, size_t first, size_t n)
{
	struct lh_keys k = {};
	for (size_t i = 0; i < n; i++)
		k.of[i] = lh_random_key(r, first + i);
	return k;
}

namespace
{
/* Grid: (blocks of a sample, samples). count: elements of a sample. */
template <typename T, int V, bool SAMPLE>
__global__ void drop(size_t count, const __grid_constant__ struct lh_keys keys, struct lh_choice choice, const T *from,
		     T *to, bool add)
{
	const uint64_t key = keys.of[blockIdx.y];
	const size_t base = blockIdx.y * count, step = static_cast<size_t>(gridDim.x) * blockDim.x * V;
	const float all = SAMPLE ? choice.factor(key, 0) : 1;
	for (size_t i = (static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x) * V; i < count; i += step) {
		float v[V];
		lh_load<V>(from + base + i, v);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[k] *= SAMPLE ? all : choice.factor(key, i + k);
		lh_put<V>(to + base + i, add, v);
	}
}

template <typename T, bool SAMPLE>
int apply(struct lh_backend *b, const struct lh_op_run *r, const void *source, void *target, bool add, struct lh_err *err)
{
	constexpr int v = lh_vector_of<T>();
	const char *what = SAMPLE ? "drop_path" : "dropout";
	const T *from = static_cast<const T *>(source);
	T *to = static_cast<T *>(target);
	const size_t count = lh_shape_count(r->node->y);
	const bool vector = lh_aligned<T>(v, count, from, to);
	if (!r->training || !(r->node->p > 0))
		return lh_run_copy<T, T>(b, err, what, r->n * count, {from, to, add});
	int rc = 0;
	for (size_t first = 0; first < r->n && !rc; first += LH_KEYS_MAX) {
		const size_t n = r->n - first < LH_KEYS_MAX ? r->n - first : LH_KEYS_MAX;
		lh_grid g = lh_grid_over(b, count, vector ? v : 1, LH_MAP_THREADS);
		g.blocks.y = static_cast<unsigned>(n);
		rc = lh_launch(b, err, what, g, vector ? drop<T, v, SAMPLE> : drop<T, 1, SAMPLE>, count,
			       lh_keys_of(r, first, n), lh_choice_of(r->node), from + first * count, to + first * count, add);
	}
	return rc;
}

template <typename T> int element_forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	return apply<T, false>(b, r, r->x[0], r->y, false, err);
}
template <typename T> int element_backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	return r->dx[0] ? apply<T, false>(b, r, r->dy, r->dx[0], r->dx_add[0], err) : 0;
}
template <typename T> int sample_forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	return apply<T, true>(b, r, r->x[0], r->y, false, err);
}
template <typename T> int sample_backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	return r->dx[0] ? apply<T, true>(b, r, r->dy, r->dx[0], r->dx_add[0], err) : 0;
}
} // namespace

LH_CUDA_TABLE(dropout, NULL, NULL, element_forward, element_backward);
LH_CUDA_TABLE(drop_path, NULL, NULL, sample_forward, sample_backward);
