/* A plugin that plays a GPU on the cpu backend, so that engine cuda runs from end to end without one: everything of the program
 * around a device, nothing of a device. Memory is closed to the host except within the backend's own calls, so whoever follows
 * a device's pointer dies. FAKE_GPU (a test's, so the environment may be read) says what breaks:
 *
 *     driver       there is no device          memory=BYTES   no more than so many bytes
 *     lost=N       from the N-th operation on  update         updates on the device, too
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/cpu/blas.h"
#include "backend/plugin.h"
#include "optim/optimizer.h"

enum { BLOCKS = 64 };

static struct block {
	void *at;
	size_t bytes;
} blocks[BLOCKS];
static size_t taken;
static unsigned long operations;

static const char *option(const char *name)
{
	const char *given = getenv("FAKE_GPU");
	const char *at = given ? strstr(given, name) : NULL;
	return at ? at + strlen(name) : NULL;
}

static void shut(bool closed)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		if (blocks[i].at)
			mprotect(blocks[i].at, blocks[i].bytes, closed ? PROT_NONE : PROT_READ | PROT_WRITE);
}

static int lost(struct lh_err *err)
{
	const char *after = option("lost=");
	if (!after || operations < strtoul(after, NULL, 10))
		return 0;
	return lh_err_set(err, LH_EXIT_BROKE, -EIO, "GPU 0 (fake): lost: unspecified launch failure");
}

static int fake_probe(unsigned *ret_devices, struct lh_err *err)
{
	if (option("driver"))
		return lh_err_set(err, LH_EXIT_MACHINE, -ENODEV, "engine cuda: no NVIDIA driver on this machine: fake");
	*ret_devices = 1;
	return 0;
}

static int fake_open(const struct lh_backend_config *config, struct lh_backend **ret, struct lh_err *err)
{
	if (config && config->device)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENODEV, "engine cuda: no GPU %u: this machine has 1", config->device);
	lh_blas_open(); /* the plugin's own copy */
	*ret = (struct lh_backend *)&operations; /* not NULL */
	return 0;
}

static void fake_close(struct lh_backend *b) { }

static int fake_alloc(struct lh_backend *b, size_t bytes, void **ret, struct lh_err *err)
{
	const char *most = option("memory=");
	const size_t rounded = (bytes / 4096 + 1) * 4096;
	if (most && taken + rounded > strtoul(most, NULL, 10))
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOMEM, "GPU 0 (fake): %.2f GB of memory: out of memory",
				  (double)bytes / 1e9);
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (blocks[i].at)
			continue;
		void *p = mmap(NULL, rounded, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			break;
		blocks[i] = (struct block){ p, rounded };
		taken += rounded;
		*ret = p;
		return 0;
	}
	return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "fake");
}

static void fake_release(struct lh_backend *b, void *memory)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		if (memory && blocks[i].at == memory) {
			munmap(memory, blocks[i].bytes);
			taken -= blocks[i].bytes;
			blocks[i] = (struct block){ NULL, 0 };
		}
}

static int copy(void *to, const void *from, size_t bytes, struct lh_err *err)
{
	int rc = lost(err);
	if (rc || !bytes)
		return rc;
	shut(false);
	memcpy(to, from, bytes);
	shut(true);
	return 0;
}

static int fake_put(struct lh_backend *b, void *device, const void *host, size_t bytes, struct lh_err *err)
{
	return copy(device, host, bytes, err);
}
static int fake_get(struct lh_backend *b, void *host, const void *device, size_t bytes, struct lh_err *err)
{
	return copy(host, device, bytes, err);
}
static int fake_put_reals(struct lh_backend *b, void *device, const void *host, size_t count, struct lh_err *err)
{
	return copy(device, host, count * sizeof(float), err);
}
static int fake_get_reals(struct lh_backend *b, void *host, const void *device, size_t count, struct lh_err *err)
{
	return copy(host, device, count * sizeof(float), err);
}

