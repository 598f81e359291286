/* plan_print.c - a plan for people, as commands, and as JSON (longhaul-plan/1). */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "op.h"

static void print_text(const struct lh_plan *plan, FILE *out)
{
	char line[256];
	fprintf(out, "plan of %s: %zu operations, %zu namespaces, %zu interfaces\n", plan->name, plan->nops, plan->nnetns,
		plan->nifs);
	fprintf(out, "needs sch_netem: %s\n", plan->needs_netem ? "yes" : "no");
	fprintf(out, "kernel memory for bytes in flight and full queues: up to %" PRIu64 " KiB\n\n",
		(plan->memory_bytes + 1023) / 1024);
	for (size_t i = 0; i < plan->nops; i++) {
		const struct lh_op *op = &plan->ops[i];
		fputs(lh_op_print(plan, op, line, sizeof line), out);
		if (op->kind == LH_OP_QDISC) {
			fputs(": ", out);
			lh_qdisc_print_tc(&plan->ifs[op->iface].qdisc, out);
		}
		fputc('\n', out);
	}
}

static void print_commands(const struct lh_plan *plan, FILE *out)
{
	fprintf(out, "# %s: what longhaul does, as commands. longhaul itself names no namespace and runs no program.\n",
		plan->name);
	for (size_t i = 0; i < plan->nops; i++) {
		lh_op_table[plan->ops[i].kind].command(plan, &plan->ops[i], out);
		fputc('\n', out);
	}
}

/* Text of a printing function as a JSON string; NULL when memory is short. */
static json_t *captured(const struct lh_plan *plan, const struct lh_op *op)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	if (!f)
		return NULL;
	lh_op_table[op->kind].command(plan, op, f);
	json_t *s = fclose(f) ? NULL : json_stringn(text, size);
	free(text);
	return s;
}

static json_t *operations(const struct lh_plan *plan)
{
	json_t *array = json_array();
	for (size_t i = 0; array && i < plan->nops; i++) {
		const struct lh_op *op = &plan->ops[i];
		char what[128];
		lh_op_table[op->kind].what(plan, op, what, sizeof what);
		json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:o}", "op", lh_op_table[op->kind].name,
				      "object", lh_op_object(plan, op), "namespace", plan->netns[op->netns].label,
				      "what", what, "command", captured(plan, op));
		if (!o || json_array_append_new(array, o)) {
			json_decref(array);
			array = NULL;
		}
	}
	return array;
}

static json_t *links(const struct lh_plan *plan)
{
	json_t *array = json_array();
	for (size_t i = 0; array && i < (size_t)plan->nsites * plan->nsites; i++) {
		const struct lh_plan_if *f = &plan->ifs[plan->link_if[i]];
		const char *kind = f->qdisc.kind == LH_QDISC_NETEM ? "netem" : f->qdisc.kind == LH_QDISC_TBF ? "tbf"
													   : "none";
		json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "link", f->object, "namespace",
				      plan->netns[f->netns].label, "interface", f->name, "qdisc", kind, "mode",
				      f->offloads_off ? "packet" : "gso", "limit_packets",
				      (json_int_t)f->qdisc.limit_packets);
		if (!o || json_array_append_new(array, o)) {
			json_decref(array);
			array = NULL;
		}
	}
	return array;
}

static int print_json(const struct lh_plan *plan, FILE *out)
{
	json_t *doc = json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:o, s:o}", "schema", "longhaul-plan/1", "name", plan->name,
				"needs_netem", (int)plan->needs_netem, "memory_bytes", (json_int_t)plan->memory_bytes,
				"namespaces", (json_int_t)plan->nnetns, "interfaces", (json_int_t)plan->nifs, "links",
				links(plan), "operations", operations(plan));
	if (!doc)
		return -ENOMEM;
	int rc = json_dumpf(doc, out, JSON_INDENT(1)) || fputc('\n', out) == EOF ? -EIO : 0;
	json_decref(doc);
	return rc;
}

int lh_plan_print(const struct lh_plan *plan, enum lh_plan_format format, FILE *out, struct lh_err *err)
{
	int rc = 0;
	errno = 0;
	switch (format) {
	case LH_PLAN_TEXT:
		print_text(plan, out);
		break;
	case LH_PLAN_COMMANDS:
		print_commands(plan, out);
		break;
	case LH_PLAN_JSON:
		rc = print_json(plan, out);
		break;
	}
	if (!rc && (fflush(out) || ferror(out)))
		rc = errno ? -errno : -EIO;
	return rc ? lh_err_sys(err, LH_EXIT_MACHINE, rc, "plan of %s: not printed", plan->name) : 0;
}
