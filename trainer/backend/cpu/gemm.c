/* Matrix product, transposition, and the linear layer made of them.
 *
 * The product is computed in tiles of 4 rows by 2 vectors that stay in registers over the whole sum. Strips of b
 * (k x 2 vectors) are reused for all rows while they are in the first-level cache, which is all the blocking that
 * models of this size need. Edges use the same order of summation, so a value does not depend on where in the
 * matrix it lies. */
#include "backend/cpu/vec.h"

enum { TILE_ROWS = 4, STRIP = 2 * LANES };

LH_INLINE void tile4(size_t k, const real *a, size_t a_row, size_t a_col, const real *b, size_t ldb, real *c,
		     size_t ldc, bool add)
{
	vreal acc[TILE_ROWS][2] = { 0 };
	if (add)
		for (int i = 0; i < TILE_ROWS; i++)
			for (int j = 0; j < 2; j++)
				acc[i][j] = *(const vreal *)(c + (size_t)i * ldc + (size_t)j * LANES);
	for (size_t p = 0; p < k; p++, a += a_col, b += ldb) {
		const vreal b0 = *(const vreal *)b, b1 = *(const vreal *)(b + LANES);
#pragma GCC unroll 4
		for (int i = 0; i < TILE_ROWS; i++) {
			acc[i][0] += a[(size_t)i * a_row] * b0;
			acc[i][1] += a[(size_t)i * a_row] * b1;
		}
	}
	for (int i = 0; i < TILE_ROWS; i++)
		for (int j = 0; j < 2; j++)
			*(vreal *)(c + (size_t)i * ldc + (size_t)j * LANES) = acc[i][j];
}

LH_INLINE void tile1(size_t k, const real *a, size_t a_col, const real *b, size_t ldb, real *c, bool add)
{
	vreal acc0 = { 0 }, acc1 = { 0 };
	if (add) {
		acc0 = *(const vreal *)c;
		acc1 = *(const vreal *)(c + LANES);
	}
	for (size_t p = 0; p < k; p++, a += a_col, b += ldb) {
		acc0 += *a * *(const vreal *)b;
		acc1 += *a * *(const vreal *)(b + LANES);
	}
	*(vreal *)c = acc0;
	*(vreal *)(c + LANES) = acc1;
}

void lh_op_gemm(size_t m, size_t n, size_t k, const real *a, size_t a_row, size_t a_col, const real *b,
			  size_t ldb, real *c, size_t ldc, bool add)
{
	size_t j = 0;
	for (; j + STRIP <= n; j += STRIP) {
		size_t i = 0;
		for (; i + TILE_ROWS <= m; i += TILE_ROWS)
			tile4(k, a + i * a_row, a_row, a_col, b + j, ldb, c + i * ldc + j, ldc, add);
		for (; i < m; i++)
			tile1(k, a + i * a_row, a_col, b + j, ldb, c + i * ldc + j, add);
	}
	for (size_t i = 0; i < m && j < n; i++) {
		real acc[STRIP] = { 0 };
		for (size_t q = j; q < n && add; q++)
			acc[q - j] = c[i * ldc + q];
		for (size_t p = 0; p < k; p++)
			for (size_t q = j; q < n; q++)
				acc[q - j] += a[i * a_row + p * a_col] * b[p * ldb + q];
		for (size_t q = j; q < n; q++)
			c[i * ldc + q] = acc[q - j];
	}
}

void lh_op_transpose(size_t rows, size_t cols, const real *src, size_t ld, real *dst)
{
	for (size_t i = 0; i < rows; i++)
		for (size_t j = 0; j < cols; j++)
			dst[j * rows + i] = src[i * ld + j];
}

void lh_op_bias_forward(size_t rows, size_t cols, const real *b, real *y)
{
	for (size_t r = 0; r < rows; r++)
		for (size_t j = 0; j < cols; j++)
			y[r * cols + j] += b[j];
}

void lh_op_bias_backward(size_t rows, size_t cols, const real *dy, real *db)
{
	for (size_t r = 0; r < rows; r++)
		for (size_t j = 0; j < cols; j++)
			db[j] += dy[r * cols + j];
}

void lh_op_linear_forward(size_t rows, size_t in, size_t out, const real *x, const real *w, const real *b, real *y)
{
	lh_op_gemm(rows, out, in, x, in, 1, w, out, y, out, false);
	lh_op_bias_forward(rows, out, b, y);
}

void lh_op_linear_backward(size_t rows, size_t in, size_t out, const real *x, const real *w, const real *dy,
			   real *dx, real *dw, real *db, real *scratch)
{
	lh_op_gemm(in, out, rows, x, 1, in, dy, out, dw, out, true); /* dw += x' dy */
	lh_op_bias_backward(rows, out, dy, db);
	if (!dx)
		return;
	lh_op_transpose(in, out, w, out, scratch);
	lh_op_gemm(rows, in, out, dy, out, 1, scratch, in, dx, in, false); /* dx = dy w' */
}
