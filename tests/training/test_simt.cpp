/* The emulator itself: kernels with a bug that is known must be caught, and their sound twins must not. */
#include <cstdio>
#include <cstring>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include "lhtest.h"
}
#include "simt.h"

namespace
{
enum { N = 64 };

/* Runs it under several orders; "" if every one is well, else the first error. */
template <typename F> std::string run(unsigned blocks, unsigned threads, size_t shared, F kernel)
{
	for (unsigned seed = 0; seed < 20; seed++) {
		lh_simt_seed(lh_test_seed() + seed);
		if (simt::run(dim3(blocks), dim3(threads), shared, "test", kernel))
			return simt::error();
	}
	return "";
}

void expect(const std::string &error, const char *words)
{
	if (*words ? error.find(words) == std::string::npos : !error.empty())
		printf("# \"%s\" does not say \"%s\"\n", error.c_str(), words);
	CU_ASSERT_TRUE(*words ? error.find(words) != std::string::npos : error.empty());
}

/* Each thread writes its element and reads its neighbour's. */
void reverse(bool barrier, int *out)
{
	LH_SIMT_SHARED(int, s, N);
	s[threadIdx.x] = static_cast<int>(threadIdx.x);
	if (barrier)
		__syncthreads();
	out[threadIdx.x] = s[N - 1 - threadIdx.x];
}

void test_missing_barrier()
{
	int out[N];
	expect(run(1, N, 0, [&] { reverse(true, out); }), "");
	CU_ASSERT_EQUAL(out[0], N - 1);
	const std::string error = run(1, N, 0, [&] { reverse(false, out); });
	CU_ASSERT_TRUE(error.find("race") != std::string::npos || error.find("never written") != std::string::npos);
}

/* The barrier before an array is written again, which results seldom show. */
void twice(bool barrier, int *out)
{
	LH_SIMT_SHARED(int, s, N);
	for (int round = 0; round < 2; round++) {
		s[threadIdx.x] = static_cast<int>(threadIdx.x) + round;
		__syncthreads();
		out[threadIdx.x] = s[(threadIdx.x + 1) % N];
		if (barrier)
			__syncthreads();
	}
}
void test_second_barrier()
{
	int out[N];
	expect(run(1, N, 0, [&] { twice(true, out); }), "");
	expect(run(1, N, 0, [&] { twice(false, out); }), "race");
}

void test_write_race()
{
	expect(run(1, N, 0, [] {
		       LH_SIMT_SHARED(int, s, N);
		       s[threadIdx.x / 2] = 1;
	       }),
	       "race");
}

/* Within a warp __syncwarp is enough; between warps it is not. */
void by_warp(unsigned distance, int *out)
{
	LH_SIMT_SHARED(int, s, N);
	s[threadIdx.x] = static_cast<int>(threadIdx.x);
	__syncwarp();
	out[threadIdx.x] = s[threadIdx.x ^ distance];
}
void test_warps()
{
	int out[N];
	expect(run(1, N, 0, [&] { by_warp(1, out); }), "");
	const std::string error = run(1, N, 0, [&] { by_warp(32, out); });
	CU_ASSERT_TRUE(error.find("race") != std::string::npos || error.find("never written") != std::string::npos);
}

void test_divergent_barrier()
{
	expect(run(1, N, 0, [] {
		       if (threadIdx.x < 40)
			       __syncthreads();
	       }),
	       "barrier which not all threads reach");
	expect(run(1, N, 0, [] {
		       if (threadIdx.x < 40)
			       __syncwarp();
	       }),
	       "not all lanes");
	expect(run(1, N, 0, [] {
		       if (threadIdx.x % 2)
			       __syncwarp();
		       else
			       __shfl_sync(0xffffffffu, 1, 0);
	       }),
	       "different operations");
	expect(run(1, N, 0, [] {
		       if (threadIdx.x < 32)
			       __shfl_sync(1u, 1, 0);
	       }),
	       "not in the mask");
}

void test_shared_range()
{
	expect(run(1, N, 0, [] {
		       LH_SIMT_SHARED(int, s, N);
		       s[threadIdx.x + 1] = 0;
	       }),
	       "out of range");
	expect(run(1, N, 64, [] {
		       LH_SIMT_SHARED_DYNAMIC(int, s, N);
		       s[threadIdx.x] = 0;
	       }),
	       "the launch gives 64");
	expect(run(1, N, 0, [] {
		       LH_SIMT_SHARED(double, s, 10000);
		       s[threadIdx.x] = 0;
	       }),
	       "bytes of shared memory");
}

void test_unwritten()
{
	int out[N];
	expect(run(1, N, 0, [&] {
		       LH_SIMT_SHARED(int, s, N);
		       if (threadIdx.x)
			       s[threadIdx.x] = 1;
		       __syncthreads();
		       out[threadIdx.x] = s[threadIdx.x];
	       }),
	       "never written");
}

/* What a kernel writes to global memory in an order that nothing gives differs from seed to seed. */
void test_global_race()
{
	unsigned seen = 0;
	for (unsigned seed = 0; seed < 40; seed++) {
		int last = -1;
		lh_simt_seed(seed);
		CU_ASSERT_EQUAL_FATAL(simt::run(dim3(2), dim3(32), 0, "test", [&] { last = static_cast<int>(blockIdx.x); }), 0);
		seen |= 1u << last;
	}
	CU_ASSERT_EQUAL(seen, 3);
}

/* Dies by a signal, in a child? */
template <typename F> bool dies(F f)
{
	fflush(NULL);
	const pid_t pid = fork();
	if (!pid) {
		if (!freopen("/dev/null", "w", stderr))
			_exit(0);
		f();
		_exit(0);
	}
	int status = 0;
	CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) || WEXITSTATUS(status);
}

