/* Batch norm over samples and pixels; what it calculates is said in backend/cpu/op_batchnorm.c. The statistics take one
 * pass: sums of x - x0 and of its square, x0 the column's first value, so that little cancels whatever the mean. */
#include "backend/cuda/columns.h"

namespace
{
/* state: mean [c], 1 / deviation [c] */
size_t state(const struct lh_node *node, size_t) { return 2 * node->y.c * sizeof(float); }
/* Of the sums; in front of them what backward takes off: dshift / rows [c], dgain / rows [c]. */
size_t front(size_t c) { return (2 * c * sizeof(float) + 15) / 16 * 16; }
size_t scratch(const struct lh_node *node, size_t n)
{
	return front(node->y.c) + lh_columns_scratch(2, n * lh_shape_rows(node->y), node->y.c);
}

template <typename T> struct moments {
	const T *x;
	size_t c;
	template <int V> LH_MEMBER void at(size_t row, size_t j, float (&v)[2][V]) const
	{
		float origin[V];
		lh_load<V>(x + j, origin);
		lh_load<V>(x + row * c + j, v[0]);
#pragma unroll
		for (int k = 0; k < V; k++) {
			v[0][k] -= origin[k];
			v[1][k] = v[0][k] * v[0][k];
		}
	}
};

template <typename T> struct statistics {
	const T *x;
	double rows, epsilon, momentum;
	float *mean, *rstd, *running_mean, *running_var;
	LH_MEMBER void operator()(size_t j, const double (&sums)[2]) const
	{
		const double off = sums[0] / rows, square = sums[1] - sums[0] * off; /* around the mean */
		const double m = static_cast<double>(lh_float(x[j])) + off, around = square > 0 ? square : 0;
		const double unbiased = (square != square ? square : around) / (rows > 1 ? rows - 1 : 1);
		mean[j] = static_cast<float>(m);
		rstd[j] = static_cast<float>(1 / sqrt((square != square ? square : around) / rows + epsilon));
		running_mean[j] = static_cast<float>((1 - momentum) * static_cast<double>(running_mean[j]) + momentum * m);
		running_var[j] =
		    static_cast<float>((1 - momentum) * static_cast<double>(running_var[j]) + momentum * unbiased);
	}
};

__global__ void running(size_t c, double epsilon, const float *mean, const float *var, float *own_mean, float *rstd)
{
	const size_t j = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
	if (j < c) {
		own_mean[j] = mean[j];
		rstd[j] = static_cast<float>(1 / sqrt(static_cast<double>(var[j]) + epsilon));
	}
}

/* dshift = sum dy, dgain = sum dy z with z = (x - mean) rstd */
struct finish_back {
	float *dgain, *dshift, *gain_share, *shift_share;
	double rows;
	LH_MEMBER void operator()(size_t j, const double (&sums)[2]) const
	{
		if (dgain)
			dgain[j] += static_cast<float>(sums[0]);
		if (dshift)
			dshift[j] += static_cast<float>(sums[1]);
		gain_share[j] = static_cast<float>(sums[0] / rows);
		shift_share[j] = static_cast<float>(sums[1] / rows);
	}
};

template <int V> struct column_back {
	float mean[V], rstd[V], factor[V], gain_share[V], shift_share[V];
};

/* dx = gain rstd (dy - dshift / rows - z dgain / rows) */
template <typename T> struct input_back {
	const T *x, *dy;
	const float *mean, *rstd, *gain, *gain_share, *shift_share;
	T *dx;
	bool add;
	size_t c;
	template <int V> LH_MEMBER column_back<V> begin(size_t j) const
	{
		column_back<V> g;
#pragma unroll
		for (int k = 0; k < V; k++) {
			g.mean[k] = mean[j + k];
			g.rstd[k] = rstd[j + k];
			g.factor[k] = rstd[j + k] * gain[j + k];
			g.gain_share[k] = gain_share[j + k];
			g.shift_share[k] = shift_share[j + k];
		}
		return g;
	}
	template <int V> LH_MEMBER void at(const column_back<V> &g, size_t row, size_t j) const
	{
		float v[V], d[V];
		lh_load<V>(x + row * c + j, v);
		lh_load<V>(dy + row * c + j, d);
#pragma unroll
		for (int k = 0; k < V; k++) {
			const float z = (v[k] - g.mean[k]) * g.rstd[k];
			d[k] = g.factor[k] * (d[k] - g.shift_share[k] - z * g.gain_share[k]);
		}
		lh_put<V>(dx + row * c + j, add, d);
	}
};

template <typename T>
int take_statistics(struct lh_backend *b, const struct lh_op_run *r, size_t rows, float *mean, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t c = node->y.c;
	const T *x = static_cast<const T *>(r->x[0]);
	float *running_mean = static_cast<float *>(r->buffer[0]), *running_var = static_cast<float *>(r->buffer[1]);
	if (!r->training) {
		lh_grid g = {};
		g.blocks = dim3(static_cast<unsigned>((c + LH_MAP_THREADS - 1) / LH_MAP_THREADS));
		g.threads = dim3(LH_MAP_THREADS);
		return lh_launch(b, err, "batchnorm", g, running, c, node->epsilon, running_mean, running_var, mean, mean + c);
	}
	const moments<T> f = {x, c};
	const statistics<T> s = {x,	   static_cast<double>(rows), node->epsilon, node->momentum, mean,
				 mean + c, running_mean,	      running_var};
	return lh_columns<T, 2>(b, err, "batchnorm", rows, c, lh_aligned<T>(lh_vector_of<T>(), c, x), f, s,
			     static_cast<char *>(r->scratch) + front(c));
}

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	float *mean = static_cast<float *>(r->state);
	const int rc = take_statistics<T>(b, r, rows, mean, err);
	return rc ? rc
		  : lh_run_affine<T>(b, err, "batchnorm", rows,
				     {static_cast<const T *>(r->x[0]), mean, mean + c, static_cast<const float *>(r->param[0]),
				      static_cast<const float *>(r->param[1]), static_cast<T *>(r->y), false, c});
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const float *mean = static_cast<const float *>(r->state);
	float *share = static_cast<float *>(r->scratch);
	const lh_norm_sums<T, false> f = {static_cast<const T *>(r->x[0]), static_cast<const T *>(r->dy), mean, mean + c, c};
	const finish_back g = {static_cast<float *>(r->dparam[0]), static_cast<float *>(r->dparam[1]), share, share + c,
			       static_cast<double>(rows)};
	const int rc = lh_columns<T, 2>(b, err, "batchnorm", rows, c, lh_aligned<T>(lh_vector_of<T>(), c, f.x, f.dy), f, g,
				     static_cast<char *>(r->scratch) + front(c));
	if (rc || !r->dx[0])
		return rc;
	const input_back<T> h = {f.x, f.dy, mean, mean + c, static_cast<const float *>(r->param[0]), share, share + c,
				 static_cast<T *>(r->dx[0]), r->dx_add[0], c};
	return lh_column_map<T>(b, err, "batchnorm", rows, c, lh_aligned<T>(lh_vector_of<T>(), c, h.x, h.dy, h.dx), h);
}
} // namespace

LH_CUDA_TABLE(batchnorm, state, scratch, forward, backward);
