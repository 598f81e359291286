/* timeline.c - see timeline.h. Two passes, so that memory does not grow with the run: one counts and finds the go, one
 * writes. Hot lines are printed by hand from numbers and our own words; whatever holds a name goes through jansson.
 */
#include "timeline.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "eventlog.h"

/* A link that was read and not listed carried nothing; with more links than one tick reads it may not have been read. */
#define LINKS_PER_TICK 64
/* Between two readings that follow each other. */
#define TICK_MAX_NS (5 * LH_NS_PER_S / 2)

struct track { /* a link's counters */
	lh_ns t_ns;               /* of the last reading that listed it; 0: none */
	int64_t bytes, drops;
	bool moving;              /* the last point said that it carries something */
};

struct timeline {
	const struct lh_topology *t;
	FILE *out;
	bool first;               /* nothing was written yet */
	lh_ns go_ns, end_ns;      /* of the log; -1: no go */
	size_t rounds, spans, readings, points, exchanges; /* counted by the first pass */
	unsigned every_round, every_span, every_reading; /* shown are those whose number is a multiple */
	size_t at_reading, at_ping;
	lh_ns tick_ns;            /* the reading before */
	struct track *tracks;     /* [nsites * nsites] */
};

/* ---- printing ---- */

static void separate(struct timeline *tl)
{
	fputs(tl->first ? "\n" : ",\n", tl->out);
	tl->first = false;
}

/* Microseconds since the go, with the nanoseconds. */
static void put_time(struct timeline *tl, const char *key, lh_ns ns)
{
	fprintf(tl->out, ",\"%s\":%" PRId64 ".%03d", key, ns / 1000, (int)(ns % 1000));
}

static void put_json(struct timeline *tl, json_t *o)
{
	separate(tl);
	json_dumpf(o, tl->out, JSON_COMPACT | JSON_REAL_PRECISION(9));
	json_decref(o);
}

static int pid_of(unsigned site)
{
	return (int)site + 1;
}

static void put_place(struct timeline *tl, unsigned rank)
{
	fprintf(tl->out, ",\"pid\":%d,\"tid\":%u", pid_of(tl->t->peers[rank].site), rank + 1);
}

static double us(const struct timeline *tl, lh_ns t_ns)
{
	return (double)(t_ns - tl->go_ns) / 1e3;
}

static void put_names(struct timeline *tl)
{
	const struct lh_topology *t = tl->t;

	for (unsigned i = 0; i < t->nsites; i++) {
		char name[LH_NAME_MAX + 8];
		snprintf(name, sizeof name, "site %s", t->sites[i].name);
		put_json(tl, json_pack("{s:s, s:s, s:i, s:{s:s}}", "ph", "M", "name", "process_name", "pid", pid_of(i),
				       "args", "name", name));
		put_json(tl, json_pack("{s:s, s:s, s:i, s:{s:i}}", "ph", "M", "name", "process_sort_index", "pid",
				       pid_of(i), "args", "sort_index", (int)i));
	}
	for (unsigned i = 0; i < t->npeers; i++) {
		int pid = pid_of(t->peers[i].site), tid = (int)i + 1;
		put_json(tl, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "ph", "M", "name", "thread_name", "pid", pid,
				       "tid", tid, "args", "name", t->peers[i].name));
		put_json(tl, json_pack("{s:s, s:s, s:i, s:i, s:{s:i}}", "ph", "M", "name", "thread_sort_index", "pid",
				       pid, "tid", tid, "args", "sort_index", tid));
	}
}

/* ---- rounds ---- */

static bool is_shown(unsigned every, size_t number)
{
	return every && (number - 1) % every == 0;
}

static void put_exchanges(struct timeline *tl, const struct lh_spans *s)
{
	for (uint32_t i = 0; i < s->nexchanges; i++) {
		if (!s->exchanges[i].to_ns || s->exchanges[i].from_ns < tl->go_ns)
			continue;
		for (unsigned end = 0; end < 2; end++) {
			lh_ns at = end ? s->exchanges[i].to_ns : s->exchanges[i].from_ns;
			separate(tl);
			fprintf(tl->out, "{\"ph\":\"%s\",\"cat\":\"exchange\",\"name\":\"exchange\",\"id\":\"%u.%u\"",
				end ? "e" : "b", s->rank, s->exchanges[i].number);
			put_place(tl, s->rank);
			put_time(tl, "ts", at - tl->go_ns);
			fprintf(tl->out, ",\"args\":{\"number\":%u}}", s->exchanges[i].number);
		}
	}
}