static int fake_zero(struct lh_backend *b, void *device, size_t bytes, struct lh_err *err)
{
	int rc = lost(err);
	shut(false);
	if (!rc && bytes)
		memset(device, 0, bytes);
	shut(true);
	return rc;
}

static int fake_wait(struct lh_backend *b, struct lh_err *err) { return lost(err); }

static int run(const struct lh_op_run *r, bool forward, struct lh_err *err)
{
	const struct lh_backend_op *op = lh_backend_cpu.op[r->node->op];
	operations++;
	int rc = lost(err);
	if (rc)
		return rc;
	shut(false);
	rc = forward ? op->forward(NULL, r, err) : op->backward(NULL, r, err);
	shut(true);
	return rc;
}
static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err) { return run(r, true, err); }
static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err) { return run(r, false, err); }

/* --- updates on the device --- */

struct lh_backend_optim {
	struct lh_optim_tensor *tensors;
	size_t n;
};

static int fake_optim_open(struct lh_backend *b, const struct lh_optim *o, const struct lh_optim_tensor *tensors,
			   size_t ntensors, struct lh_backend_optim **ret, struct lh_err *err)
{
	struct lh_backend_optim *u = calloc(1, sizeof *u);
	if (!u || !(u->tensors = calloc(ntensors, sizeof *u->tensors))) {
		free(u);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "fake");
	}
	memcpy(u->tensors, tensors, ntensors * sizeof *tensors);
	u->n = ntensors;
	*ret = u;
	return 0;
}

static void fake_optim_close(struct lh_backend *b, struct lh_backend_optim *u)
{
	if (!u)
		return;
	free(u->tensors);
	free(u);
}

static int fake_optim_square_sum(struct lh_backend *b, const void *vector, size_t n, double *ret, struct lh_err *err)
{
	int rc = lost(err);
	shut(false);
	*ret = rc ? 0 : lh_optim_square_sum(n, vector);
	shut(true);
	return rc;
}

static int fake_optim_step(struct lh_backend *b, struct lh_backend_optim *u, const struct lh_optim_step *step, void *params,
			   const void *grads, void *moments, size_t stride, struct lh_err *err)
{
	int rc = lost(err);
	shut(false);
	for (size_t i = 0; i < u->n && !rc; i++)
		if (!u->tensors[i].frozen)
			lh_optim_apply(step, u->tensors[i].decay, u->tensors[i].count, (float *)params + u->tensors[i].offset,
				       (const float *)grads + u->tensors[i].offset, (float *)moments + u->tensors[i].offset,
				       stride);
	shut(true);
	return rc;
}

static struct lh_backend_op table[LH_OP_COUNT];
static struct lh_backend_ops ops = {
	.name = "cuda", .activation_bytes = sizeof(float), .element_bytes = sizeof(float), .fixed_bytes = 4096,
	.open = fake_open, .close = fake_close, .alloc = fake_alloc, .release = fake_release, .put = fake_put, .get = fake_get,
	.zero = fake_zero, .put_reals = fake_put_reals, .get_reals = fake_get_reals, .wait = fake_wait,
};

extern const struct lh_backend_plugin lh_backend_plugin;
__attribute__((visibility("default"))) const struct lh_backend_plugin lh_backend_plugin = {
	.version = LH_VERSION, .sizes = LH_BACKEND_PLUGIN_SIZES, .built_for = "nothing: a test's", .probe = fake_probe,
	.ops = { &ops, &ops, &ops },
};

__attribute__((constructor)) static void fill(void)
{
	for (unsigned i = 0; i < LH_OP_COUNT; i++) {
		table[i] = *lh_backend_cpu.op[i];
		table[i].forward = forward;
		table[i].backward = backward;
		ops.op[i] = &table[i];
	}
	if (!option("update"))
		return;
	ops.optim_open = fake_optim_open;
	ops.optim_close = fake_optim_close;
	ops.optim_square_sum = fake_optim_square_sum;
	ops.optim_step = fake_optim_step;
}
