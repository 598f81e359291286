/* memory.c - see memory.h. */
#include "memory.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peer_command.h"
#include "run.h"

/* What the peers are told, in a file without a name. Returns the descriptor. */
static int write_config(const struct lh_session *s, const struct lh_experiment *exp, struct lh_err *err)
{
	static const struct lh_run_options opt;
	struct lh_run *r = calloc(1, sizeof *r);
	struct lh_peer_config c = { 0 };
	char *text = NULL;
	if (!r)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "memory plan");
	r->session = (struct lh_session *)(uintptr_t)s;
	r->exp = exp;
	r->opt = &opt;
	int rc = lh_run_peer_config(r, &c, err);
	free(r);
	if (!rc && !c.data_dir[0]) /* nobody opens it */
		snprintf(c.data_dir, sizeof c.data_dir, "/");
	if (!rc)
		rc = lh_peer_config_print(&c, &text, err);
	lh_peer_config_done(&c);
	int fd = rc ? rc : memfd_create("peer-config", MFD_CLOEXEC);
	if (!rc && (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || lseek(fd, 0, SEEK_SET))) {
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -errno, "memory plan");
		if (fd >= 0)
			close(fd);
	}
	free(text);
	return rc ? rc : fd;
}

static uint64_t bytes_of(const json_t *o, const char *key, bool *bad)
{
	const json_t *v = json_object_get(o, key);
	*bad |= !json_is_integer(v) || json_integer_value(v) < 0;
	return *bad ? 0 : (uint64_t)json_integer_value(v);
}

static int take_answer(const char *program, const char *text, size_t len, struct lh_memory_plan *ret,
		       struct lh_err *err)
{
	json_error_t at;
	json_t *o = json_loadb(text, len, 0, &at);
	const json_t *need = json_object_get(o, "need");
	bool bad = false, unsaid = false;
	struct lh_memory_plan m = {
		.known = true, .microbatch = (uint32_t)bytes_of(o, "microbatch", &bad), .fits = json_is_true(json_object_get(o, "fits")),
		.host_memory = json_is_true(json_object_get(o, "host_memory")),
		.have_host = bytes_of(o, "have_host_bytes", &bad), .have_device = bytes_of(o, "have_device_bytes", &bad),
		.weights = bytes_of(need, "weights_bytes", &bad), .gradients = bytes_of(need, "gradients_bytes", &bad),
		.optimizer = bytes_of(need, "optimizer_bytes", &bad), .activations = bytes_of(need, "activations_bytes", &bad),
		.fixed = bytes_of(need, "fixed_bytes", &bad), .data = bytes_of(need, "data_bytes", &bad),
		.exchange = bytes_of(need, "exchange_bytes", &bad), .program = bytes_of(need, "program_bytes", &bad),
		.stored = bytes_of(need, "stored_bytes", &unsaid),
		.device = bytes_of(need, "device_bytes", &bad), .host = bytes_of(need, "host_bytes", &bad),
	};
	const char *products = json_string_value(json_object_get(o, "products"));
	const char *why = json_string_value(json_object_get(o, "products_why"));
	snprintf(m.products, sizeof m.products, "%s", products ? products : "");
	snprintf(m.products_why, sizeof m.products_why, "%s", why ? why : "");
	json_decref(o);
	if (bad || !m.microbatch)
		return lh_err_set(err, LH_EXIT_INPUT, -EPROTO, "peer program %s: asked what memory it needs it gave no answer; is it "
				  "longhaul-peer?", program);
	*ret = m;
	return 0;
}

int lh_memory_plan(const struct lh_session *s, const struct lh_experiment *exp, struct lh_memory_plan *ret, struct lh_err *err)
{
	struct lh_peer_command c = { .n = 0 };
	char *text = NULL;
	size_t len = 0;
	int status = 0, fd = write_config(s, exp, err);
	if (fd < 0)
		return fd;
	snprintf(c.program, sizeof c.program, "%s", s->peer_path);
	lh_peer_command_word(&c, c.program);
	lh_peer_command_word(&c, "memory");
	if (exp->training.microbatch_auto)
		lh_peer_command_word(&c, "--auto");
	int rc = lh_peer_command_capture(&c, fd, &text, &len, &status, err);
	close(fd);
	if (!rc && status) /* it has said why */
		rc = lh_err_set(err, status <= LH_EXIT_INCONCLUSIVE ? (enum lh_exit)status : LH_EXIT_BROKE, -ECHILD,
				"model %s: its memory cannot be planned", exp->training.model);
	if (!rc)
		rc = take_answer(c.program, text, len, ret, err);
	if (!rc)
		ret->chosen = exp->training.microbatch_auto;
	free(text);
	return rc;
}