void test_global_range()
{
	float *p = static_cast<float *>(lh_simt_alloc(5 * sizeof(float), true));
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	volatile float sink = 0;
	CU_ASSERT_FALSE(dies([&] { sink = p[4]; }));
	CU_ASSERT_TRUE(dies([&] { run(1, 32, 0, [&] { sink = p[8]; }); })); /* read behind the aligned end */
	CU_ASSERT_TRUE(dies([&] { run(1, 32, 0, [&] { p[-1100] = 0; }); }));
	/* In the few bytes of alignment: found after the launch. */
	expect(run(1, 32, 0, [&] { p[5] = 0; }), "behind 20 bytes");
	lh_simt_free(p);
	float *fresh = static_cast<float *>(lh_simt_alloc(sizeof(float), false));
	CU_ASSERT_TRUE(std::isnan(*fresh));
	lh_simt_free(fresh);
}

void test_warp_operations()
{
	int sum[N], up[N], down[N], one[N];
	unsigned odd[N];
	expect(run(1, N, 0, [&] {
		       const unsigned t = threadIdx.x;
		       int v = static_cast<int>(t);
		       for (int d = 16; d; d /= 2)
			       v += __shfl_xor_sync(0xffffffffu, v, d);
		       sum[t] = v;
		       up[t] = __shfl_up_sync(0xffffffffu, static_cast<int>(t), 1);
		       down[t] = __shfl_down_sync(0xffffffffu, static_cast<int>(t), 2);
		       one[t] = static_cast<int>(__shfl_sync(0xffffffffu, static_cast<double>(t), 5));
		       odd[t] = __ballot_sync(0xffffffffu, t % 2);
	       }),
	       "");
	CU_ASSERT_EQUAL(sum[3], 496);
	CU_ASSERT_EQUAL(sum[40], 496 + 1024);
	CU_ASSERT_EQUAL(up[0], 0);
	CU_ASSERT_EQUAL(up[33], 32);
	CU_ASSERT_EQUAL(down[29], 31);
	CU_ASSERT_EQUAL(down[31], 31);
	CU_ASSERT_EQUAL(one[40], 37);
	CU_ASSERT_EQUAL(odd[7], 0xaaaaaaaau);
}

void test_grid()
{
	int seen[3 * 2 * 64] = {};
	CU_ASSERT_EQUAL(simt::run(dim3(3, 2), dim3(16, 4), 0, "test", [&] {
		seen[(blockIdx.y * gridDim.x + blockIdx.x) * 64 + threadIdx.y * blockDim.x + threadIdx.x]++;
	}), 0);
	for (int n : seen)
		CU_ASSERT_EQUAL(n, 1);
	CU_ASSERT_NOT_EQUAL(simt::run(dim3(1), dim3(2048), 0, "test", [] {}), 0);
	CU_ASSERT_NOT_EQUAL(simt::run(dim3(1, 70000), dim3(32), 0, "test", [] {}), 0);
	int count = 0;
	CU_ASSERT_EQUAL(simt::run(dim3(4), dim3(32), 0, "test", [&] { atomicAdd(&count, 1); }), 0);
	CU_ASSERT_EQUAL(count, 128);
}
} // namespace

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{"missing_barrier", test_missing_barrier, 0}, {"second_barrier", test_second_barrier, 0},
		{"write_race", test_write_race, 0},	      {"warps", test_warps, 0},
		{"divergent_barrier", test_divergent_barrier, 0},
		{"shared_range", test_shared_range, 0},	      {"unwritten", test_unwritten, 0},
		{"global_race", test_global_race, 0},	      {"global_range", test_global_range, 0},
		{"warp_operations", test_warp_operations, 0}, {"grid", test_grid, 0},
	};
	return lh_test_main(argc, argv, "simt", tests, sizeof tests / sizeof *tests);
}
