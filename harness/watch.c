/* watch.c - see watch.h. */
#include "watch.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "stats.h"

int lh_watch_init(struct lh_watch *w, const struct lh_topology *t, struct lh_err *err)
{
	*w = (struct lh_watch){ .topology = t, .links = calloc((size_t)t->nsites * t->nsites, sizeof *w->links) };
	if (!w->links)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "counters of %u sites", t->nsites);
	return 0;
}

static size_t count_links(const struct lh_watch *w)
{
	return w->links ? (size_t)w->topology->nsites * w->topology->nsites : 0;
}

void lh_watch_done(struct lh_watch *w)
{
	for (size_t i = 0; i < count_links(w); i++)
		free(w->links[i].rtt_s);
	free(w->links);
	*w = (struct lh_watch){ 0 };
}

/* A link that no node can use carries nothing. */
static bool is_used(const struct lh_watch *w, size_t i)
{
	const struct lh_topology *t = w->topology;
	unsigned from = (unsigned)(i / t->nsites), to = (unsigned)(i % t->nsites);

	return lh_topology_site_nodes(t, from) && lh_topology_site_nodes(t, to) >= 1u + (from == to);
}

static bool read_link(struct lh_watch *w, struct lh_net *net, size_t i)
{
	struct lh_watch_link *l = &w->links[i];
	unsigned nsites = w->topology->nsites;
	struct lh_link_counters now;

	if (!is_used(w, i) || lh_net_observe(net, (unsigned)(i / nsites), (unsigned)(i % nsites), &now, NULL) < 0)
		return false;
	l->known = true;
	l->last = now;
	if (now.backlog_packets > l->backlog_packets_max)
		l->backlog_packets_max = now.backlog_packets;
	return true;
}

void lh_watch_begin(struct lh_watch *w, struct lh_net *net)
{
	for (size_t i = 0; i < count_links(w); i++) {
		w->links[i] = (struct lh_watch_link){ 0 };
		if (read_link(w, net, i))
			w->links[i].first = w->links[i].last;
	}
}

struct json_t *lh_watch_tick(struct lh_watch *w, struct lh_net *net)
{
	const struct lh_topology *t = w->topology;
	json_t *changed = json_array();
	size_t n = count_links(w);

	for (size_t k = 0; k < n && k < LH_WATCH_PER_TICK; k++, w->next = (w->next + 1) % n) {
		struct lh_watch_link *l = &w->links[w->next];
		struct lh_link_counters before = l->last;
		if (!read_link(w, net, w->next) ||
		    (l->last.packets == before.packets && l->last.drops == before.drops &&
		     l->last.backlog_packets == before.backlog_packets))
			continue;
		w->bytes += l->last.bytes - before.bytes;
		json_array_append_new(changed, json_pack(
			"{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "from", t->sites[w->next / t->nsites].name, "to",
			t->sites[w->next % t->nsites].name, "packets",
			(json_int_t)(l->last.packets - l->first.packets), "bytes",
			(json_int_t)(l->last.bytes - l->first.bytes), "drops",
			(json_int_t)(l->last.drops - l->first.drops), "backlog_packets",
			(json_int_t)l->last.backlog_packets, "backlog_bytes", (json_int_t)l->last.backlog_bytes));
	}
	if (json_array_size(changed) == 0) {
		json_decref(changed);
		return NULL;
	}
	return changed;
}

void lh_watch_ping(struct lh_watch *w, unsigned from, unsigned to, lh_ns rtt_ns)
{
	struct lh_watch_link *l = &w->links[(size_t)from * w->topology->nsites + to];

	l->pings++;
	if (rtt_ns < 0) {
		l->pings_lost++;
		return;
	}
	if (l->nrtt == l->rtt_room) {
		size_t room = l->rtt_room ? 2 * l->rtt_room : 64;
		double *more = realloc(l->rtt_s, room * sizeof *more);
		if (!more)
			return; /* one sample less; events.jsonl has it */
		l->rtt_s = more;
		l->rtt_room = room;
	}
	l->rtt_s[l->nrtt++] = (double)rtt_ns / 1e9;
}

void lh_watch_end(struct lh_watch *w, struct lh_net *net, struct lh_link_traffic *ret)
{
	for (size_t i = 0; i < count_links(w); i++) {
		struct lh_watch_link *l = &w->links[i];
		bool known = l->known && read_link(w, net, i);
		struct lh_stats rtt;
		if (lh_stats_compute(l->rtt_s, l->nrtt, &rtt) < 0)
			rtt = (struct lh_stats){ .median = NAN, .max = NAN };
		struct lh_link_traffic *tr = &ret[i];
		*tr = (struct lh_link_traffic){
			.known = known || !is_used(w, i),
			.packets = l->last.packets - l->first.packets,
			.bytes = l->last.bytes - l->first.bytes,
			.drops = l->last.drops - l->first.drops,
			.backlog_packets_max = l->backlog_packets_max,
			.pings = l->pings, .pings_lost = l->pings_lost,
			.rtt_median_s = rtt.median, .rtt_max_s = rtt.max,
		};
		for (unsigned k = 0; k < LH_DROP_CAUSES; k++)
			tr->drops_by[k] = l->last.drops_by[k] - l->first.drops_by[k];
	}
}

char *lh_watch_drop_cause(const struct lh_link_traffic *tr, char *buf, size_t size)
{
	static const char *const names[LH_DROP_CAUSES] = {
		[LH_DROP_QUEUE] = "queue", [LH_DROP_LOSS] = "loss model",
		[LH_DROP_LOSS_OR_QUEUE] = "loss model or queue", [LH_DROP_CUT] = "cut",
	};
	size_t used = 0;

	buf[0] = 0;
	for (unsigned i = 0; i < LH_DROP_CAUSES; i++) {
		if (tr->drops_by[i] && used < size)
			used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "", names[i]);
	}
	return buf;
}