static void put_round(struct timeline *tl, const struct lh_spans *s)
{
	separate(tl);
	fprintf(tl->out, "{\"ph\":\"X\",\"cat\":\"round\",\"name\":\"round %u\"", s->epoch);
	put_place(tl, s->rank);
	put_time(tl, "ts", s->begin_ns - tl->go_ns);
	put_time(tl, "dur", s->end_ns - s->begin_ns);
	fputs(",\"args\":{", tl->out);
	for (unsigned k = 0, n = 0; k < LH_SPAN_KINDS; k++)
		if (s->total_ns[k])
			fprintf(tl->out, "%s\"%s_s\":%.9f", n++ ? "," : "", lh_span_names[k],
				(double)s->total_ns[k] / 1e9);
	if (s->has_tcp)
		fprintf(tl->out, ",\"tcp_busy_s\":%.9f,\"tcp_window_s\":%.9f,\"tcp_buffer_s\":%.9f,"
			"\"tcp_retransmits\":%" PRIu64, (double)s->tcp_busy_ns / 1e9, (double)s->tcp_window_ns / 1e9,
			(double)s->tcp_buffer_ns / 1e9, s->tcp_retransmits);
	fputs("}}", tl->out);
}

static void put_span(struct timeline *tl, const struct lh_spans *s, const struct lh_span *p)
{
	separate(tl);
	fprintf(tl->out, "{\"ph\":\"X\",\"cat\":\"peer\",\"name\":\"%s\"", lh_span_names[p->kind]);
	put_place(tl, s->rank);
	put_time(tl, "ts", s->begin_ns - tl->go_ns + (lh_ns)p->from_us * 1000);
	put_time(tl, "dur", (lh_ns)(p->to_us - p->from_us) * 1000);
	if (p->merged > 1)
		fprintf(tl->out, ",\"args\":{\"spans\":%u}", p->merged);
	fputc('}', tl->out);
}

static int write_spans(void *ctx, const struct lh_spans *s, struct lh_err *err)
{
	struct timeline *tl = ctx;

	if (s->rank >= tl->t->npeers)
		return lh_err_set(err, LH_EXIT_INPUT, -EPROTO, "spans of rank %u among %u peers", s->rank,
				  tl->t->npeers);
	if (s->begin_ns < tl->go_ns || !is_shown(tl->every_round, s->epoch))
		return 0;
	put_round(tl, s);
	put_exchanges(tl, s);
	for (uint32_t i = 0; is_shown(tl->every_span, s->epoch) && i < s->nspans; i++)
		put_span(tl, s, &s->spans[i]);
	return 0;
}

/* ---- links ---- */

/* Index of the link that an entry of "links" or "pings" names; nsites^2: none of ours. */
static size_t link_of(const struct timeline *tl, const json_t *entry)
{
	const char *from = json_string_value(json_object_get(entry, "from"));
	const char *to = json_string_value(json_object_get(entry, "to"));
	const struct lh_topology *t = tl->t;
	size_t a = 0, b = 0;

	while (from && a < t->nsites && strcmp(t->sites[a].name, from) != 0)
		a++;
	while (to && b < t->nsites && strcmp(t->sites[b].name, to) != 0)
		b++;
	return from && to && a < t->nsites && b < t->nsites ? a * t->nsites + b : (size_t)t->nsites * t->nsites;
}

static void put_counter(struct timeline *tl, size_t link, const char *what, lh_ns t_ns, double value)
{
	const struct lh_topology *t = tl->t;
	char name[2 * LH_NAME_MAX + 32];

	snprintf(name, sizeof name, "%s->%s %s", t->sites[link / t->nsites].name, t->sites[link % t->nsites].name,
		 what);
	put_json(tl, json_pack("{s:s, s:s, s:i, s:f, s:{s:f}}", "ph", "C", "name", name, "pid",
			       pid_of((unsigned)(link / t->nsites)), "ts", us(tl, t_ns), "args", "value", value));
}

