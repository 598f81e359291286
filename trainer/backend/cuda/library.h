/* library.h - NVIDIA's libraries, loaded when something of them is needed first. */
#ifndef BACKEND_CUDA_LIBRARY_H
#define BACKEND_CUDA_LIBRARY_H

#include <cublasLt.h>

/* Each function is called through a pointer of its own type, by its own name without the prefix. */
#define LH_LT_FUNCTIONS(F)                                                                                             \
	F(cublasLtCreate) F(cublasLtDestroy) F(cublasLtGetVersion) F(cublasLtGetStatusString)                          \
	F(cublasLtMatmulDescCreate) F(cublasLtMatmulDescDestroy) F(cublasLtMatmulDescSetAttribute)                     \
	F(cublasLtMatrixLayoutCreate) F(cublasLtMatrixLayoutDestroy) F(cublasLtMatrixLayoutSetAttribute)               \
	F(cublasLtMatmulPreferenceCreate) F(cublasLtMatmulPreferenceDestroy) F(cublasLtMatmulPreferenceSetAttribute)   \
	F(cublasLtMatmulAlgoGetHeuristic) F(cublasLtMatmul)

#define LH_LIBRARY_POINTER(name) __typeof__(&name) name##_;

struct lh_lt {
	void *library;
	LH_LT_FUNCTIONS(LH_LIBRARY_POINTER)
};

struct lh_err;
/* names: sonames, newest first; ends with NULL. functions: `count` names and where their addresses go, one after the other
 * in memory. Exit 3 with the loader's own words for the first name. *ret_library stays open for the process's life. */
int lh_library_open(const char *what, const char *const *names, const char *const *functions, size_t count, void **at,
		    void **ret_library, struct lh_err *err);

int lh_lt_open(struct lh_lt *lt, struct lh_err *err);

#endif
