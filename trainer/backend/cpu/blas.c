/* The matrix product of the cpu backend: OpenBLAS where it is installed, else our own.
 *
 * OpenBLAS chooses its kernels when it is loaded, by a table of CPU models; a virtual CPU that the table does not know
 * gets kernels of 2004, several times slower. So the choice is made here, from the instructions that the CPU has, and
 * the library is loaded only then: dlopen, not the linker. That also makes it optional at run time without a second
 * build. The environment is the only way to tell it; a value that the user has set stays, except in User-Mode Linux,
 * which loses the state of 512-bit registers (docs/decisions/0006-user-mode-linux.md). */
#include "backend/cpu/blas.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
typedef void sgemm_fn(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
		      const float *b, int ldb, float beta, float *c, int ldc);

static sgemm_fn *loaded, *in_use;
static char choice[128], why[96];

static bool in_user_mode_linux(void)
{
	char line[256];
	bool found = false;
	FILE *f = fopen("/proc/cpuinfo", "re");
	while (f && !found && fgets(line, sizeof line, f))
		found = !strncmp(line, "vendor_id", 9) && strstr(line, "User Mode Linux");
	if (f)
		fclose(f);
	return found;
}

/* The newest of OpenBLAS's kernels that this CPU can run, and what speaks for it; NULL: leave it to the library. */
static const char *core_type(bool narrow, const char **ret_why)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	*ret_why = "the CPU has avx512f, avx512dq, avx512bw, avx512vl";
	if (!narrow && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
		return "SKYLAKEX";
	*ret_why = narrow ? "in User-Mode Linux 256 bits at most" : "the CPU has avx2 and fma";
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return "HASWELL";
	*ret_why = "the CPU has avx";
	if (__builtin_cpu_supports("avx"))
		return "SANDYBRIDGE";
	*ret_why = "the CPU has sse4.2";
	if (__builtin_cpu_supports("sse4.2"))
		return "NEHALEM";
#endif
	*ret_why = "the library's choice";
	return NULL;
}

static void load(void)
{
	const bool narrow = in_user_mode_linux();
	const char *reason, *core = core_type(narrow, &reason);
	const bool set = getenv("OPENBLAS_CORETYPE") != NULL;
	if (core)
		setenv("OPENBLAS_CORETYPE", core, narrow);
	snprintf(why, sizeof why, "%s", set && !narrow ? "OPENBLAS_CORETYPE was set" : reason);
	setenv("OPENBLAS_NUM_THREADS", "1", 1);
	void *lib = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		const char *text = dlerror();
		snprintf(choice, sizeof choice, "own (%.100s)", text ? text : "libopenblas.so.0 cannot be loaded");
		snprintf(why, sizeof why, "no OpenBLAS");
		return;
	}
	char *(*get_config)(void) = (char *(*)(void))dlsym(lib, "openblas_get_config");
	char *(*get_core)(void) = (char *(*)(void))dlsym(lib, "openblas_get_corename");
	void (*set_threads)(int) = (void (*)(int))dlsym(lib, "openblas_set_num_threads");
	loaded = (sgemm_fn *)dlsym(lib, "cblas_sgemm");
	if (!loaded || !get_config || !get_core || strncmp(get_config(), "OpenBLAS ", 9)) {
		snprintf(choice, sizeof choice, "own (libopenblas.so.0 is not OpenBLAS)");
		snprintf(why, sizeof why, "no OpenBLAS");
		loaded = NULL;
		dlclose(lib);
		return;
	}
	if (set_threads)
		set_threads(1);
	const char *config = get_config();
	snprintf(choice, sizeof choice, "OpenBLAS %.*s %s", (int)strcspn(config + 9, " "), config + 9, get_core());
}

const char *lh_blas_open(void)
{
	if (sizeof(real) != sizeof(float))
		return "own (double)";
	if (!*choice)
		load();
	in_use = loaded;
	return choice;
}

const char *lh_blas_why(void) { return why; }

void lh_blas_own(void) { in_use = NULL; }

/* Our product wants b plain: panels of a transposed b are turned on the stack, PANEL_K rows of the sum at a time. */
enum { PANEL_K = 64, PANEL_N = 32 };

static void own_transposed(bool ta, size_t m, size_t n, size_t k, const real *a, size_t lda, const real *b, size_t ldb,
			   real *c, size_t ldc, bool add)
{
	real panel[PANEL_K * PANEL_N];
	for (size_t j = 0; j < n; j += PANEL_N) {
		const size_t nb = n - j < PANEL_N ? n - j : PANEL_N;
		for (size_t p = 0; p < k; p += PANEL_K) {
			const size_t kb = k - p < PANEL_K ? k - p : PANEL_K;
			lh_op_transpose(nb, kb, b + j * ldb + p, ldb, panel);
			lh_op_gemm(m, nb, kb, a + (ta ? p * lda : p), ta ? 1 : lda, ta ? lda : 1, panel, nb, c + j, ldc,
				   add || p);
		}
	}
}

void lh_gemm(bool ta, bool tb, size_t m, size_t n, size_t k, const real *a, size_t lda, const real *b, size_t ldb,
	     real *c, size_t ldc, bool add)
{
	if (!m || !n || !k)
		return;
#ifndef LH_REAL_DOUBLE
	if (in_use && m <= INT_MAX && n <= INT_MAX && k <= INT_MAX && lda <= INT_MAX && ldb <= INT_MAX &&
	    ldc <= INT_MAX) {
		in_use(ROW_MAJOR, ta ? TRANSPOSED : PLAIN, tb ? TRANSPOSED : PLAIN, (int)m, (int)n, (int)k, 1, a,
		       (int)lda, b, (int)ldb, add ? 1 : 0, c, (int)ldc);
		return;
	}
#endif
	if (tb)
		own_transposed(ta, m, n, k, a, lda, b, ldb, c, ldc, add);
	else
		lh_op_gemm(m, n, k, a, ta ? 1 : lda, ta ? lda : 1, b, ldb, c, ldc, add);
}
