/* columns.h - sums over the rows of [rows][c], in an order that follows from the shape and from whether vectors fit: threads sum few rows in
 * float, a block sums its threads and a second launch the blocks, both in double. No atomics.
 *
 * F: f.at<V>(row, column, v) gives K numbers for each of V columns: v[k][i].
 * G: g(column, sums) does with the K sums of a column what it likes. */
#ifndef BACKEND_CUDA_COLUMNS_H
#define BACKEND_CUDA_COLUMNS_H

#include "backend/cuda/kernel.h"

/* Blocks of rows: few enough that the second launch is short, each long enough to be worth a block. */
constexpr size_t LH_COLUMNS_BLOCKS_MAX = 256, LH_COLUMNS_ROWS_MIN = 64;

struct lh_columns_cut {
	size_t blocks, rows; /* rows of each */
};
static inline struct lh_columns_cut lh_columns_cut_of(size_t rows)
{
	size_t n = (rows + LH_COLUMNS_ROWS_MIN - 1) / LH_COLUMNS_ROWS_MIN;
	n = n < 1 ? 1 : n > LH_COLUMNS_BLOCKS_MAX ? LH_COLUMNS_BLOCKS_MAX : n;
	struct lh_columns_cut cut = {0, (rows + n - 1) / n};
	cut.blocks = cut.rows ? (rows + cut.rows - 1) / cut.rows : 0;
	return cut;
}
static inline size_t lh_columns_scratch(unsigned k, size_t rows, size_t c)
{
	return lh_columns_cut_of(rows).blocks * k * c * sizeof(double);
}

/* The block's threads of one column are added, in order. Column i of lane x is first + x V + i. */
template <int K, int V>
LH_DEVICE void lh_columns_block(float (&sum)[K][V], double *partial, size_t c, size_t first)
{
	LH_SHARED(float, part, LH_COLUMN_THREADS * K * V);
	const unsigned own = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
	for (int k = 0; k < K; k++)
#pragma unroll
		for (int i = 0; i < V; i++)
			part[(k * V + i) * LH_COLUMN_THREADS + own] = sum[k][i];
	__syncthreads();
	for (unsigned e = own; e < K * V * blockDim.x; e += LH_COLUMN_THREADS) {
		const unsigned lane = e % blockDim.x, which = e / blockDim.x;
		const size_t column = first + lane * V + which % V;
		double total = 0;
		for (unsigned y = 0; y < blockDim.y; y++)
			total += static_cast<double>(part[which * LH_COLUMN_THREADS + y * blockDim.x + lane]);
		if (column < c)
			partial[which / V * c + column] = total;
	}
}

/* partial [blocks][K][c] */
template <int K, int V, typename F>
static __global__ void lh_columns_first(size_t rows, size_t c, size_t rows_of_block, const F f, double *partial)
{
	const size_t tile = static_cast<size_t>(blockIdx.x) * blockDim.x * V, j = tile + threadIdx.x * V;
	const size_t first = blockIdx.y * rows_of_block;
	const size_t last = rows - first < rows_of_block ? rows : first + rows_of_block;
	float sum[K][V] = {};
#pragma unroll 4
	for (size_t i = first + threadIdx.y; i < last; i += blockDim.y) {
		float v[K][V];
		if (j >= c)
			break;
		f.template at<V>(i, j, v);
#pragma unroll
		for (int k = 0; k < K; k++)
#pragma unroll
			for (int a = 0; a < V; a++)
				sum[k][a] += v[k][a];
	}
	lh_columns_block<K, V>(sum, partial + static_cast<size_t>(blockIdx.y) * K * c, c, tile);
}

template <int K, typename G> static __global__ void lh_columns_second(size_t blocks, size_t c, const double *partial, const G g)
{
	LH_SHARED(double, part, LH_COLUMN_ROWS * LH_COLUMN_LANES * K);
	const size_t j = static_cast<size_t>(blockIdx.x) * LH_COLUMN_LANES + threadIdx.x;
#pragma unroll
	for (int k = 0; k < K; k++) {
		double sum = 0;
		for (size_t i = threadIdx.y; i < blocks && j < c; i += LH_COLUMN_ROWS)
			sum += partial[(i * K + static_cast<size_t>(k)) * c + j];
		part[(k * LH_COLUMN_ROWS + static_cast<int>(threadIdx.y)) * LH_COLUMN_LANES + static_cast<int>(threadIdx.x)] =
		    sum;
	}
	__syncthreads();
	if (threadIdx.y || j >= c)
		return;
	double sums[K];
#pragma unroll
	for (int k = 0; k < K; k++) {
		sums[k] = 0;
		for (int y = 0; y < LH_COLUMN_ROWS; y++)
			sums[k] += part[(k * LH_COLUMN_ROWS + y) * LH_COLUMN_LANES + static_cast<int>(threadIdx.x)];
	}
	g(j, sums);
}

template <int K, int V, typename F>
static int lh_columns_launch(struct lh_backend *b, struct lh_err *err, const char *what, size_t rows, size_t c, const F &f,
			     double *partial)
{
	const struct lh_columns_cut cut = lh_columns_cut_of(rows);
	lh_grid g = {};
	g.blocks = dim3(static_cast<unsigned>(lh_column_tiles(c, V)), static_cast<unsigned>(cut.blocks));
	g.threads = lh_column_block(c, V);
	return lh_launch(b, err, what, g, lh_columns_first<K, V, F>, rows, c, cut.rows, f, partial);
}

/* scratch: lh_columns_scratch(K, rows, c) bytes. vector: what f touches is aligned for vectors of T. */
template <typename T, int K, typename F, typename G>
static int lh_columns(struct lh_backend *b, struct lh_err *err, const char *what, size_t rows, size_t c, bool vector,
		      const F &f, const G &finish, void *scratch)
{
	double *partial = static_cast<double *>(scratch);
	const int rc = vector ? lh_columns_launch<K, lh_vector_of<T>()>(b, err, what, rows, c, f, partial)
			      : lh_columns_launch<K, 1>(b, err, what, rows, c, f, partial);
	if (rc)
		return rc;
	lh_grid g = {};
	g.blocks = dim3(static_cast<unsigned>((c + LH_COLUMN_LANES - 1) / LH_COLUMN_LANES));
	g.threads = dim3(LH_COLUMN_LANES, LH_COLUMN_ROWS);
	return lh_launch(b, err, what, g, lh_columns_second<K, G>, lh_columns_cut_of(rows).blocks, c,
			 static_cast<const double *>(partial), finish);
}

/* G: to[k][column] += the k-th sum; NULL: nothing. */
template <int K> struct lh_add_to {
	float *to[K];
	LH_MEMBER void operator()(size_t j, const double (&sums)[K]) const
	{
#pragma unroll
		for (int k = 0; k < K; k++)
			if (to[k])
				to[k][j] += static_cast<float>(sums[k]);
	}
};

/* F of a norm's gains and shifts: dy z and dy, z = (x - mean) rstd; those two are a row's or a column's. */
template <typename T, bool OF_ROW> struct lh_norm_sums {
	const T *x, *dy;
	const float *mean, *rstd;
	size_t c;
	template <int V> LH_MEMBER void at(size_t row, size_t j, float (&v)[2][V]) const
	{
		lh_load<V>(x + row * c + j, v[0]);
		lh_load<V>(dy + row * c + j, v[1]);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[0][k] = v[1][k] * (v[0][k] - mean[OF_ROW ? row : j + k]) * rstd[OF_ROW ? row : j + k];
	}
};

#endif
