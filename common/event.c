/* Events of a peer as JSON lines. One table for what every event has and one for each kind; see json_fields.h. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json_fields.h"
#include "longhaul/peer.h"

const char *const lh_event_names[] = { "listening", "joined", "epoch", "eval", "bench", "finished", "failed",
				      "view", "synced", "checkpoint", "left", "samples", NULL };
const char *const lh_view_cause_names[] = { "start", "lost", "mismatch", "joined", "left", NULL };

static const char *const shared[] = { "yes", "no", "never", NULL };

#define NS(m) LH_FIELD(lh_event, m, LH_FIELD_INT, .imin = 0, .imax = INT64_MAX)

static const struct lh_field common_fields[] = {
	{ .key = "event", .type = LH_FIELD_WORD, .offset = offsetof(struct lh_event, kind),
	  .size = sizeof(enum lh_event_kind), .words = lh_event_names },
	LH_FIELD(lh_event, rank, LH_FIELD_UINT),
	NS(t_ns),
};

static const struct lh_field joined_fields[] = {
	LH_FIELD(lh_event, parameters, LH_FIELD_UINT),
	LH_FIELD(lh_event, state_hash, LH_FIELD_HEX64),
	LH_FIELD(lh_event, bytes_sent, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_event, bytes_received, LH_FIELD_UINT, .optional = true),
};

static const struct lh_field epoch_fields[] = {
	LH_FIELD(lh_event, epoch, LH_FIELD_UINT, .umin = 1),
	LH_FIELD(lh_event, view, LH_FIELD_UINT, .optional = true),
	NS(begin_ns), NS(calc_end_ns), NS(exchange_end_ns), NS(commit_ns),
	LH_FIELD(lh_event, samples, LH_FIELD_UINT),
	LH_FIELD(lh_event, total_samples, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_event, ranges, LH_FIELD_TEXT, .optional = true, .empty = true),
	LH_FIELD(lh_event, bytes_sent, LH_FIELD_UINT),
	LH_FIELD(lh_event, bytes_received, LH_FIELD_UINT),
	LH_FIELD(lh_event, loss_sum, LH_FIELD_REAL_OR_NULL),
	NS(busy_ns), NS(late_ns),
	LH_FIELD(lh_event, held_ns, LH_FIELD_INT, .imin = 0, .imax = INT64_MAX, .optional = true),
	LH_FIELD(lh_event, queued_ns, LH_FIELD_INT, .imin = 0, .imax = INT64_MAX, .optional = true),
	LH_FIELD(lh_event, steps, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_event, late_steps, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_event, groups, LH_FIELD_UINT, .optional = true, .umax = LH_PEER_SIZE_MAX),
	LH_FIELD(lh_event, group, LH_FIELD_UINT, .optional = true, .umax = LH_PEER_SIZE_MAX - 1),
	LH_FIELD(lh_event, group_size, LH_FIELD_UINT, .optional = true, .umax = LH_PEER_SIZE_MAX),
	LH_FIELD(lh_event, skipped, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_event, data_bytes, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_event, data_samples, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_event, data_cached, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_event, data_wait_ns, LH_FIELD_INT, .imin = 0, .imax = INT64_MAX, .optional = true),
	LH_FIELD(lh_event, held_back_l1, LH_FIELD_REAL_OR_NULL, .optional = true),
	LH_FIELD(lh_event, uses, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_event, shared, LH_FIELD_WORD, .words = shared, .optional = true),
	LH_FIELD(lh_event, state_hash, LH_FIELD_HEX64),
};

static const struct lh_field eval_fields[] = {
	LH_FIELD(lh_event, metric, LH_FIELD_TEXT),
	LH_FIELD(lh_event, value, LH_FIELD_REAL_OR_NULL),
	LH_FIELD(lh_event, reference, LH_FIELD_REAL_OR_NULL),
};

static const struct lh_field bench_fields[] = {
	LH_FIELD(lh_event, epoch, LH_FIELD_UINT, .umin = 1),
	NS(begin_ns), NS(exchange_end_ns),
	LH_FIELD(lh_event, bytes_sent, LH_FIELD_UINT),
	LH_FIELD(lh_event, bytes_received, LH_FIELD_UINT),
	LH_FIELD(lh_event, wrong, LH_FIELD_UINT),
	NS(busy_ns), NS(tcp_window_ns),
	LH_FIELD(lh_event, tcp_retransmits, LH_FIELD_UINT),
};

static const struct lh_field failed_fields[] = {
	LH_FIELD(lh_event, culprit, LH_FIELD_INT, .imin = -1, .imax = LH_PEER_SIZE_MAX - 1),
	LH_FIELD(lh_event, reason, LH_FIELD_TEXT),
};

static const struct lh_field view_fields[] = {
	LH_FIELD(lh_event, view, LH_FIELD_UINT, .umin = 1),
	LH_FIELD(lh_event, members, LH_FIELD_HEX64),
	LH_FIELD(lh_event, gone, LH_FIELD_HEX64),
	LH_FIELD(lh_event, came, LH_FIELD_HEX64),
	LH_FIELD(lh_event, cause, LH_FIELD_WORD, .words = lh_view_cause_names),
	NS(noticed_ns),
	LH_FIELD(lh_event, version, LH_FIELD_UINT),
	LH_FIELD(lh_event, aborted_round, LH_FIELD_UINT),
	LH_FIELD(lh_event, samples_redealt, LH_FIELD_UINT),
};

static const struct lh_field synced_fields[] = {
	LH_FIELD(lh_event, version, LH_FIELD_UINT),
	LH_FIELD(lh_event, donor, LH_FIELD_UINT, .umax = LH_MEMBERS_MAX - 1),
	NS(begin_ns),
	LH_FIELD(lh_event, bytes_received, LH_FIELD_UINT),
	LH_FIELD(lh_event, state_hash, LH_FIELD_HEX64),
};

static const struct lh_field checkpoint_fields[] = {
	LH_FIELD(lh_event, version, LH_FIELD_UINT),
	NS(begin_ns),
	LH_FIELD(lh_event, bytes, LH_FIELD_UINT),
	LH_FIELD(lh_event, state_hash, LH_FIELD_HEX64),
};

static const struct lh_field left_fields[] = {
	LH_FIELD(lh_event, version, LH_FIELD_UINT),
};

static const struct lh_field samples_fields[] = {
	LH_FIELD(lh_event, epoch, LH_FIELD_UINT, .umin = 1),
	LH_FIELD(lh_event, ranges, LH_FIELD_TEXT),
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const struct {
	const struct lh_field *fields;
	size_t nfields;
} extra[] = {
	[LH_EVENT_LISTENING] = { NULL, 0 },
	[LH_EVENT_JOINED] = { joined_fields, COUNT(joined_fields) },
	[LH_EVENT_EPOCH] = { epoch_fields, COUNT(epoch_fields) },
	[LH_EVENT_EVAL] = { eval_fields, COUNT(eval_fields) },
	[LH_EVENT_BENCH] = { bench_fields, COUNT(bench_fields) },
	[LH_EVENT_FINISHED] = { NULL, 0 },
	[LH_EVENT_FAILED] = { failed_fields, COUNT(failed_fields) },
	[LH_EVENT_VIEW] = { view_fields, COUNT(view_fields) },
	[LH_EVENT_SYNCED] = { synced_fields, COUNT(synced_fields) },
	[LH_EVENT_CHECKPOINT] = { checkpoint_fields, COUNT(checkpoint_fields) },
	[LH_EVENT_LEFT] = { left_fields, COUNT(left_fields) },
	[LH_EVENT_SAMPLES] = { samples_fields, COUNT(samples_fields) },
};

/* Instants follow each other, and the members of a group are what the changes say; anything else is a number that would
 * be printed though it is false. */
