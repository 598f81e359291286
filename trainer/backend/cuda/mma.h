/* mma.h - products of small matrices by a warp: the tensor cores' 16 x 8 += 16 x 16 times 16 x 8, two-byte types, sums in
 * float (compute capability 8.0 on: lh_cuda.tensor_cores).
 *
 * Lane 4 g + t holds, of each matrix, in words of two neighbours (lower half first):
 *
 *     a  16 x 16, rows are neighbours     a[0] row g, columns 2 t    a[1] row g + 8    a[2], a[3] the same, columns 8 + 2 t
 *     b  16 x 8, columns are neighbours   b[0] rows 2 t, column g    b[1] rows 8 + 2 t
 *     d  16 x 8, in float                 d[0], d[1] row g, columns 2 t and 2 t + 1    d[2], d[3] row g + 8
 *
 * So two neighbouring d, rounded, are an a: products follow each other without a way through memory. On the host the same is
 * done from the lanes' words by the definition. */
#ifndef BACKEND_CUDA_MMA_H
#define BACKEND_CUDA_MMA_H

#include "backend/cuda/kernel.h"

template <typename T> LH_DEVICE uint32_t lh_pair(float low, float high)
{
	T low_part, high_part;
	uint16_t bits[2];
	lh_round(low, &low_part);
	lh_round(high, &high_part);
	memcpy(&bits[0], &low_part, sizeof bits[0]);
	memcpy(&bits[1], &high_part, sizeof bits[1]);
	return bits[0] | static_cast<uint32_t>(bits[1]) << 16;
}

template <typename T> LH_DEVICE float lh_of_pair(uint32_t word, unsigned high)
{
	const uint16_t bits = static_cast<uint16_t>(word >> (16 * high));
	T v;
	memcpy(&v, &bits, sizeof v);
	return lh_float(v);
}

/* Sixteen bytes at once; i is a multiple of 4. */
LH_DEVICE void lh_shared_put(LH_SHARED_OF(uint32_t) to, size_t i, uint4 v)
{
#ifdef __CUDACC__
	*reinterpret_cast<uint4 *>(to + i) = v;
#else
	to[i] = v.x;
	to[i + 1] = v.y;
	to[i + 2] = v.z;
	to[i + 3] = v.w;
#endif
}

/* Four matrices of 8 x 8: lane 8 m + i says where row i of matrix m begins (four words; at is a multiple of 4). Word m of
 * lane 4 g + t: row g, columns 2 t and 2 t + 1; TURNED: column g, rows 2 t and 2 t + 1. */
template <typename T, bool TURNED> LH_DEVICE void lh_matrices(LH_SHARED_OF(uint32_t) from, size_t at, uint32_t (&word)[4])
{
#ifdef __CUDACC__
	const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(from + at));
	if (TURNED)
		asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
			     : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
			     : "r"(address)
			     : "memory");
	else
		asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
			     : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
			     : "r"(address)
			     : "memory");
#else
	const unsigned lane = simt::lane(), g = lane / 4, t = lane % 4;
	const uint64_t *row = simt::collect(at);
	size_t first[4][2];
	for (unsigned m = 0; m < 4; m++)
		for (unsigned k = 0; k < 2; k++)
			first[m][k] = row[8 * m + (TURNED ? 2 * t + k : g)];
	for (unsigned m = 0; m < 4; m++) {
		if (first[m][0] % 4)
			simt::fail("a row of a matrix is not at a multiple of 16 bytes");
		if (TURNED) {
			const uint32_t low = from[first[m][0] + g / 2], high = from[first[m][1] + g / 2];
			word[m] = (low >> (16 * (g % 2)) & 0xffffu) | (high >> (16 * (g % 2)) & 0xffffu) << 16;
		} else {
			word[m] = from[first[m][0] + t];
		}
	}
#endif
}

#ifdef __CUDACC__
#define LH_MMA(types)                                                                                                  \
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." types ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "  \
		     "{%0, %1, %2, %3};"                                                                               \
		     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                  \
		     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
template <typename T> LH_DEVICE void lh_mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
	if (lh_precision_of<T>::value == LH_PRECISION_BF16)
		LH_MMA("bf16.bf16");
	else
		LH_MMA("f16.f16");
#else
	__trap(); /* the host asks lh_cuda.tensor_cores first */
#endif
}
#else
template <typename T> LH_DEVICE void lh_mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
	const uint64_t mine[3] = {a[0] | static_cast<uint64_t>(a[1]) << 32, a[2] | static_cast<uint64_t>(a[3]) << 32,
				  b0 | static_cast<uint64_t>(b1) << 32};
	const unsigned lane = simt::lane(), g = lane / 4, t = lane % 4;
	uint32_t of[simt::WARP][6];
	for (unsigned i = 0; i < 3; i++) {
		const uint64_t *all = simt::collect(mine[i]);
		for (unsigned k = 0; k < simt::WARP; k++) {
			of[k][2 * i] = static_cast<uint32_t>(all[k]);
			of[k][2 * i + 1] = static_cast<uint32_t>(all[k] >> 32);
		}
	}
	for (unsigned e = 0; e < 4; e++)
		for (unsigned k = 0; k < 16; k++) {
			const unsigned column = 2 * t + e % 2, at = k % 8 / 2;
			d[e] += lh_of_pair<T>(of[4 * g + at][e / 2 + k / 8 * 2], k % 2) *
				lh_of_pair<T>(of[4 * column + at][4 + k / 8], k % 2);
		}
}
#endif

#endif
