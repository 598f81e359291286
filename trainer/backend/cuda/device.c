/* A device, opened: its memory, its stream, and what crosses between it and the host.
 *
 * put and get go block by block through two pinned blocks: while one is on its way the other is filled or emptied. An
 * event behind each transfer says when its block may be touched again. Activations cross as fp32 and change their type on
 * the device, in a third block that lies there.
 *
 * CUDA's errors are sticky: after a fault every call fails with it. So nobody has to look after each launch; the next get
 * tells, and the peer ends with it. */
#include "backend/cuda/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/product.h"

enum { BLOCKS = 2, OLDEST_MAJOR = 7, OLDEST_MINOR = 5 };

struct lh_cuda_device {
	int number;
	char name[256];
	int major, minor;
	size_t memory;
	unsigned turn;                 /* block whose turn it is */
	void *block[BLOCKS];           /* pinned, of the host */
	cudaEvent_t done[BLOCKS];      /* the last transfer of that block */
	float *staged;                 /* on the device: fp32 on its way to or from another type */
};

int lh_cuda_check(struct lh_backend *b, cudaError_t rc, const char *what, struct lh_err *err)
{
	if (rc == cudaSuccess)
		return 0;
	return lh_err_set(err, LH_EXIT_BROKE, -EIO, "GPU %d (%s): %s: %s (%s)", b->device->number, b->device->name, what,
			  cudaGetErrorString(rc), cudaGetErrorName(rc));
}

/* ---- is there one ---- */

static int refuse(struct lh_err *err, cudaError_t rc, const char *why)
{
	return lh_err_set(err, LH_EXIT_MACHINE, -ENODEV, "engine cuda: %s: %s", why, cudaGetErrorString(rc));
}

int lh_cuda_probe(unsigned *ret_count, struct lh_err *err)
{
	int driver = 0, runtime = 0, count = 0;
	cudaDriverGetVersion(&driver);
	cudaRuntimeGetVersion(&runtime);
	const cudaError_t rc = cudaGetDeviceCount(&count);
	cudaGetLastError(); /* forget it: the next call must not repeat it */
	if (!driver && (rc != cudaSuccess || !count))
		return refuse(err, rc, "no NVIDIA driver on this machine");
	if (rc == cudaErrorInsufficientDriver)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENODEV,
				  "engine cuda: the NVIDIA driver is too old: it supports CUDA %d.%d and this build needs %d.%d: %s",
				  driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, cudaGetErrorString(rc));
	if (rc != cudaSuccess || !count)
		return refuse(err, rc == cudaSuccess ? cudaErrorNoDevice : rc, "no GPU that can be used");
	*ret_count = (unsigned)count;
	return 0;
}

static int describe(struct lh_backend *b, struct lh_err *err)
{
	struct lh_cuda_device *d = b->device;
	struct cudaDeviceProp p;
	cudaError_t rc = cudaGetDeviceProperties(&p, d->number);
	if (rc != cudaSuccess)
		return refuse(err, rc, "the GPU's properties");
	snprintf(d->name, sizeof d->name, "%s", p.name);
	d->major = p.major;
	d->minor = p.minor;
	d->memory = p.totalGlobalMem;
	b->cuda.processors = p.multiProcessorCount;
	b->cuda.tensor_cores = p.major >= 8;
	if (p.major < OLDEST_MAJOR || (p.major == OLDEST_MAJOR && p.minor < OLDEST_MINOR))
		return lh_err_set(err, LH_EXIT_MACHINE, -ENODEV,
				  "engine cuda: GPU %d (%s) has compute capability %d.%d; this build begins with %d.%d", d->number,
				  d->name, p.major, p.minor, OLDEST_MAJOR, OLDEST_MINOR);
	if (b->precision == LH_PRECISION_BF16 && p.major < 8)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENODEV,
				  "engine cuda: GPU %d (%s, compute capability %d.%d) has no bf16; use precision fp16", d->number,
				  d->name, p.major, p.minor);
	return 0;
}

/* ---- opening ---- */

static int open_stream(struct lh_backend *b, struct lh_err *err)
{
	struct lh_cuda_device *d = b->device;
	cudaStream_t stream;
	cudaError_t rc = cudaSetDevice(d->number);
	if (rc == cudaSuccess)
		rc = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
	if (rc != cudaSuccess)
		return refuse(err, rc, "open the GPU");
	b->cuda.stream = stream;
	for (unsigned i = 0; i < BLOCKS && rc == cudaSuccess; i++) {
		rc = cudaMallocHost(&d->block[i], LH_CUDA_BLOCK_BYTES);
		if (rc == cudaSuccess)
			rc = cudaEventCreateWithFlags(&d->done[i], cudaEventDisableTiming);
	}
	if (rc != cudaSuccess)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOMEM, "engine cuda: pinned memory of the host: %s",
				  cudaGetErrorString(rc));
	return 0;
}

