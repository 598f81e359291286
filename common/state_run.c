/* See state_run.h. */
#include "state_run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lh_state_say(struct lh_state_text *t, const char *key, const char *fmt, ...)
{
	va_list ap;
	size_t left = sizeof t->bytes - t->n, used = (size_t)snprintf(t->bytes + t->n, left, "%s=", key);
	va_start(ap, fmt);
	if (used < left)
		used += (size_t)vsnprintf(t->bytes + t->n + used, left - used, fmt, ap);
	va_end(ap);
	if (used + 1 >= left)
		return;
	for (size_t i = t->n; i < t->n + used; i++) /* names may be any text */
		if (t->bytes[i] < ' ' || t->bytes[i] > '~')
			t->bytes[i] = '?';
	t->bytes[t->n + used] = '\n';
	t->n += used + 1;
}

void lh_state_say_run(struct lh_state_text *t, const struct lh_peer_config *c)
{
	const struct lh_sync_options *s = &c->sync;
	const struct lh_optim_options o = lh_optim_resolve(s->optimizer, &c->optim, c->epochs);
	lh_state_say(t, "model", "%s", c->model);
	lh_state_say(t, "seed", "%llu", (unsigned long long)c->seed);
	lh_state_say(t, "data", "%s", lh_data_names[c->data]);
	lh_state_say(t, "target_batch", "%llu", (unsigned long long)c->target_batch);
	lh_state_say(t, "optimizer", "%s", lh_optimizer_names[s->optimizer]);
	lh_state_say(t, "momentum", "%.17g", o.momentum);
	lh_state_say(t, "nesterov", "%s", o.nesterov ? "yes" : "no");
	lh_state_say(t, "betas", "%.17g %.17g", o.beta1, o.beta2);
	lh_state_say(t, "epsilon", "%.17g", o.epsilon);
	lh_state_say(t, "weight_decay", "%.17g", o.weight_decay);
	lh_state_say(t, "strategy", "%s", lh_strategy_names[s->strategy]);
	lh_state_say(t, "every", "%u", s->every);
	lh_state_say(t, "fragments", "%u", s->fragments);
	lh_state_say(t, "overlap", "%u", s->overlap);
	lh_state_say(t, "staleness", "%u", s->staleness);
	lh_state_say(t, "outer_momentum", "%.17g", s->outer_momentum);
	lh_state_say(t, "wire", "%s", lh_wire_names[c->wire]);
	lh_state_say(t, "powersgd_rank", "%u", c->codec.powersgd_rank);
	lh_state_say(t, "error_feedback", "%s", c->codec.error_feedback ? "yes" : "no");
}

void lh_state_say_pace(struct lh_state_text *t, const struct lh_peer_config *c)
{
	const struct lh_optim_options o = lh_optim_resolve(c->sync.optimizer, &c->optim, c->epochs);
	const bool cosine = o.schedule == LH_SCHEDULE_COSINE;
	lh_state_say(t, "learning_rate", "%.17g", c->learning_rate);
	lh_state_say(t, "warmup_updates", "%u", o.warmup_updates);
	lh_state_say(t, "schedule", "%s", lh_schedule_names[o.schedule]);
	if (cosine) {
		lh_state_say(t, "total_updates", "%u", o.total_updates);
		lh_state_say(t, "rate_floor", "%.17g", o.floor);
	}
	lh_state_say(t, "clip_norm", "%.17g", o.clip_norm);
	lh_state_say(t, "outer_learning_rate", "%.17g", c->sync.outer_learning_rate);
	lh_state_say(t, "blend", "%.17g", c->sync.blend);
	lh_state_say(t, "topk_fraction", "%.17g", c->codec.topk_fraction);
	lh_state_say(t, "precision", "%s", lh_precision_names[c->precision]);
	lh_state_say(t, "microbatch", "%u", c->microbatch);
}

