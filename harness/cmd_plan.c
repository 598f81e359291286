/* cmd_plan.c - `longhaul plan FILE`: the operations that would build the network. Pure; needs no privilege. */
#include "cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"
#include "longhaul/network.h"
#include "memory.h"
#include "session.h"

static int format_parse(const struct lh_invocation *inv, enum lh_plan_format *ret, struct lh_err *err)
{
	static const char *const names[] = { "text", "commands", "json", NULL };
	if (inv->json && inv->format && strcmp(inv->format, "json"))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--json and --format %s exclude each other",
				  inv->format);
	*ret = inv->json ? LH_PLAN_JSON : LH_PLAN_TEXT;
	if (!inv->format)
		return 0;
	for (unsigned i = 0; names[i]; i++)
		if (!strcmp(inv->format, names[i])) {
			*ret = (enum lh_plan_format)i;
			return 0;
		}
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--format of plan is text, commands or json, not '%s'",
			  inv->format);
}

/* What training would take, where longhaul-peer is there to be asked. */
static int ask_memory(const struct lh_invocation *inv, const struct lh_experiment *exp, struct lh_memory_plan *ret,
		      struct lh_err *err)
{
	struct lh_session *s = calloc(1, sizeof *s);
	int rc = s ? lh_session_peer_program(inv, s->peer_path, sizeof s->peer_path, err) :
		     lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "plan");
	if (!rc && s->peer_path[0] && exp->training.given)
		rc = lh_memory_plan(s, exp, ret, err);
	free(s);
	return rc;
}

/* Of one, as stored; 0: not known. */
static uint64_t sample_bytes(const struct lh_experiment *exp, const struct lh_memory_plan *m)
{
	return exp->training.sample_bytes ? exp->training.sample_bytes : m->stored;
}

static void print_memory(const struct lh_memory_plan *m, const struct lh_experiment *exp)
{
	char text[640];
	if (m->known)
		printf("# memory: %s%s\n", lh_memory_text(m, exp, text, sizeof text),
		       m->fits ? "" : ": too little, it would not be started");
	if (exp->training.store)
		lh_data_plan_print(exp, sample_bytes(exp, m), stdout);
}

/* The network's document with more members: netem/ knows of no training. */
static int print_json(const struct lh_plan *plan, const struct lh_experiment *exp, const struct lh_memory_plan *m,
		      struct lh_err *err)
{
	char *text = NULL;
	size_t size = 0;
	json_t *doc = NULL;
	FILE *f = open_memstream(&text, &size);
	int rc = f ? lh_plan_print(plan, LH_PLAN_JSON, f, err) : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "plan");
	if (f && fclose(f) && !rc)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "plan");
	if (!rc && (!(doc = json_loadb(text, size, 0, NULL)) || json_object_set_new(doc, "memory", lh_memory_json(m))))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "plan");
	if (!rc && exp->training.store && json_object_set_new(doc, "data", lh_data_plan_json(exp, sample_bytes(exp, m))))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "plan");
	if (!rc && (json_dumpf(doc, stdout, JSON_INDENT(1)) || putchar('\n') == EOF || fflush(stdout)))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -EIO, "plan: not printed");
	json_decref(doc);
	free(text);
	return rc;
}

int cmd_plan(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_experiment exp;
	struct lh_plan *plan = NULL;
	struct lh_memory_plan memory = { .known = false };
	enum lh_plan_format format = LH_PLAN_TEXT;
	if (format_parse(inv, &format, &err))
		return lh_fail(&err);
	if (lh_experiment_load(inv->file, inv->overrides, inv->noverrides, stderr, &exp, &err))
		return lh_fail(&err);
	lh_experiment_dilate(&exp);
	int rc = lh_plan_new(&exp.topology, NULL, &plan, &err);
	if (!rc && format != LH_PLAN_COMMANDS)
		rc = ask_memory(inv, &exp, &memory, &err);
	if (!rc)
		rc = format == LH_PLAN_JSON ? print_json(plan, &exp, &memory, &err) : lh_plan_print(plan, format, stdout, &err);
	if (!rc && format == LH_PLAN_TEXT)
		print_memory(&memory, &exp);
	lh_plan_free(plan);
	lh_experiment_done(&exp);
	return rc ? lh_fail(&err) : LH_EXIT_OK;
}