static bool is_consistent(const struct lh_event *e)
{
	switch (e->kind) {
	case LH_EVENT_EPOCH:
		return e->begin_ns <= e->calc_end_ns && e->calc_end_ns <= e->exchange_end_ns &&
		       e->exchange_end_ns <= e->commit_ns && e->commit_ns <= e->t_ns && e->uses <= e->epoch &&
		       !e->groups == !e->group_size;
	case LH_EVENT_BENCH:
		return e->begin_ns <= e->exchange_end_ns && e->exchange_end_ns <= e->t_ns;
	case LH_EVENT_VIEW:
		return e->noticed_ns <= e->t_ns && e->members && !(e->came & ~e->members) &&
		       (!e->aborted_round || e->aborted_round == e->version + 1);
	case LH_EVENT_SYNCED:
	case LH_EVENT_CHECKPOINT:
		return e->begin_ns <= e->t_ns;
	default:
		return true;
	}
}

/* A reason may quote anything (a file name, another program); an event must get through all the same. */
static void make_printable(char *text, size_t size)
{
	text[size - 1] = 0;
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e)
			*text = '?';
}

int lh_event_print(const struct lh_event *e, char *buf, size_t size)
{
	struct lh_event copy = *e;
	if ((unsigned)e->kind >= COUNT(extra) || !is_consistent(e))
		return -EINVAL;
	if (copy.kind == LH_EVENT_FAILED) {
		make_printable(copy.reason, sizeof copy.reason);
		if (!*copy.reason)
			strcpy(copy.reason, "unknown");
	}
	json_t *o = json_object();
	int rc = o ? 0 : -ENOMEM;
	if (!rc)
		rc = lh_fields_print(o, common_fields, COUNT(common_fields), &copy, NULL);
	if (!rc)
		rc = lh_fields_print(o, extra[e->kind].fields, extra[e->kind].nfields, &copy, NULL);
	size_t len = rc ? 0 : json_dumpb(o, NULL, 0, JSON_COMPACT);
	if (!rc && len == 0)
		rc = -ENOMEM;
	if (!rc && (len + 2 > size || len + 2 > LH_EVENT_LINE_MAX))
		rc = -ENOSPC;
	if (!rc) {
		json_dumpb(o, buf, size, JSON_COMPACT);
		buf[len] = '\n';
		buf[len + 1] = 0;
		rc = (int)len + 1;
	}
	json_decref(o);
	return rc;
}

