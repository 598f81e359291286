/* cmd_calibrate.c - `longhaul calibrate`: what longhaul-peer bench-train measures becomes a row of the user's catalogue, so
 * that experiments can name this device. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "peer_command.h"

static const char *word_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));
	return text ? text : "";
}

/* What the measurement says, as an entry; the catalogue judges the numbers. */
static int entry_of(const char *text, size_t len, const char *device, struct lh_catalogue_entry *ret, struct lh_err *err)
{
	json_error_t at;
	json_t *o = json_loadb(text, len, 0, &at);
	if (!json_is_object(o)) {
		json_decref(o);
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "longhaul-peer bench-train printed no result");
	}
	const time_t now = time(NULL);
	struct tm tm;
	struct lh_catalogue_entry e = { .own = true };
	snprintf(e.model, sizeof e.model, "%s", word_of(o, "model"));
	snprintf(e.device, sizeof e.device, "%s", device);
	snprintf(e.engine, sizeof e.engine, "%s", word_of(o, "engine"));
	snprintf(e.precision, sizeof e.precision, "%s", word_of(o, "precision"));
	snprintf(e.products, sizeof e.products, "%s", word_of(o, "products"));
	strftime(e.measured, sizeof e.measured, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	e.parameters = (uint64_t)json_integer_value(json_object_get(o, "parameters"));
	e.microbatch = (uint32_t)json_integer_value(json_object_get(o, "microbatch"));
	e.samples_per_s = json_number_value(json_object_get(o, "samples_per_s"));
	bool whole = strlen(word_of(o, "model")) < sizeof e.model;
	json_decref(o);
	if (!whole)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--model %s: too long a name for the catalogue", e.model);
	*ret = e;
	return 0;
}

static void print_entry(const struct lh_catalogue_entry *e, const char *path, bool json)
{
	if (json) {
		json_t *o = json_pack("{s:s, s:s, s:I, s:f, s:s, s:s, s:I, s:s, s:s, s:s}", "model", e->model, "device",
				      e->device, "parameters", (json_int_t)e->parameters, "samples_per_s", e->samples_per_s,
				      "engine", e->engine, "precision", e->precision, "microbatch",
				      (json_int_t)e->microbatch, "products", e->products, "measured", e->measured, "catalogue",
				      path);
		json_dumpf(o, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
		putchar('\n');
		json_decref(o);
		return;
	}
	printf("device %s: %s %.4g samples/s (engine %s, %s, microbatch %u; %s)\nwritten to %s\n", e->device, e->model,
	       e->samples_per_s, e->engine, e->precision, e->microbatch, e->products, path);
}

int cmd_calibrate(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_peer_command c;
	struct lh_catalogue_entry e;
	const char *device = inv->device ? inv->device : "mine";
	char *text = NULL;
	size_t len = 0;
	int status = 0;
	if (!inv->model)
		lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "'longhaul calibrate' needs --model");
	else if (!inv->catalogue)
		lh_err_set(&err, LH_EXIT_INPUT, -ENOENT, "no place for a catalogue: neither XDG_CONFIG_HOME nor HOME is set");
	/* Before anything is measured. */
	else if (!lh_catalogue_name_check(inv->model, device, &err) && !lh_peer_command_bench_train(inv, true, &c, &err)) {
		if (!lh_peer_command_capture(&c, -1, &text, &len, &status, &err) && status) {
			free(text); /* it has said why */
			return status;
		}
		if (!err.code && !entry_of(text, len, device, &e, &err) && !lh_catalogue_add(inv->catalogue, &e, &err))
			print_entry(&e, inv->catalogue, inv->json);
		free(text);
	}
	return err.code ? lh_fail(&err) : LH_EXIT_OK;
}