static int64_t integer(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void read_link(struct timeline *tl, const json_t *entry, lh_ns t_ns, bool all_are_read, bool shown)
{
	size_t link = link_of(tl, entry);
	int64_t bytes = integer(entry, "bytes"), drops = integer(entry, "drops");

	if (link >= (size_t)tl->t->nsites * tl->t->nsites)
		return;
	struct track *k = &tl->tracks[link];
	/* What was not listed at the reading before had not moved by then. */
	lh_ns since = all_are_read ? tl->tick_ns : k->t_ns ? k->t_ns : tl->go_ns;
	if (shown && t_ns > since) {
		put_counter(tl, link, "Mbit/s", t_ns, (double)(bytes - k->bytes) * 8e3 / (double)(t_ns - since));
		put_counter(tl, link, "queue (packets)", t_ns, (double)integer(entry, "backlog_packets"));
		if (drops != k->drops)
			put_counter(tl, link, "drops", t_ns, (double)drops);
	}
	*k = (struct track){ .t_ns = t_ns, .bytes = bytes, .drops = drops, .moving = true };
}

static void write_links(struct timeline *tl, const json_t *links, lh_ns t_ns)
{
	size_t n = (size_t)tl->t->nsites * tl->t->nsites, i;
	bool all_are_read = n <= LINKS_PER_TICK && t_ns - tl->tick_ns <= TICK_MAX_NS;
	bool shown = is_shown(tl->every_reading, ++tl->at_reading);
	const json_t *entry;

	json_array_foreach(links, i, entry)
		read_link(tl, entry, t_ns, all_are_read, shown);
	for (size_t k = 0; n <= LINKS_PER_TICK && k < n; k++)
		if (tl->tracks[k].moving && tl->tracks[k].t_ns < t_ns) { /* it was read and had not moved */
			put_counter(tl, k, "Mbit/s", t_ns, 0);
			tl->tracks[k].moving = false;
		}
	tl->tick_ns = t_ns;
}

static void write_pings(struct timeline *tl, const json_t *pings)
{
	const json_t *entry, *rtt;
	size_t i;

	json_array_foreach(pings, i, entry) {
		size_t link = link_of(tl, entry);
		lh_ns sent = integer(entry, "sent_ns");
		rtt = json_object_get(entry, "rtt_ns");
		if (link < (size_t)tl->t->nsites * tl->t->nsites && json_is_integer(rtt) && sent >= tl->go_ns &&
		    is_shown(tl->every_reading, ++tl->at_ping))
			put_counter(tl, link, "RTT (ms)", sent, (double)json_integer_value(rtt) / 1e6);
	}
}

/* ---- what happened ---- */

static void put_instant(struct timeline *tl, const char *name, int rank, lh_ns t_ns)
{
	json_t *o;

	if (t_ns < tl->go_ns)
		return;
	o = json_pack("{s:s, s:s, s:s, s:f, s:i}", "ph", "i", "s", rank < 0 ? "g" : "t", "name", name, "ts",
		      us(tl, t_ns), "pid", rank < 0 ? 1 : pid_of(tl->t->peers[rank].site));
	if (rank >= 0)
		json_object_set_new(o, "tid", json_integer(rank + 1));
	put_json(tl, o);
}

static int write_peer(void *ctx, const struct lh_event *e, struct lh_err *err)
{
	struct timeline *tl = ctx;
	char text[320];

	if (e->rank >= tl->t->npeers)
		return lh_err_set(err, LH_EXIT_INPUT, -EPROTO, "event of rank %u among %u peers", e->rank,
				  tl->t->npeers);
	switch (e->kind) {
	case LH_EVENT_EPOCH:
		return 0; /* its spans line has it */
	case LH_EVENT_FAILED:
		snprintf(text, sizeof text, "failed: %s", e->reason);
		break;
	case LH_EVENT_VIEW:
		snprintf(text, sizeof text, "view %u: %s", e->view, lh_view_cause_names[e->cause]);
		break;
	default:
		snprintf(text, sizeof text, "%s", lh_event_names[e->kind]);
	}
	put_instant(tl, text, (int)e->rank, e->t_ns);
	return 0;
}

static int write_harness(void *ctx, const char *kind, const json_t *line, struct lh_err *err)
{
	struct timeline *tl = ctx;
	lh_ns t_ns = integer(line, "t_ns");

	if (t_ns < tl->go_ns)
		return 0;
	if (!strcmp(kind, "links")) {
		write_links(tl, json_object_get(line, "links"), t_ns);
	} else if (!strcmp(kind, "pings")) {
		write_pings(tl, json_object_get(line, "pings"));
	} else if (!strcmp(kind, "change")) {
		const char *what = json_string_value(json_object_get(line, "what"));
		put_instant(tl, what ? what : kind, -1, t_ns);
	} else if (!strcmp(kind, "exited")) {
		const char *name = json_string_value(json_object_get(line, "peer"));
		for (unsigned i = 0; name && i < tl->t->npeers; i++)
			if (!strcmp(tl->t->peers[i].name, name))
				put_instant(tl, kind, (int)i, t_ns);
	}
	return 0;
}

/* ---- the first pass ---- */

static int count_spans(void *ctx, const struct lh_spans *s, struct lh_err *err)
{
	struct timeline *tl = ctx;

	tl->rounds++;
	tl->spans += s->nspans;
	tl->exchanges += 2 * s->nexchanges;
	return 0;
}

static int count_harness(void *ctx, const char *kind, const json_t *line, struct lh_err *err)
{
	struct timeline *tl = ctx;

	if (!strcmp(kind, "go"))
		tl->go_ns = integer(line, "t_ns");
	if (!strcmp(kind, "links"))
		tl->points += 3 * json_array_size(json_object_get(line, "links"));
	if (!strcmp(kind, "pings"))
		tl->points += json_array_size(json_object_get(line, "pings"));
	return 0;
}

static unsigned every(size_t events, size_t most)
{
	return (unsigned)((events + most - 1) / most) + (events == 0);
}

static void put_header(struct timeline *tl)
{
	char left_out[256] = "nothing";

	if (tl->every_round > 1 || tl->every_span > 1 || tl->every_reading > 1)
		snprintf(left_out, sizeof left_out, "for size: shown are every %u. round, the spans of every %u. round, "
			 "and every %u. reading of the counters", tl->every_round, tl->every_span, tl->every_reading);
	json_t *other = json_pack("{s:s, s:s, s:s, s:s}", "made_by", "longhaul", "name", tl->t->name, "left_out", left_out,
				  "clock", "CLOCK_MONOTONIC, microseconds since the go");
	fputs("{\"displayTimeUnit\":\"ms\",\"otherData\":", tl->out);
	json_dumpf(other, tl->out, JSON_COMPACT);
	json_decref(other);
	fputs(",\"traceEvents\":[", tl->out);
}

static int write_all(struct timeline *tl, FILE *events, struct lh_err *err)
{
	const struct lh_eventlog_handler h = { write_peer, write_harness, tl, write_spans };

	tl->tick_ns = tl->go_ns;
	tl->first = true;
	put_header(tl);
	put_names(tl);
	int rc = tl->go_ns >= 0 ? lh_eventlog_read(events, &h, NULL, err) : 0;
	fputs("\n]}\n", tl->out);
	return rc;
}

int lh_timeline_write(const struct lh_topology *t, FILE *events, size_t most, FILE *out, struct lh_err *err)
{
	struct timeline tl = { .t = t, .out = out, .go_ns = -1 };
	const struct lh_eventlog_handler count = { NULL, count_harness, &tl, count_spans };

	rewind(events);
	int rc = lh_eventlog_read(events, &count, NULL, err);
	if (rc < 0)
		return rc;
	tl.tracks = calloc((size_t)t->nsites * t->nsites + 1, sizeof *tl.tracks);
	if (!tl.tracks)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "counters of %u sites", t->nsites);
	tl.every_round = every(tl.rounds + tl.exchanges, most);
	/* Both conditions must hold for a span, so it is a multiple. */
	tl.every_span = tl.every_round * every(tl.spans / tl.every_round, most);
	tl.every_reading = every(tl.points, most);
	rewind(events);
	rc = write_all(&tl, events, err);
	free(tl.tracks);
	if (rc == 0 && ferror(out))
		rc = lh_err_sys(err, LH_EXIT_BROKE, -EIO, "trace");
	return rc;
}