int lh_cuda_open(enum lh_precision precision, const struct lh_backend_config *config, struct lh_backend **ret,
		 struct lh_err *err)
{
	const struct lh_backend_config none = { 0 };
	unsigned count = 0;
	int rc = lh_cuda_probe(&count, err);
	if (rc)
		return rc;
	config = config ? config : &none;
	if (config->device >= count)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENODEV, "engine cuda: no GPU %u: this machine has %u", config->device,
				  count);
	struct lh_backend *b = calloc(1, sizeof *b);
	if (!b || !(b->device = calloc(1, sizeof *b->device))) {
		free(b);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "engine cuda");
	}
	b->precision = precision;
	b->cuda.deterministic = config->deterministic;
	b->device->number = (int)config->device;
	rc = describe(b, err);
	if (!rc)
		rc = open_stream(b, err);
	if (!rc)
		rc = lh_cuda_alloc(b, LH_CUDA_WORKSPACE_BYTES, &b->workspace, err);
	if (!rc)
		rc = lh_cuda_alloc(b, LH_CUDA_BLOCK_BYTES, (void **)&b->device->staged, err);
	b->workspace_bytes = LH_CUDA_WORKSPACE_BYTES;
	if (!rc)
		rc = lh_product_open(b, err);
	if (rc) {
		lh_cuda_close(b);
		return rc;
	}
	*ret = b;
	return 0;
}

/* Nothing here is checked: a lost device says no to everything, and is closed all the same. */
void lh_cuda_close(struct lh_backend *b)
{
	if (!b)
		return;
	struct lh_cuda_device *d = b->device;
	if (b->cuda.stream)
		cudaStreamSynchronize(b->cuda.stream);
	lh_product_close(b);
	cudaFree(b->workspace);
	cudaFree(d->staged);
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (d->done[i])
			cudaEventDestroy(d->done[i]);
		if (d->block[i])
			cudaFreeHost(d->block[i]);
	}
	if (b->cuda.stream)
		cudaStreamDestroy(b->cuda.stream);
	free(d);
	free(b);
}

/* ---- memory ---- */

int lh_cuda_alloc(struct lh_backend *b, size_t bytes, void **ret, struct lh_err *err)
{
	void *p = NULL;
	size_t free_bytes = 0, total = 0;
	cudaError_t rc = cudaMalloc(&p, bytes ? bytes : 1);
	if (rc == cudaErrorMemoryAllocation) {
		cudaGetLastError(); /* not sticky */
		cudaMemGetInfo(&free_bytes, &total);
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOMEM,
				  "GPU %d (%s): %.2f GB of memory, of which %.2f of %.2f are free: %s; a smaller microbatch needs less",
				  b->device->number, b->device->name, (double)bytes / 1e9, (double)free_bytes / 1e9,
				  (double)total / 1e9, cudaGetErrorString(rc));
	}
	if (rc == cudaSuccess)
		rc = cudaMemsetAsync(p, 0, bytes ? bytes : 1, b->cuda.stream);
	if (rc != cudaSuccess) {
		cudaFree(p);
		return lh_cuda_check(b, rc, "allocate memory", err);
	}
	*ret = p;
	return 0;
}

int lh_cuda_memory(struct lh_backend *b, uint64_t *ret_free, uint64_t *ret_total, struct lh_err *err)
{
	size_t free_bytes = 0, total = 0;
	int rc = lh_cuda_check(b, cudaMemGetInfo(&free_bytes, &total), "ask for free memory", err);
	if (rc)
		return rc;
	*ret_free = free_bytes;
	*ret_total = total;
	return 0;
}

void lh_cuda_release(struct lh_backend *b, void *memory)
{
	cudaStreamSynchronize(b->cuda.stream);
	cudaFree(memory);
}

int lh_cuda_zero(struct lh_backend *b, void *device, size_t bytes, struct lh_err *err)
{
	return lh_cuda_check(b, cudaMemsetAsync(device, 0, bytes, b->cuda.stream), "clear memory", err);
}

int lh_cuda_wait(struct lh_backend *b, struct lh_err *err)
{
	return lh_cuda_check(b, cudaStreamSynchronize(b->cuda.stream), "wait", err);
}

/* ---- between host and device ---- */

/* The block whose turn it is, with its last transfer over. */
static int take_block(struct lh_backend *b, unsigned *ret, struct lh_err *err)
{
	struct lh_cuda_device *d = b->device;
	*ret = d->turn;
	d->turn = (d->turn + 1) % BLOCKS;
	return lh_cuda_check(b, cudaEventSynchronize(d->done[*ret]), "wait for a transfer", err);
}

