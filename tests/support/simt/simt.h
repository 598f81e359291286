/* simt.h - a small CUDA on the host, for tests: the .cu files of the CUDA backend compile with it as plain C++17 and run
 * thread by thread. It is no simulation of a GPU; it is there to show what is wrong with a kernel.
 *
 * Theory of operation
 *   A launch runs its blocks one after the other, in a random order. A block's threads are fibres (ucontext) on one thread
 *   of the host; a fibre runs until it meets a barrier, a warp's operation or its end, then the next is drawn at random
 *   from a seeded stream among those that can go on. So every result that needs an order which no barrier gives
 *   differs between seeds, and what is read before it was written shows.
 *   Shared memory is reached through shared_array, which knows for each element who wrote and read it since which
 *   barrier: two threads, one of them writing, without a barrier in between, are a race whatever order they ran in;
 *   so are reads of what nobody wrote, and indices out of range.
 *   Memory of the device (lh_simt_alloc) ends where a page that cannot be touched begins, and begins after one; the few
 *   bytes of alignment are checked after each launch. It is filled with NaN where it is not asked to be zero.
 *   A barrier that not all threads of the block reach, a warp's operation that not all lanes of its mask reach, and
 *   a block over the device's limits are errors. An error ends the launch: run() returns -1 and error() says what, which
 *   block and which thread.
 *
 * What it cannot show: the memory model (fibres are sequentially consistent: a missing fence between blocks is not seen),
 * races in global memory save by differing results, time, occupancy, and what nvcc makes of the code.
 */
#ifndef SIMT_H
#define SIMT_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "simt_half.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
	unsigned x, y, z;
	constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace simt
{
enum { WARP = 32, THREADS_MAX = 1024, SHARED_MAX = 48 * 1024, GRID_YZ_MAX = 65535 };

/* What the code of a thread sees of itself. */
struct thread {
	dim3 thread_index, block_index, block_size, grid_size;
	unsigned number;      /* in its block */
	unsigned warp_epoch;  /* __syncwarp passed */
};
extern thread *self;
extern unsigned block_epoch; /* __syncthreads passed by the block at hand */

/* 0, or -1: see error(). Seeds of the order: lh_simt_seed. */
int run(dim3 blocks, dim3 threads, size_t shared, const char *what, const std::function<void()> &body);
const char *error();
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2))); /* from within a kernel */

void sync_threads();
enum class exchange { sync, shuffle, ballot, collect };
uint64_t warp(exchange kind, unsigned mask, uint64_t value, unsigned source);
/* What each lane of the whole warp gave; stays until its lanes meet in the next collect. No barrier for memory. */
const uint64_t *collect(uint64_t mine);

/* Who touched an element of shared memory last. */
struct access {
	uint16_t writer, reader; /* + 1; 0: nobody */
	bool lanes, warps;       /* read by several lanes since their __syncwarp, by several warps since __syncthreads */
	unsigned write_block, write_warp, read_block, read_warp;
};
void on_read(access *a, const char *name, size_t i);
void on_write(access *a, const char *name, size_t i);

struct shared_block {
	void *data;
	access *seen;
	size_t count;
	const char *name;
};
/* The block's array of this key, made by the first thread that comes. */
shared_block *shared(const void *key, const char *name, size_t size, size_t count, bool dynamic);

template <typename T> struct shared_ref {
	T *at;
	access *seen;
	const char *name;
	size_t i;
	operator T() const
	{
		on_read(seen, name, i);
		return *at;
	}
	T operator=(T v) const
	{
		on_write(seen, name, i);
		return *at = v;
	}
	T operator=(const shared_ref &o) const { return *this = static_cast<T>(o); }
	T operator+=(T v) const { return *this = static_cast<T>(*this) + v; }
	T operator*=(T v) const { return *this = static_cast<T>(*this) * v; }
};

template <typename T> struct shared_array {
	const shared_block *block;
	shared_ref<T> operator[](size_t i) const
	{
		if (i >= block->count)
			fail("%s[%zu] is out of range (%zu elements)", block->name, i, block->count);
		return {static_cast<T *>(block->data) + i, block->seen + i, block->name, i};
	}
};

