/* A whole update on the device: optim/optimizer.c, formula by formula, on chunks of tensors, so that a model of four hundred
 * tensors is one launch (LAMB: three). */
#include "backend/cuda/optimizer.h"
#include "backend/cuda/rows.h"

namespace
{
enum { THREADS = 256 };

struct moments {
	float m, v;
};
LH_DEVICE moments moments_of(const struct lh_optim_step &s, float grad, float m, float v)
{
	const float g = grad * s.scale;
	return {s.b1 * m + s.c1 * g, s.b2 * v + s.c2 * g * g};
}

__global__ void sgd(const struct lh_optim_step s, const struct lh_cuda_chunk *chunks, float *params, const float *grads,
		    float *state)
{
	const struct lh_cuda_chunk c = chunks[blockIdx.x];
	const float d = c.decay ? s.decay : 0;
	for (size_t k = threadIdx.x; k < c.count; k += THREADS) {
		const size_t i = c.offset + k;
		float g = grads[i] * s.scale + d * params[i];
		if (s.momentum > 0) {
			const float u = s.momentum * state[i] + g;
			state[i] = u;
			g = s.nesterov ? g + s.momentum * u : u;
		}
		params[i] -= s.rate * g;
	}
}

__global__ void adamw(const struct lh_optim_step s, const struct lh_cuda_chunk *chunks, float *params, const float *grads,
		      float *m, float *v)
{
	const struct lh_cuda_chunk c = chunks[blockIdx.x];
	const float keep = c.decay ? s.keep : 1;
	for (size_t k = threadIdx.x; k < c.count; k += THREADS) {
		const size_t i = c.offset + k;
		const moments n = moments_of(s, grads[i], m[i], v[i]);
		m[i] = n.m;
		v[i] = n.v;
		params[i] = keep * params[i] - s.step * n.m / (sqrtf(n.v * s.unbias2) + s.epsilon);
	}
}

LH_DEVICE float direction(const struct lh_optim_step &s, float d, float p, float m, float v)
{
	return s.step * m / (sqrtf(v * s.unbias2) + s.epsilon) + d * p;
}

/* The block's sums of both, in a fixed order. */
LH_DEVICE void two_sums(double a, double b, double *to)
{
	LH_SHARED(double, of_warp, 2 * THREADS / LH_WARP);
#pragma unroll
	for (int d = LH_WARP / 2; d; d /= 2) {
		a += __shfl_xor_sync(0xffffffffu, a, d);
		b += __shfl_xor_sync(0xffffffffu, b, d);
	}
	if (threadIdx.x % LH_WARP == 0) {
		of_warp[2 * (threadIdx.x / LH_WARP)] = a;
		of_warp[2 * (threadIdx.x / LH_WARP) + 1] = b;
	}
	__syncthreads();
	if (threadIdx.x < 2) {
		double sum = 0;
		for (unsigned i = 0; i < THREADS / LH_WARP; i++)
			sum += of_warp[2 * i + threadIdx.x];
		to[threadIdx.x] = sum;
	}
}

/* Moments; of each chunk the squares of p and of its direction. */
__global__ void lamb_moments(const struct lh_optim_step s, const struct lh_cuda_chunk *chunks, const float *params,
			     const float *grads, float *m, float *v, double *sums)
{
	const struct lh_cuda_chunk c = chunks[blockIdx.x];
	const float d = c.decay ? s.decay : 0;
	double length = 0, size = 0;
	for (size_t k = threadIdx.x; k < c.count; k += THREADS) {
		const size_t i = c.offset + k;
		const moments n = moments_of(s, grads[i], m[i], v[i]);
		m[i] = n.m;
		v[i] = n.v;
		const float p = params[i], u = direction(s, d, p, n.m, n.v);
		length += static_cast<double>(p) * static_cast<double>(p);
		size += static_cast<double>(u) * static_cast<double>(u);
	}
	two_sums(length, size, sums + 2 * static_cast<size_t>(blockIdx.x));
}

/* A block for each chunk that begins a tensor: the tensor's ratio goes to all its chunks. */
__global__ void lamb_ratio(const struct lh_cuda_chunk *chunks, const double *sums, float *ratio)
{
	const struct lh_cuda_chunk c = chunks[blockIdx.x];
	if (!c.chunks)
		return; /* all of the block alike */
	double a = 0, b = 0;
	for (unsigned i = threadIdx.x; i < c.chunks; i += LH_WARP) {
		a += sums[2 * (static_cast<size_t>(blockIdx.x) + i)];
		b += sums[2 * (static_cast<size_t>(blockIdx.x) + i) + 1];
	}
#pragma unroll
	for (int d = LH_WARP / 2; d; d /= 2) {
		a += __shfl_xor_sync(0xffffffffu, a, d);
		b += __shfl_xor_sync(0xffffffffu, b, d);
	}
	const double length = sqrt(a), size = sqrt(b);
	const float trust = c.decay && length > 0 && size > 0 ? static_cast<float>(length / size) : 1;
	for (unsigned i = threadIdx.x; i < c.chunks; i += LH_WARP)
		ratio[blockIdx.x + i] = trust;
}

__global__ void lamb_apply(const struct lh_optim_step s, const struct lh_cuda_chunk *chunks, float *params, const float *m,
			   const float *v, const float *ratio)
{
	const struct lh_cuda_chunk c = chunks[blockIdx.x];
	const float d = c.decay ? s.decay : 0, rate = s.rate * ratio[blockIdx.x];
	for (size_t k = threadIdx.x; k < c.count; k += THREADS) {
		const size_t i = c.offset + k;
		params[i] -= rate * direction(s, d, params[i], m[i], v[i]);
	}
}
} // namespace

