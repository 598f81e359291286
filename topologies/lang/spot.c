/* spot.c - machines that are taken away and given back: `spot:` -> kills, notices and starts of peers.
 *
 * A peer's spot is its group's, else its site's, else the file's, as a whole. With `mean`, a peer that runs is killed
 * after an exponentially distributed time, and again after each start: a Poisson process while it is there. All is
 * drawn here, before anything runs, from the file's seed and the peer's name: the same file is interrupted in the same
 * way each time, and a peer's fate does not change when another one is added. A trace is taken as it is.
 */
#include "lang.h"

#include <math.h>
#include <string.h>

#include "hash.h"

/* The providers' own figures for the time from the notice to the end. */
static const lh_ns notice_times[] = { 120 * LH_NS_PER_S, 30 * LH_NS_PER_S, 30 * LH_NS_PER_S }; /* aws, gcp, azure */

static lh_ns time_or_word(const struct lang_node *n, const lh_ns *words)
{
	return n->bad ? 0 : n->v.or_word.word < 0 ? n->v.or_word.ns : words[n->v.or_word.word];
}

struct lh_spot lang_spot_of(struct lang *l, unsigned peer)
{
	static const lh_ns never[] = { -1 };
	const struct lang_node *map = l->peer_spot[peer], *mean;
	struct lh_spot s = { .restart_ns = -1 };
	if (!map || map->kind != LANG_MAP || map->bad)
		return s;
	mean = lang_good(map, "mean");
	s.mean_ns = mean ? mean->v.ns : 0;
	s.notice_ns = time_or_word(lang_get(l, map, S_SPOT, "notice"), notice_times);
	s.restart_ns = time_or_word(lang_get(l, map, S_SPOT, "restart"), never);
	s.until_ns = lang_get(l, map, S_SPOT, "until")->v.ns;
	return s;
}

/* Uniform in (0, 1]. */
static double draw(uint64_t *state)
{
	*state += LH_MIX64_STEP;
	return (double)((lh_mix64(*state) >> 11) + 1) * 0x1p-53;
}

/* From a kill on: the notice before it, the start after it. Returns when the peer runs again, -1: never. */
static lh_ns add_kill(struct lang *l, struct lang_events *list, unsigned peer, lh_ns since, lh_ns kill, bool poisson,
		      const struct lang_span *at)
{
	const struct lh_spot *s = &l->exp.spot[peer];
	lh_ns notice = kill - s->notice_ns > since ? kill - s->notice_ns : since;
	if (s->notice_ns && !lang_event_peer(l, list, LH_CHANGE_NOTICE, peer, notice, poisson, at))
		return -1;
	if (!lang_event_peer(l, list, LH_CHANGE_KILL, peer, kill, poisson, at) || s->restart_ns < 0)
		return -1;
	return lang_event_peer(l, list, LH_CHANGE_ADD, peer, kill + s->restart_ns, poisson, at) ? kill + s->restart_ns
											       : -1;
}

static void poisson(struct lang *l, struct lang_events *list, unsigned peer, const struct lang_span *at)
{
	const struct lh_spot *s = &l->exp.spot[peer];
	const char *name = l->exp.topology.peers[peer].name;
	uint64_t state = lh_mix64(l->exp.topology.seed ^ lh_hash64(name, strlen(name), 0));
	for (lh_ns since = 0; since >= 0;) {
		double up = -log(draw(&state)) * (double)s->mean_ns / LH_NS_PER_MS;
		if (!((double)since / LH_NS_PER_MS + up < (double)s->until_ns / LH_NS_PER_MS))
			return;
		since = add_kill(l, list, peer, since, since + (1 + (lh_ns)up) * LH_NS_PER_MS, true, at);
	}
}

/* --- traces --- */