/* "0.90000000000000002 0.98999999999999999" for people: "0.9 0.99". */
static const char *readable(const char *value, size_t n, char *buf, size_t size)
{
	size_t used = 0;
	char word[64];
	snprintf(buf, size, "%.*s", n < 64 ? (int)n : 64, value);
	for (size_t at = 0; at < n;) {
		size_t len = at + strcspn(value + at, " \n") < n ? strcspn(value + at, " \n") : n - at;
		char *end;
		snprintf(word, sizeof word, "%.*s", (int)len, value + at);
		double number = strtod(word, &end);
		if (!len || len >= sizeof word || *end)
			return snprintf(buf, size, "%.*s", n < 64 ? (int)n : 64, value), buf;
		used += (size_t)snprintf(buf + used, size - used, "%s%.15g", used ? " " : "", number);
		at += len + 1;
	}
	return buf;
}

/* Each line of the text against the file; the first that `differs` does not want to pass over. Theirs is NULL where the
 * file does not say it. */
typedef int (*differs_fn)(void *ctx, const char *key, const char *theirs, const char *own, struct lh_err *err);

static int compare(const struct lh_state_head *h, const char *text, differs_fn differs, void *ctx, struct lh_err *err)
{
	int rc = 0;
	for (const char *line = text; !rc && *line; line += strcspn(line, "\n") + 1) {
		char key[64], a[96], b[96];
		size_t n = strcspn(line, "="), value = strcspn(line + n + 1, "\n"), theirs_n = 0;
		snprintf(key, sizeof key, "%.*s", (int)n, line);
		const char *theirs = lh_state_fact(h, key, &theirs_n);
		if (!theirs || theirs_n != value || memcmp(theirs, line + n + 1, value))
			rc = differs(ctx, key, theirs ? readable(theirs, theirs_n, a, sizeof a) : NULL,
				     readable(line + n + 1, value, b, sizeof b), err);
	}
	return rc;
}

static int refuse(void *ctx, const char *key, const char *theirs, const char *own, struct lh_err *err)
{
	if (!theirs)
		return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "foreign: it does not say its %s", key);
	return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "of another run: its %s is %s, this run's is %s", key, theirs, own);
}

/* What it does not say differs in nothing that is known. */
static int note(void *ctx, const char *key, const char *theirs, const char *own, struct lh_err *err)
{
	struct lh_state_changes *c = ctx;
	if (theirs && c->n < LH_STATE_CHANGES_MAX) {
		struct lh_state_change *one = &c->of[c->n++];
		snprintf(one->key, sizeof one->key, "%s", key);
		snprintf(one->was, sizeof one->was, "%s", theirs);
		snprintf(one->is, sizeof one->is, "%s", own);
	}
	return 0;
}

int lh_state_check_run(const struct lh_state_head *h, const struct lh_peer_config *c, struct lh_err *err)
{
	struct lh_state_text own = { .n = 0 };
	lh_state_say_run(&own, c);
	own.bytes[own.n] = 0;
	return compare(h, own.bytes, refuse, NULL, err);
}

void lh_state_changes(const struct lh_state_head *h, const struct lh_peer_config *c, struct lh_state_changes *ret)
{
	struct lh_state_text own = { .n = 0 };
	lh_state_say_pace(&own, c);
	own.bytes[own.n] = 0;
	ret->n = 0;
	compare(h, own.bytes, note, ret, NULL);
}

static bool is(const struct lh_state_head *h, const char *key, const char *value)
{
	size_t n = 0;
	const char *text = lh_state_fact(h, key, &n);
	return text && n == strlen(value) && !memcmp(text, value, n);
}

int lh_state_parse_where(const struct lh_state_head *h, struct lh_state_where *ret, struct lh_err *err)
{
	static const char *const keys[] = { "rank", "size", "round", "samples" };
	uint64_t v[4];
	for (unsigned i = 0; i < 4; i++)
		if (lh_state_fact_number(h, keys[i], &v[i]) || (i < 3 && v[i] > UINT32_MAX))
			return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "foreign: it does not say its %s", keys[i]);
	if (v[1] > LH_PEER_SIZE_MAX || v[0] >= v[1])
		return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "foreign: rank %llu of %llu", (unsigned long long)v[0],
				  (unsigned long long)v[1]);
	*ret = (struct lh_state_where){ .rank = (unsigned)v[0], .size = (unsigned)v[1], .round = (uint32_t)v[2],
					.samples = v[3], .shared = is(h, "shared", "yes"),
					.elastic = is(h, "membership", "elastic") };
	return 0;
}
