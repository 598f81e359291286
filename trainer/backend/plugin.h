/* plugin.h - a backend in a shared object that longhaul-peer loads when it is asked for: trainer/backend/cuda.
 *
 * It exports one symbol, struct lh_backend_plugin named LH_BACKEND_PLUGIN_SYMBOL. Program and plugin are built from one tree and
 * trust each other's structures; version and sizes say whether that is so.
 */
#ifndef BACKEND_PLUGIN_H
#define BACKEND_PLUGIN_H

#include "backend/backend.h"

#define LH_BACKEND_PLUGIN_SYMBOL "lh_backend_plugin"

struct lh_backend_plugin {
	char version[32];                        /* of longhaul */
	uint32_t sizes[4];                       /* LH_BACKEND_PLUGIN_SIZES of the build */
	char built_for[96];                      /* "sm_75 ... sm_90, PTX 9.0": what it has code for */
	/* Is there a device for it? Exit 3 with the reason. */
	int (*probe)(unsigned *ret_devices, struct lh_err *err);
	const struct lh_backend_ops *ops[LH_PRECISIONS];
};
#define LH_BACKEND_PLUGIN_SIZES                                                                                        \
	{ sizeof(struct lh_node), sizeof(struct lh_op_run), sizeof(struct lh_backend_ops), LH_OP_COUNT }

/* Load it once in a process's life: from `directory` if that is not NULL, else from beside the running program (or where a build
 * directory has it), else from where longhaul was installed. Exit 3 where it is not there or of another build. */
int lh_backend_plugin_load(const char *directory, const struct lh_backend_plugin **ret, struct lh_err *err);

/* The backend of an engine ("cpu", "cuda") in a precision, loaded if need be. Exit 2 for what no build has, exit 3 with the
 * reason for what this machine has not. */
int lh_backend_find(const char *engine, enum lh_precision precision, const struct lh_backend_ops **ret,
		    struct lh_err *err);

#endif