static void trace_row(struct lang *l, struct lang_events *list, const struct lang_node *map, struct lang_node **row,
		      lh_ns *last)
{
	static const char *const words[] = { "kill", "notice", "add" };
	static const enum lh_change_kind kinds[] = { LH_CHANGE_KILL, LH_CHANGE_NOTICE, LH_CHANGE_ADD };
	lang_type(l, row[0], &lang_key_find(S_EVENT, "at")->value, "time", &row[0]->at);
	size_t what = 0;
	while (what < 3 && strcmp(words[what], row[2]->text))
		what++;
	if (row[0]->bad || row[1]->bad || row[2]->bad)
		return;
	int peer = lang_peer_find(l, row[1]);
	const struct lh_spot *s = peer < 0 ? NULL : &l->exp.spot[peer];
	if (peer >= 0 && l->peer_spot[peer] != map)
		lang_error(l, &row[1]->at, "peer %s has another spot than the one with this trace", row[1]->text);
	else if (what == 3)
		lang_error(l, &row[2]->at, "\"%s\" is none of kill, notice, add%s", row[2]->text,
			   lang_nearest(l, row[2]->text, words, 3));
	else if (row[0]->v.ns < *last)
		lang_error(l, &row[0]->at, "time goes back");
	else if (s && ((what == 1 && s->notice_ns) || (what == 2 && s->restart_ns >= 0)))
		lang_error(l, &row[2]->at, "%s: the spot's %s makes these; give one of them", words[what],
			   what == 1 ? "notice" : "restart");
	else if (s && what == 0)
		add_kill(l, list, (unsigned)peer, 0, row[0]->v.ns, false, &row[0]->at);
	else if (s)
		lang_event_peer(l, list, kinds[what], (unsigned)peer, row[0]->v.ns, false, &row[0]->at);
	*last = row[0]->v.ns;
}

static void trace(struct lang *l, struct lang_events *list, const struct lang_node *map)
{
	static const char *const header[] = { "time", "peer", "what" };
	const struct lang_node *path = lang_good(map, "trace");
	struct lang_csv csv;
	lh_ns last = 0;
	if (!path || !lang_csv_read(l, path, 3, &csv))
		return;
	for (size_t i = 0; i < 3; i++)
		if (i >= csv.columns || strcmp(csv.cells[i]->text, header[i])) {
			lang_error(l, &csv.cells[i < csv.columns ? i : 0]->at, "the header is time,peer,what");
			return;
		}
	for (size_t r = 1; r < csv.rows; r++)
		trace_row(l, list, map, &csv.cells[r * 3], &last);
}

/* --- */

/* Once for each map of the file, however many peers have it. */
static bool check(struct lang *l, const struct lang_node *map)
{
	const struct lh_training *t = &l->exp.training;
	bool mean = lang_find(map, "mean"), has_trace = lang_find(map, "trace");
	const struct lang_node *until = lang_good(map, "until");
	if (mean == has_trace)
		lang_error(l, &map->at, mean ? "spot: mean and trace exclude each other"
					     : "spot: when are peers taken away? give mean or trace, or spot: none");
	else if (until && has_trace)
		lang_error(l, &until->at, "until: belongs to mean; a trace says when it ends");
	else if (t->given && t->membership != LH_MEMBERSHIP_ELASTIC)
		lang_error(l, &map->at, "spot: needs training.membership: elastic; with fixed the first loss ends the "
			   "run");
	else
		return !map->bad;
	return false;
}

void lang_spot(struct lang *l, struct lang_events *list)
{
	const struct lh_topology *t = &l->exp.topology;
	for (unsigned i = 0; i < t->npeers; i++) {
		const struct lang_node *map = l->peer_spot[i];
		bool first = map && map->kind == LANG_MAP;
		for (unsigned k = 0; k < i && first; k++)
			first = l->peer_spot[k] != map;
		if (!first || !check(l, map))
			continue;
		if (lang_find(map, "trace"))
			trace(l, list, map);
		for (unsigned k = i; k < t->npeers && lang_find(map, "mean"); k++)
			if (l->peer_spot[k] == map)
				poisson(l, list, k, &map->at);
	}
}
