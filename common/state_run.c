/* See state_run.h. */
#include "state_run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
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
	lh_state_say(t, "model", "%s", c->model);
	lh_state_say(t, "seed", "%llu", (unsigned long long)c->seed);
	lh_state_say(t, "data", "%s", lh_data_names[c->data]);
	lh_state_say(t, "target_batch", "%llu", (unsigned long long)c->target_batch);
	lh_state_say(t, "optimizer", "%s", lh_optimizer_names[s->optimizer]);
	lh_state_say(t, "strategy", "%s", lh_strategy_names[s->strategy]);
	lh_state_say(t, "every", "%u", s->every);
	lh_state_say(t, "fragments", "%u", s->fragments);
	lh_state_say(t, "overlap", "%u", s->overlap);
	lh_state_say(t, "staleness", "%u", s->staleness);
	lh_state_say(t, "wire", "%s", lh_wire_names[c->wire]);
	lh_state_say(t, "powersgd_rank", "%u", c->codec.powersgd_rank);
	lh_state_say(t, "error_feedback", "%s", c->codec.error_feedback ? "yes" : "no");
}

/* The first fact in which the file differs from the text. */
static int compare(const struct lh_state_head *h, const char *text, struct lh_err *err)
{
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		char key[64];
		size_t n = strcspn(line, "="), value = strcspn(line + n + 1, "\n"), theirs_n = 0;
		snprintf(key, sizeof key, "%.*s", (int)n, line);
		const char *theirs = lh_state_fact(h, key, &theirs_n);
		if (!theirs)
			return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "foreign: it does not say its %s", key);
		if (theirs_n != value || memcmp(theirs, line + n + 1, value))
			return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "of another run: its %s is %.*s, this run's is %.*s",
					  key, theirs_n < 64 ? (int)theirs_n : 64, theirs, (int)value, line + n + 1);
	}
	return 0;
}

int lh_state_check_run(const struct lh_state_head *h, const struct lh_peer_config *c, struct lh_err *err)
{
	struct lh_state_text own = { .n = 0 };
	lh_state_say_run(&own, c);
	own.bytes[own.n] = 0;
	return compare(h, own.bytes, err);
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