static int parse(const json_t *o, void *to, struct lh_err *err)
{
	struct lh_event *e = to;
	/* The kind decides which keys there are, so it is read before they are counted. */
	struct lh_field kind_field = common_fields[0];
	if (!json_is_object(o))
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "is not a JSON object");
	const char *all[64];
	size_t n = 0;
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)o, key, value) {
		if (n == COUNT(all) - 1)
			return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "too many keys");
		all[n++] = key;
	}
	all[n] = NULL;
	int rc = lh_fields_read(o, &kind_field, 1, all, e, err);
	if (rc)
		return rc;
	struct lh_field fields[40];
	size_t ncommon = COUNT(common_fields), nextra = extra[e->kind].nfields;
	memcpy(fields, common_fields, sizeof common_fields);
	if (nextra)
		memcpy(fields + ncommon, extra[e->kind].fields, nextra * sizeof *fields);
	rc = lh_fields_read(o, fields, ncommon + nextra, NULL, e, err);
	if (rc)
		return rc;
	if (!is_consistent(e))
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "its instants do not follow each other, or its members do not fit");
	return 0;
}

int lh_event_parse(const char *line, size_t len, struct lh_event *ret, struct lh_err *err)
{
	struct lh_event e = { .loss_sum = NAN, .culprit = -1 };
	int rc = lh_line_read("event", line, len, LH_EVENT_LINE_MAX, parse, &e, err);
	if (rc)
		return rc;
	*ret = e;
	return 0;
}