size_t lh_cuda_optim_chunks(const struct lh_optim_tensor *tensors, size_t ntensors, struct lh_cuda_chunk *chunks)
{
	size_t n = 0;
	for (size_t t = 0; t < ntensors; t++) {
		const size_t count = tensors[t].frozen ? 0 : tensors[t].count;
		const size_t of_tensor = (count + LH_CUDA_CHUNK - 1) / LH_CUDA_CHUNK;
		for (size_t i = 0; i < of_tensor; i++, n++) {
			if (!chunks)
				continue;
			const size_t left = count - i * LH_CUDA_CHUNK;
			chunks[n].offset = tensors[t].offset + i * LH_CUDA_CHUNK;
			chunks[n].count = static_cast<uint32_t>(left < LH_CUDA_CHUNK ? left : LH_CUDA_CHUNK);
			chunks[n].chunks = i ? 0 : static_cast<uint32_t>(of_tensor);
			chunks[n].decay = tensors[t].decay;
		}
	}
	return n;
}

size_t lh_cuda_optim_scratch(const struct lh_optim *o, size_t nchunks)
{
	return o->kind == LH_OPTIMIZER_LAMB ? nchunks * (2 * sizeof(double) + sizeof(float)) : 0;
}

int lh_cuda_optim_step(struct lh_backend *b, const struct lh_optim_step *s, const struct lh_cuda_chunk *chunks,
		       size_t nchunks, float *params, const float *grads, float *state, size_t stride, void *scratch,
		       struct lh_err *err)
{
	double *sums = static_cast<double *>(scratch);
	float *ratio = reinterpret_cast<float *>(sums + 2 * nchunks), *v = state ? state + stride : NULL;
	lh_grid g = {};
	g.blocks = dim3(static_cast<unsigned>(nchunks));
	g.threads = dim3(THREADS);
	if (s->kind == LH_OPTIMIZER_SGD)
		return lh_launch(b, err, "sgd", g, sgd, *s, chunks, params, grads, state);
	if (s->kind == LH_OPTIMIZER_ADAMW)
		return lh_launch(b, err, "adamw", g, adamw, *s, chunks, params, grads, state, v);
	int rc = lh_launch(b, err, "lamb", g, lamb_moments, *s, chunks, params, grads, state, v, sums);
	if (rc)
		return rc;
	lh_grid a_warp = g;
	a_warp.threads = dim3(LH_WARP);
	rc = lh_launch(b, err, "lamb", a_warp, lamb_ratio, chunks, sums, ratio);
	return rc ? rc : lh_launch(b, err, "lamb", g, lamb_apply, *s, chunks, params, state, v, ratio);
}