template <typename T> uint64_t bits_of(T v)
{
	static_assert(sizeof(T) <= 8, "a lane gives at most eight bytes");
	uint64_t u = 0;
	memcpy(&u, &v, sizeof v);
	return u;
}
template <typename T> T of_bits(uint64_t u)
{
	T v;
	memcpy(&v, &u, sizeof v);
	return v;
}
static inline unsigned lane() { return self->number % WARP; }
} // namespace simt

#define LH_SIMT_SHARED(type, name, n)                                                                                  \
	static const char name##_key = 0;                                                                              \
	const simt::shared_array<type> name = {simt::shared(&name##_key, #name, sizeof(type), n, false)}
#define LH_SIMT_SHARED_DYNAMIC(type, name, n)                                                                          \
	static const char name##_key = 0;                                                                              \
	const simt::shared_array<type> name = {simt::shared(&name##_key, #name, sizeof(type), n, true)}

#define threadIdx (simt::self->thread_index)
#define blockIdx (simt::self->block_index)
#define blockDim (simt::self->block_size)
#define gridDim (simt::self->grid_size)

static inline void __syncthreads() { simt::sync_threads(); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) { simt::warp(simt::exchange::sync, mask, 0, 0); }
static inline unsigned __ballot_sync(unsigned mask, int predicate)
{
	return static_cast<unsigned>(simt::warp(simt::exchange::ballot, mask, predicate != 0, 0));
}
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }
template <typename T> T __shfl_sync(unsigned mask, T v, int source)
{
	return simt::of_bits<T>(
	    simt::warp(simt::exchange::shuffle, mask, simt::bits_of(v), static_cast<unsigned>(source) % simt::WARP));
}
template <typename T> T __shfl_xor_sync(unsigned mask, T v, int with)
{
	return __shfl_sync(mask, v, static_cast<int>(simt::lane() ^ static_cast<unsigned>(with)));
}
template <typename T> T __shfl_down_sync(unsigned mask, T v, unsigned by)
{
	const unsigned from = simt::lane() + by;
	return __shfl_sync(mask, v, static_cast<int>(from < simt::WARP ? from : simt::lane()));
}
template <typename T> T __shfl_up_sync(unsigned mask, T v, unsigned by)
{
	return __shfl_sync(mask, v, static_cast<int>(simt::lane() < by ? simt::lane() : simt::lane() - by));
}

/* One thread of the host runs them all. */
template <typename T> T atomicAdd(T *at, T v)
{
	const T old = *at;
	*at = old + v;
	return old;
}
template <typename T> T atomicMax(T *at, T v)
{
	const T old = *at;
	*at = old > v ? old : v;
	return old;
}
template <typename T> T atomicMin(T *at, T v)
{
	const T old = *at;
	*at = old < v ? old : v;
	return old;
}

/* Built-in types and functions that the kernels use. */
struct __align__(16) uint4 {
	unsigned x, y, z, w;
};
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }

extern "C" {
/* Device memory between guard pages; zero or NaN. */
void *lh_simt_alloc(size_t bytes, bool zero);
void lh_simt_free(void *p);
void lh_simt_seed(uint64_t seed);
}

/* The runtime's calls, at once. */
typedef int cudaError_t;
typedef struct CUstream_st *cudaStream_t;
enum { cudaSuccess = 0, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
static inline cudaError_t cudaMalloc(void **ret, size_t bytes)
{
	*ret = lh_simt_alloc(bytes, false);
	return *ret ? cudaSuccess : cudaErrorMemoryAllocation;
}
static inline cudaError_t cudaFree(void *p)
{
	lh_simt_free(p);
	return cudaSuccess;
}
static inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t)
{
	if (bytes)
		memmove(to, from, bytes);
	return cudaSuccess;
}
static inline cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t)
{
	if (bytes)
		memset(p, value, bytes);
	return cudaSuccess;
}
static inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
static inline const char *cudaGetErrorString(cudaError_t rc) { return rc ? "out of memory" : "no error"; }

#endif
