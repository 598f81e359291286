/* `longhaul-peer memory`: what a peer of this configuration needs, what is there, and the microbatch, as JSON for longhaul,
 * which asks before it creates anything. The configuration comes on standard input; "microbatch" in it is tried as it is,
 * unless --auto. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/cpu/blas.h"
#include "backend/plugin.h"
#include "meminfo.h"
#include "memory.h"

static int read_config(struct lh_peer_config *ret, struct lh_err *err)
{
	char *text = malloc(LH_PEER_CONFIG_MAX + 1);
	size_t len = text ? fread(text, 1, LH_PEER_CONFIG_MAX + 1, stdin) : 0;
	int rc = text ? lh_peer_config_read(text, len, ret, err) : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "configuration");
	free(text);
	return rc;
}

struct answer {
	struct lh_memory_need need;
	size_t microbatch;
	uint64_t have_host, have_device;
	bool host_memory, fits;
	enum lh_engine engine;
};

static int device_memory(const struct lh_backend_ops *backend, uint64_t *ret, struct lh_err *err)
{
	struct lh_backend *b = NULL;
	uint64_t total = 0;
	if (!backend->memory)
		return 0;
	int rc = backend->open(NULL, &b, err);
	if (rc)
		return rc;
	rc = backend->memory(b, ret, &total, err);
	backend->close(b);
	return rc;
}

static int answer(const struct lh_peer_config *c, bool choose, struct answer *a, struct lh_err *err)
{
	const struct lh_backend_ops *backend = NULL;
	int rc = 0;
	a->engine = c->engine;
	a->have_host = lh_memory_available();
	if (c->engine != LH_ENGINE_PACED)
		rc = lh_backend_find(lh_engine_names[c->engine], c->precision, &backend, err);
	a->host_memory = !backend || backend->host_memory;
	if (!rc && !a->host_memory)
		rc = device_memory(backend, &a->have_device, err);
	if (rc)
		return rc;
	if (choose)
		rc = lh_memory_microbatch(c, backend, a->have_host, a->have_device, &a->microbatch, &a->need,
					  err);
	else
		rc = lh_memory_need(c, backend, a->microbatch = c->microbatch, &a->need, err);
	a->fits = !rc && (!a->have_host || lh_memory_fits(c, &a->need, a->have_host, a->have_device, a->host_memory));
	return rc;
}

static int print(const struct answer *a)
{
	const struct lh_memory_need *n = &a->need;
	json_t *o = json_pack("{s:I, s:b, s:b, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}}", "microbatch",
			      (json_int_t)a->microbatch, "fits", a->fits, "host_memory", a->host_memory, "have_host_bytes",
			      (json_int_t)a->have_host, "have_device_bytes", (json_int_t)a->have_device, "need",
			      "weights_bytes", (json_int_t)n->weights, "gradients_bytes", (json_int_t)n->gradients,
			      "optimizer_bytes", (json_int_t)n->optimizer, "activations_bytes", (json_int_t)n->activations,
			      "fixed_bytes", (json_int_t)n->fixed, "data_bytes", (json_int_t)n->data, "stored_bytes", (json_int_t)n->stored, "exchange_bytes", (json_int_t)n->exchange, "program_bytes",
			      (json_int_t)n->program, "device_bytes", (json_int_t)n->device, "host_bytes", (json_int_t)n->host);
	if (a->engine != LH_ENGINE_PACED) {
		json_object_set_new(o, "products", json_string(a->engine == LH_ENGINE_CPU ? lh_blas_open() : "cuBLASLt, cuDNN"));
		json_object_set_new(o, "products_why", json_string(a->engine == LH_ENGINE_CPU ? lh_blas_why() : "engine cuda"));
	}
	int rc = o ? json_dumpf(o, stdout, JSON_INDENT(1)) : -1;
	putchar('\n');
	json_decref(o);
	return rc;
}

int lh_memory_main(int argc, char **argv)
{
	struct lh_peer_config c = { 0 };
	struct lh_err err = LH_ERR_INIT;
	struct answer a = { .fits = false };
	const bool choose = argc == 2 && argv[1][0] == '-' && argv[1][1] == '-' && argv[1][2] == 'a';
	int rc = argc > 2 || (argc == 2 && !choose) ?
			 lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "usage: longhaul-peer memory [--auto] <CONFIG") :
			 read_config(&c, &err);
	if (!rc)
		rc = answer(&c, choose, &a, &err);
	if (!rc && print(&a))
		rc = lh_err_sys(&err, LH_EXIT_MACHINE, -EIO, "memory: write");
	lh_peer_config_done(&c);
	if (!rc)
		return LH_EXIT_OK;
	fprintf(stderr, "longhaul-peer memory: %s\n", err.text);
	return (int)err.exit;
}