static int to_device(struct lh_backend *b, void *to, const void *from, size_t bytes, struct lh_err *err)
{
	struct lh_cuda_device *d = b->device;
	unsigned i;
	int rc = take_block(b, &i, err);
	if (rc)
		return rc;
	memcpy(d->block[i], from, bytes);
	cudaError_t e = cudaMemcpyAsync(to, d->block[i], bytes, cudaMemcpyHostToDevice, b->cuda.stream);
	if (e == cudaSuccess)
		e = cudaEventRecord(d->done[i], b->cuda.stream);
	return lh_cuda_check(b, e, "copy to the GPU", err);
}

/* A transfer under way to the host; `bytes` 0: none. */
struct arrival {
	unsigned block;
	char *to;
	size_t bytes;
};

static int begin_arrival(struct lh_backend *b, const void *from, char *to, size_t bytes, struct arrival *a,
			 struct lh_err *err)
{
	struct lh_cuda_device *d = b->device;
	int rc = take_block(b, &a->block, err);
	if (rc)
		return rc;
	a->to = to;
	a->bytes = bytes;
	cudaError_t e = cudaMemcpyAsync(d->block[a->block], from, bytes, cudaMemcpyDeviceToHost, b->cuda.stream);
	if (e == cudaSuccess)
		e = cudaEventRecord(d->done[a->block], b->cuda.stream);
	return lh_cuda_check(b, e, "copy from the GPU", err);
}

static int end_arrival(struct lh_backend *b, struct arrival *a, struct lh_err *err)
{
	if (!a->bytes)
		return 0;
	int rc = lh_cuda_check(b, cudaEventSynchronize(b->device->done[a->block]), "copy from the GPU", err);
	if (!rc)
		memcpy(a->to, b->device->block[a->block], a->bytes);
	a->bytes = 0;
	return rc;
}

int lh_cuda_put(struct lh_backend *b, void *device, const void *host, size_t bytes, struct lh_err *err)
{
	int rc = 0;
	for (size_t at = 0, n; at < bytes && !rc; at += n) {
		n = bytes - at < LH_CUDA_BLOCK_BYTES ? bytes - at : LH_CUDA_BLOCK_BYTES;
		rc = to_device(b, (char *)device + at, (const char *)host + at, n, err);
	}
	return rc;
}

int lh_cuda_get(struct lh_backend *b, void *host, const void *device, size_t bytes, struct lh_err *err)
{
	struct arrival before = { 0 }, now = { 0 };
	int rc = 0;
	for (size_t at = 0, n; at < bytes && !rc; at += n) {
		n = bytes - at < LH_CUDA_BLOCK_BYTES ? bytes - at : LH_CUDA_BLOCK_BYTES;
		rc = begin_arrival(b, (const char *)device + at, (char *)host + at, n, &now, err);
		if (!rc)
			rc = end_arrival(b, &before, err);
		before = now;
	}
	return rc ? rc : end_arrival(b, &before, err);
}

int lh_cuda_put_reals(struct lh_backend *b, void *device, const void *host, size_t count, struct lh_err *err)
{
	if (b->precision == LH_PRECISION_FP32)
		return lh_cuda_put(b, device, host, count * sizeof(float), err);
	const size_t most = LH_CUDA_BLOCK_BYTES / sizeof(float);
	int rc = 0;
	for (size_t at = 0, n; at < count && !rc; at += n) { /* in order: the cast is over before the next one arrives */
		n = count - at < most ? count - at : most;
		rc = to_device(b, b->device->staged, (const float *)host + at, n * sizeof(float), err);
		if (!rc)
			rc = lh_cuda_cast(b, b->precision, n, b->device->staged, (uint16_t *)device + at, err);
	}
	return rc;
}

int lh_cuda_get_reals(struct lh_backend *b, void *host, const void *device, size_t count, struct lh_err *err)
{
	if (b->precision == LH_PRECISION_FP32)
		return lh_cuda_get(b, host, device, count * sizeof(float), err);
	const size_t most = LH_CUDA_BLOCK_BYTES / sizeof(float);
	int rc = 0;
	for (size_t at = 0, n; at < count && !rc; at += n) {
		n = count - at < most ? count - at : most;
		rc = lh_cuda_uncast(b, b->precision, n, (const uint16_t *)device + at, b->device->staged, err);
		if (!rc)
			rc = lh_cuda_get(b, (float *)host + at, b->device->staged, n * sizeof(float), err);
	}
	return rc;
}
