/* experiment.c - the entry points: one load from bytes to a checked experiment, and its arena. */
#include "lang.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct lang_block {
	struct lang_block *next;
	size_t used, size;
	_Alignas(16) char bytes[];
};

enum { BLOCK_SIZE = 64 << 10 };

void lang_nomem(struct lang *l)
{
	longjmp(l->oom, 1);
}

void *lang_alloc(struct lang *l, size_t size)
{
	size = (size + 15) & ~(size_t)15;
	struct lang_block *b = l->blocks;
	if (!b || b->size - b->used < size) {
		size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
		b = calloc(1, sizeof *b + room);
		if (!b)
			lang_nomem(l);
		b->size = room;
		b->next = l->blocks;
		l->blocks = b;
	}
	void *p = b->bytes + b->used;
	b->used += size;
	return p;
}

char *lang_strndup(struct lang *l, const char *text, size_t len)
{
	char *copy = lang_alloc(l, len + 1);
	memcpy(copy, text, len);
	return copy;
}

char *lang_printf(struct lang *l, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	char *text = lang_alloc(l, (size_t)(len < 0 ? 0 : len) + 1);
	if (len > 0)
		vsnprintf(text, (size_t)len + 1, fmt, again);
	va_end(again);
	return text;
}

static void lang_done(struct lang *l)
{
	while (l->nevents)
		yaml_event_delete(&l->events[--l->nevents]);
	if (l->parsing)
		yaml_parser_delete(&l->parser);
	if (l->fd >= 0)
		close(l->fd);
	for (struct lang_block *b = l->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	lh_experiment_done(&l->exp);
	free(l);
}

/* What the caller is told when there were diagnostics: their number, or, where nobody saw them, the first. */
static int refuse(struct lang *l, const char *name, FILE *diag, struct lh_err *err)
{
	lang_diags_print(l, diag);
	const char *s = l->errors == 1 ? "" : "s";
	if (diag)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: %zu error%s", name, l->errors, s);
	const struct lang_diag *d = &l->diags[0];
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s:%zu:%zu: %s (%zu error%s)", d->at.source->name,
			  d->at.line + 1, d->at.col + 1, d->message, l->errors, s);
}

struct input {
	const char *name, *text; /* text NULL: read the file `name` */
	size_t len;
	const struct lh_override *set;
	size_t nset;
};

static int load(struct lang *l, const struct input *in, FILE *diag, struct lh_err *err)
{
	if (setjmp(l->oom))
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%s", in->name);
	struct lang_source *source = in->text ? lang_source_text(l, in->name, "", in->text, in->len)
					      : lang_source_file(l, in->name, NULL);
	if (!source)
		return err ? err->code : -EIO;
	l->root = lang_resolve(l, source, in->set, in->nset);
	if (l->root) {
		lang_type_file(l, l->root);
		lang_build(l);
	}
	if (l->errors)
		return refuse(l, in->name, diag, err);
	lh_experiment_tune(&l->exp);
	return lang_canonical(&l->exp, err);
}

/* One load, whichever it is: `flat` only reads the tree. */
struct flat {
	lh_flat_fn *fn;
	void *ctx;
};

static int flatten(struct lang *l, const struct input *in, const struct flat *flat, struct lh_err *err)
{
	char path[LANG_PATH_MAX] = "";
	if (setjmp(l->oom))
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%s", in->name);
	struct lang_source *source = lang_source_text(l, in->name, "", in->text, in->len);
	l->root = source ? lang_parse(l, source, 0) : NULL;
	if (l->errors || !l->root)
		return l->errors ? refuse(l, in->name, NULL, err)
				 : lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: is empty", in->name);
	lang_flatten(l->root, path, 0, flat->fn, flat->ctx);
	return 0;
}

int lh_experiment_flatten(const char *name, const char *text, size_t len, lh_flat_fn *fn, void *ctx,
			  struct lh_err *err)
{
	struct lh_err local = LH_ERR_INIT;
	if (!err)
		err = &local;
	struct lang *l = calloc(1, sizeof *l);
	if (!l)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%s", name);
	l->fd = -1;
	l->err = err;
	int rc = flatten(l, &(struct input){ name, text, len, NULL, 0 }, &(struct flat){ fn, ctx }, err);
	lang_done(l);
	return rc;
}

static int load_input(const struct input *in, FILE *diag, struct lh_experiment *ret_exp, struct lh_err *err)
{
	struct lh_err local = LH_ERR_INIT;
	if (!err)
		err = &local;
	struct lang *l = calloc(1, sizeof *l);
	if (!l)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%s", in->name);
	l->fd = -1;
	l->err = err;
	int rc = load(l, in, diag, err);
	if (rc == 0) {
		*ret_exp = l->exp;
		l->exp = (struct lh_experiment){ 0 };
	}
	lang_done(l);
	return rc;
}

int lh_experiment_load(const char *path, const struct lh_override *overrides, size_t noverrides, FILE *diag,
		       struct lh_experiment *ret_exp, struct lh_err *err)
{
	return load_input(&(struct input){ path, NULL, 0, overrides, noverrides }, diag, ret_exp, err);
}

int lh_experiment_load_text(const char *name, const char *text, size_t len, const struct lh_override *overrides,
			    size_t noverrides, FILE *diag, struct lh_experiment *ret_exp, struct lh_err *err)
{
	return load_input(&(struct input){ name, text, len, overrides, noverrides }, diag, ret_exp, err);
}

void lh_experiment_done(struct lh_experiment *exp)
{
	if (!exp)
		return;
	lh_topology_done(&exp->topology);
	free(exp->spot);
	free(exp->absent);
	free(exp->changes);
	free(exp->canonical);
	*exp = (struct lh_experiment){ 0 };
}

double lh_experiment_interruptions_per_s(const struct lh_experiment *exp)
{
	double per_s = 0;
	size_t kills = 0;
	lh_ns last = 0;
	for (unsigned i = 0; exp->spot && i < exp->topology.npeers; i++)
		if (exp->spot[i].mean_ns)
			per_s += 1e9 / (double)exp->spot[i].mean_ns;
	for (size_t i = 0; i < exp->nchanges; i++)
		if (exp->changes[i].kind == LH_CHANGE_KILL && !exp->changes[i].drawn) {
			kills++;
			last = exp->changes[i].at_ns;
		}
	return last ? per_s + (double)kills * 1e9 / (double)last : per_s;
}

int lh_experiment_renew_canonical(struct lh_experiment *exp, struct lh_err *err)
{
	lh_experiment_tune(exp);
	struct lh_experiment fresh = *exp;
	fresh.canonical = NULL;
	int rc = lang_canonical(&fresh, err);
	if (rc) {
		free(fresh.canonical);
		return rc;
	}
	free(exp->canonical);
	exp->canonical = fresh.canonical;
	return 0;
}