static const char *mb(uint64_t bytes, char buf[24])
{
	if (bytes >= 10000000000)
		snprintf(buf, 24, "%.1f GB", (double)bytes / 1e9);
	else
		snprintf(buf, 24, "%.1f MB", (double)bytes / 1e6);
	return buf;
}

static const char *parts(const struct lh_memory_plan *m, char *buf, size_t size)
{
	snprintf(buf, size, "weights %.1f, gradients %.1f, optimizer %.1f, activations %.1f at microbatch %u%s, data %.1f, "
		 "exchange up to %.1f, program %.1f%s", (double)m->weights / 1e6, (double)m->gradients / 1e6,
		 (double)m->optimizer / 1e6, (double)m->activations / 1e6, m->microbatch, m->chosen ? " (chosen)" : "",
		 (double)m->data / 1e6, (double)m->exchange / 1e6, (double)m->program / 1e6,
		 m->host_memory ? "" : "; the first four on the device");
	return buf;
}

int lh_memory_check(const struct lh_memory_plan *m, const struct lh_experiment *exp, struct lh_err *err)
{
	const struct lh_topology *t = &exp->topology;
	char list[320], need[24], have[24];
	if (!m->known || m->fits)
		return 0;
	bool device = !m->host_memory && (double)m->device * t->npeers > 0.9 * (double)m->have_device;
	uint64_t has = device ? m->have_device : m->have_host;
	return lh_err_set(err, LH_EXIT_MACHINE, -ENOMEM,
			  "peer %s: model %s needs %s%s (in MB: %s); %u peer%s the %s, of which nine tenths of %s are free for "
			  "them; %suse fewer peers", t->peers[0].name, exp->training.model, mb(device ? m->device : m->host, need),
			  device ? " of the device" : "", parts(m, list, sizeof list), t->npeers,
			  t->npeers > 1 ? "s share" : " has", device ? "device's memory" : "machine's memory", mb(has, have),
			  m->microbatch > 1 && m->activations ? "lower training.microbatch, or " : "");
}

const char *lh_memory_text(const struct lh_memory_plan *m, const struct lh_experiment *exp, char *buf, size_t size)
{
	char list[320], need[24], have[24], on[64] = "";
	if (!m->host_memory)
		snprintf(on, sizeof on, ", %s of the device", mb(m->device, have));
	snprintf(buf, size, "each of %u peers needs %s%s (in MB: %s); %s are free", exp->topology.npeers, mb(m->host, need), on,
		 parts(m, list, sizeof list), mb(m->host_memory ? m->have_host : m->have_device, have));
	return buf;
}

json_t *lh_memory_json(const struct lh_memory_plan *m)
{
	if (!m || !m->known)
		return json_null();
	return json_pack("{s:I, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "microbatch",
			 (json_int_t)m->microbatch, "microbatch_chosen", m->chosen, "fits", m->fits, "host_memory",
			 m->host_memory, "weights_bytes",
			 (json_int_t)m->weights, "gradients_bytes", (json_int_t)m->gradients, "optimizer_bytes",
			 (json_int_t)m->optimizer, "activations_bytes", (json_int_t)m->activations, "fixed_bytes",
			 (json_int_t)m->fixed, "data_bytes", (json_int_t)m->data, "exchange_bytes", (json_int_t)m->exchange,
			 "program_bytes", (json_int_t)m->program, "device_bytes", (json_int_t)m->device, "host_bytes",
			 (json_int_t)m->host, "free_host_bytes", (json_int_t)m->have_host, "free_device_bytes",
			 (json_int_t)m->have_device);
}
