/* rtt.c - the floor of the path, the RTT gate, and the check that traffic crosses the shaped interface.
 *
 * Judged is the median of the echoes of a link against what was asked, plus the time that the link's rate takes to
 * send the echo itself. A link out of tolerance is measured again: RETRIES times when even its fastest echo was out
 * of tolerance, since a wrong qdisc stays wrong; RETRIES_BUSY times, with growing pauses, when the fastest was right,
 * since then the machine was late and not the link. docs/MEASUREMENT.md has the formulas.
 */
#include "probe.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"
#include "ping.h"

#define FLOOR_MAX_NS (LH_NS_PER_MS / 2)
#define SPACING_NS LH_NS_PER_MS            /* between any two echoes */
#define SPACING_MANY_NS (LH_NS_PER_MS / 4) /* the same where more than MANY_PAIRS are measured: or it takes minutes */
/* Between two of one link: further apart than the time slices of a scheduler. */
#define LINK_SPACING_NS (20 * LH_NS_PER_MS)
#define WAIT_SLACK_NS (LH_NS_PER_S / 2)

enum {
	FLOOR_PINGS = 20,
	PEER_PINGS = 10,
	PEER_PINGS_MANY = 5,
	MANY_PEERS = 100,
	MANY_PAIRS = 64,
	RETRIES = 2,
	RETRIES_BUSY = 8
};
#define PAUSE_NS (100 * LH_NS_PER_MS)

/* ---- expectations ---- */

bool lh_probe_pair_of(const struct lh_topology *t, unsigned from, unsigned to, unsigned *ret_a, unsigned *ret_b)
{
	if (!lh_topology_site_nodes(t, from) || lh_topology_site_nodes(t, to) < 1u + (from == to))
		return false;
	*ret_a = lh_topology_node(t, from, 0);
	*ret_b = lh_topology_node(t, to, from == to);
	return true;
}

/* The wire time of one echo on a link that has a rate. */
static lh_ns echo_time(const struct lh_topology *t, const struct lh_impairment *imp)
{
	if (!imp->rate_bps)
		return 0;
	int64_t bytes = LH_PING_FRAME_BYTES(t->ipv6) + imp->rate_overhead_bytes;
	return bytes > 0 ? (lh_ns)((double)bytes * 8e9 / (double)imp->rate_bps) : 0;
}

/* What a ping between the sites should say, and how far it may be off. */
static void expectation(const struct lh_topology *t, const struct lh_probe_spec *spec, unsigned from, unsigned to,
			lh_ns *ret_expected, lh_ns *ret_tolerance)
{
	const struct lh_link *there = lh_topology_link(t, from, to), *back = lh_topology_link(t, to, from);
	lh_ns rtt = there->imp.delay_ns + back->imp.delay_ns;
	lh_ns relative = (lh_ns)((double)rtt * spec->tolerance_rel_ppb / LH_PPB_ONE);
	*ret_expected = rtt + echo_time(t, &there->imp) + echo_time(t, &back->imp);
	*ret_tolerance = (relative > spec->tolerance_abs_ns ? relative : spec->tolerance_abs_ns) +
			 there->imp.jitter_ns + back->imp.jitter_ns + there->imp.slot_max_ns + back->imp.slot_max_ns;
}

/* ---- samples ---- */

static int compare_ns(const void *a, const void *b)
{
	lh_ns x = *(const lh_ns *)a, y = *(const lh_ns *)b;
	return (x > y) - (x < y);
}

/* Sorts; returns how many were answered. Median and p99 by nearest rank. */
static unsigned summarize(lh_ns *rtt, unsigned count, lh_ns *ret_min, lh_ns *ret_median, lh_ns *ret_p99)
{
	unsigned lost = 0;
	qsort(rtt, count, sizeof *rtt, compare_ns);
	while (lost < count && rtt[lost] < 0)
		lost++;
	unsigned n = count - lost;
	*ret_min = *ret_median = *ret_p99 = -1;
	if (n) {
		const lh_ns *s = rtt + lost;
		*ret_min = s[0];
		*ret_median = s[(n - 1) / 2];
		*ret_p99 = s[(99 * n + 99) / 100 - 1];
	}
	return n;
}

static lh_ns spacing_of(size_t npairs)
{
	lh_ns least = npairs > MANY_PAIRS ? SPACING_MANY_NS : SPACING_NS;
	return npairs && LINK_SPACING_NS / (lh_ns)npairs > least ? LINK_SPACING_NS / (lh_ns)npairs : least;
}

/* Echoes of one link must not queue behind each other where its rate is low. */
static lh_ns spacing_for(const struct lh_topology *t, const struct lh_ping_pair *pairs, size_t npairs)
{
	lh_ns spacing = spacing_of(npairs);
	for (size_t i = 0; i < npairs; i++) {
		unsigned from = t->peers[pairs[i].from].site, to = t->peers[pairs[i].to].site;
		lh_ns there = echo_time(t, &lh_topology_link(t, from, to)->imp);
		lh_ns back = echo_time(t, &lh_topology_link(t, to, from)->imp);
		lh_ns need = 2 * (there > back ? there : back);
		/* A link's own echoes are npairs slots apart; echoes and answers of the mirrored pair share it. */
		if (need * 2 > spacing * (lh_ns)npairs)
			spacing = need * 2 / (lh_ns)npairs;
	}
	return spacing;
}

static lh_ns wait_for(const struct lh_experiment *exp, const struct lh_ping_pair *pairs, size_t npairs)
{
	const struct lh_topology *t = &exp->topology;
	lh_ns wait = 0;
	for (size_t i = 0; i < npairs; i++) {
		lh_ns expected, tolerance;
		expectation(t, &exp->probe, t->peers[pairs[i].from].site, t->peers[pairs[i].to].site, &expected,
			    &tolerance);
		if (2 * (expected + tolerance) > wait)
			wait = 2 * (expected + tolerance);
	}
	return wait + WAIT_SLACK_NS;
}

/* A busy machine gets a moment, longer each time. */
static void pause_before(int round)
{
	struct timespec t = { 0, PAUSE_NS * round };
	if (round > 0 && !lh_probe_interrupted())
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/* ---- floors ---- */

/* One round over the pairs still wanted; keeps the smaller median. */
static int floors_round(struct lh_net *net, const struct lh_topology *t, lh_ns *floor_ns, lh_ns *samples,
			struct lh_ping_pair *pairs, struct lh_err *err)
{
	size_t n = 0;
	for (unsigned from = 0; from < t->nsites; from++)
		for (unsigned to = 0; to < t->nsites; to++) {
			unsigned a, b;
			lh_ns have = floor_ns[from * t->nsites + to];
			if ((have >= 0 && have <= FLOOR_MAX_NS) || !lh_probe_pair_of(t, from, to, &a, &b))
				continue;
			pairs[n] = (struct lh_ping_pair){ a, b, samples + n * FLOOR_PINGS };
			n++;
		}
	if (!n)
		return 0;
	struct lh_ping_plan plan = { FLOOR_PINGS, spacing_of(n), WAIT_SLACK_NS };
	int rc = lh_ping_run(net, t, &plan, pairs, n, err);
	for (size_t i = 0; i < n && !rc; i++) {
		lh_ns min, median, p99;
		unsigned from = t->peers[pairs[i].from].site, to = t->peers[pairs[i].to].site;
		lh_ns *have = &floor_ns[from * t->nsites + to];
		if (summarize(pairs[i].rtt_ns, FLOOR_PINGS, &min, &median, &p99) && (*have < 0 || median < *have))
			*have = median;
	}
	return rc;
}

static bool floors_missing(const struct lh_topology *t, const lh_ns *floor_ns)
{
	unsigned a, b;
	for (unsigned i = 0; i < t->nsites * t->nsites; i++)
		if ((floor_ns[i] < 0 || floor_ns[i] > FLOOR_MAX_NS) &&
		    lh_probe_pair_of(t, i / t->nsites, i % t->nsites, &a, &b))
			return true;
	return false;
}

int lh_probe_floors(struct lh_net *net, const struct lh_topology *t, lh_ns *ret_floor_ns, struct lh_err *err)
{
	size_t n = (size_t)t->nsites * t->nsites;
	lh_ns *samples = calloc(n * FLOOR_PINGS, sizeof *samples);
	struct lh_ping_pair *pairs = calloc(n, sizeof *pairs);
	int rc = samples && pairs ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "probe");
	for (size_t i = 0; i < n; i++)
		ret_floor_ns[i] = -1;
	for (int round = 0; round <= RETRIES_BUSY && !rc; round++) {
		rc = floors_round(net, t, ret_floor_ns, samples, pairs, err);
		if (!rc && !floors_missing(t, ret_floor_ns))
			break;
		pause_before(round + 1);
	}
	for (size_t i = 0; i < n && !rc; i++) {
		unsigned from = (unsigned)(i / t->nsites), to = (unsigned)(i % t->nsites), a, b;
		const char *f = t->sites[from].name, *g = t->sites[to].name;
		if (!lh_probe_pair_of(t, from, to, &a, &b))
			continue;
		if (ret_floor_ns[i] < 0)
			rc = lh_err_set(err, LH_EXIT_MACHINE, -EHOSTUNREACH,
					"link %s->%s: no echo came back with all delays 0", f, g);
		else if (ret_floor_ns[i] > FLOOR_MAX_NS)
			rc = lh_err_set(err, LH_EXIT_MACHINE, -ETIME,
					"link %s->%s: the path itself takes %.3f ms with all delays 0, "
					"more than 0.5 ms; is this machine busy?",
					f, g, (double)ret_floor_ns[i] / 1e6);
	}
	free(samples);
	free(pairs);
	return rc;
}

/* ---- the gate ---- */

static int report_init(const struct lh_experiment *exp, const lh_ns *floor_ns, struct lh_probe_report *rep)
{
	const struct lh_topology *t = &exp->topology;
	size_t n = (size_t)t->nsites * t->nsites;
	*rep = (struct lh_probe_report){ .nlinks = n, .npeers = t->npeers };
	rep->links = calloc(n, sizeof *rep->links);
	rep->peer_rtt_ns = calloc(t->npeers, sizeof *rep->peer_rtt_ns);
	if (!rep->links || !rep->peer_rtt_ns) {
		lh_probe_report_done(rep);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		unsigned from = (unsigned)(i / t->nsites), to = (unsigned)(i % t->nsites);
		rep->links[i] = (struct lh_link_result){
			.from = from,
			.to = to,
			.mode = lh_topology_link(t, from, to)->mode,
			.rtt_spec_ns = lh_topology_link(t, from, to)->imp.delay_ns +
				       lh_topology_link(t, to, from)->imp.delay_ns,
			.floor_ns = floor_ns ? floor_ns[i] : -1,
			.rtt_min_ns = -1,
			.rtt_median_ns = -1,
			.rtt_p99_ns = -1,
			.goodput_1_bit_per_s = NAN,
			.goodput_k_bit_per_s = NAN,
			.steady_1_bit_per_s = NAN,
			.steady_k_bit_per_s = NAN,
			.streams = exp->probe.streams,
			.verdict = LH_LINK_NOT_MEASURED,
		};
	}
	for (unsigned i = 0; i < t->npeers; i++)
		rep->peer_rtt_ns[i] = -1;
	return 0;
}

void lh_probe_report_done(struct lh_probe_report *rep)
{
	free(rep->links);
	free(rep->peer_rtt_ns);
	*rep = (struct lh_probe_report){ 0 };
}

static bool link_failed(enum lh_link_verdict v)
{
	return v == LH_LINK_OUT_OF_TOLERANCE || v == LH_LINK_UNREACHABLE || v == LH_LINK_NOT_CROSSING;
}

static bool within(const struct lh_experiment *exp, unsigned from, unsigned to, lh_ns rtt_ns)
{
	lh_ns expected, tolerance;
	expectation(&exp->topology, &exp->probe, from, to, &expected, &tolerance);
	return rtt_ns >= 0 && llabs(rtt_ns - expected) <= tolerance;
}

static enum lh_link_verdict judge(const struct lh_experiment *exp, const struct lh_link_result *r, bool crossed)
{
	const struct lh_topology *t = &exp->topology;
	if (r->rtt_median_ns < 0)
		return LH_LINK_UNREACHABLE;
	if (!crossed)
		return LH_LINK_NOT_CROSSING;
	/* A LAN about which nothing was said asks for nothing. */
	if (r->from == r->to && !lh_topology_link(t, r->from, r->to)->given)
		return LH_LINK_OK;
	if (!within(exp, r->from, r->to, r->rtt_median_ns))
		return LH_LINK_OUT_OF_TOLERANCE;
	return r->floor_ns > r->rtt_spec_ns ? LH_LINK_BELOW_FLOOR : LH_LINK_OK;
}

/* What left the link's queue or was dropped there by its loss model. */
static int crossings(struct lh_net *net, const struct lh_link_result *r, uint64_t *ret, struct lh_err *err)
{
	struct lh_link_counters c;
	int rc = lh_net_observe(net, r->from, r->to, &c, err);
	if (!rc)
		*ret = c.packets + c.drops;
	return rc;
}

struct gate {
	struct lh_net *net;
	const struct lh_experiment *exp;
	struct lh_probe_report *rep;
	struct lh_ping_pair *pairs; /* [nlinks] */
	struct lh_link_result **of; /* pairs[i] is of this link */
	uint64_t *before;
	lh_ns *samples;
};

/* How many are still wrong, and of these, how many even by their fastest echo. */
struct wrong {
	size_t links, surely;
};

/* Measure every link that has no good verdict yet. */
static int gate_round(struct gate *g, struct wrong *ret, struct lh_err *err)
{
	const struct lh_topology *t = &g->exp->topology;
	unsigned count = g->exp->probe.pings;
	size_t n = 0;
	int rc = 0;
	for (size_t i = 0; i < g->rep->nlinks && !rc; i++) {
		struct lh_link_result *r = &g->rep->links[i];
		unsigned a, b;
		if ((r->verdict != LH_LINK_NOT_MEASURED && !link_failed(r->verdict)) ||
		    !lh_probe_pair_of(t, r->from, r->to, &a, &b))
			continue;
		rc = crossings(g->net, r, &g->before[n], err);
		g->of[n] = r;
		g->pairs[n] = (struct lh_ping_pair){ a, b, g->samples + n * count };
		n++;
	}
	struct lh_ping_plan plan = { count, spacing_for(t, g->pairs, n), wait_for(g->exp, g->pairs, n) };
	if (!rc && n)
		rc = lh_ping_run(g->net, t, &plan, g->pairs, n, err);
	*ret = (struct wrong){ 0 };
	for (size_t i = 0; i < n && !rc; i++) {
		struct lh_link_result *r = g->of[i];
		uint64_t after = 0;
		unsigned answered =
			summarize(g->pairs[i].rtt_ns, count, &r->rtt_min_ns, &r->rtt_median_ns, &r->rtt_p99_ns);
		r->pings_sent = count;
		r->pings_lost = count - answered;
		rc = crossings(g->net, r, &after, err);
		r->verdict = judge(g->exp, r, after - g->before[i] >= count);
		ret->links += link_failed(r->verdict);
		ret->surely += link_failed(r->verdict) && !within(g->exp, r->from, r->to, r->rtt_min_ns);
	}
	return rc;
}

static bool again(int round, const struct wrong *w)
{
	return w->links && round <= (w->surely ? RETRIES : RETRIES_BUSY);
}

/* ---- peers ---- */

static int peers_round(struct gate *g, struct lh_ping_pair *pairs, lh_ns *samples, bool *bad, unsigned count,
		       struct wrong *ret, struct lh_err *err)
{
	const struct lh_topology *t = &g->exp->topology;
	size_t n = 0;
	for (unsigned i = 0; i < t->npeers; i++)
		if (bad[i])
			pairs[n] = (struct lh_ping_pair){ i, (i + 1) % t->npeers, samples + n * count }, n++;
	struct lh_ping_plan plan = { count, spacing_for(t, pairs, n), wait_for(g->exp, pairs, n) };
	int rc = lh_ping_run(g->net, t, &plan, pairs, n, err);
	*ret = (struct wrong){ 0 };
	for (size_t i = 0; i < n && !rc; i++) {
		lh_ns min, median, p99;
		unsigned me = pairs[i].from, from = t->peers[me].site, to = t->peers[pairs[i].to].site;
		summarize(pairs[i].rtt_ns, count, &min, &median, &p99);
		g->rep->peer_rtt_ns[me] = median;
		bool nothing_asked = from == to && !lh_topology_link(t, from, to)->given;
		bad[me] = median < 0 || (!nothing_asked && !within(g->exp, from, to, median));
		ret->links += bad[me];
		ret->surely += bad[me] && !within(g->exp, from, to, min);
	}
	return rc;
}

static int peer_error(const struct gate *g, unsigned i, struct lh_err *err)
{
	const struct lh_topology *t = &g->exp->topology;
	unsigned next = (i + 1) % t->npeers;
	lh_ns expected, tolerance;
	if (g->rep->peer_rtt_ns[i] < 0)
		return lh_err_set(err, LH_EXIT_MACHINE, -EBADE, "peer %s: no echo came back from %s", t->peers[i].name,
				  t->peers[next].name);
	expectation(t, &g->exp->probe, t->peers[i].site, t->peers[next].site, &expected, &tolerance);
	return lh_err_set(err, LH_EXIT_MACHINE, -EBADE,
			  "peer %s: RTT to %s asked %.3f ms, got %.3f ms (tolerance %.3f ms)", t->peers[i].name,
			  t->peers[next].name, (double)expected / 1e6, (double)g->rep->peer_rtt_ns[i] / 1e6,
			  (double)tolerance / 1e6);
}

static int check_peers(struct gate *g, struct lh_err *err)
{
	const struct lh_topology *t = &g->exp->topology;
	unsigned count = t->npeers > MANY_PEERS ? PEER_PINGS_MANY : PEER_PINGS;
	if (t->npeers < 2)
		return 0;
	struct lh_ping_pair *pairs = calloc(t->npeers, sizeof *pairs);
	lh_ns *samples = calloc((size_t)t->npeers * count, sizeof *samples);
	bool *bad = malloc(t->npeers);
	struct wrong wrong = { t->npeers, 0 };
	int rc = pairs && samples && bad ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "probe");
	if (!rc)
		memset(bad, 1, t->npeers);
	for (int round = 0; again(round, &wrong) && !rc; round++) {
		pause_before(round);
		rc = peers_round(g, pairs, samples, bad, count, &wrong, err);
	}
	for (unsigned i = 0; i < t->npeers && !rc; i++)
		if (bad[i])
			rc = peer_error(g, i, err);
	free(pairs);
	free(samples);
	free(bad);
	return rc;
}

/* ---- both ---- */

static int link_error(const struct gate *g, struct lh_err *err)
{
	const struct lh_topology *t = &g->exp->topology;
	const struct lh_link_result *first = NULL;
	size_t others = 0;
	char more[64] = "";
	for (size_t i = 0; i < g->rep->nlinks; i++)
		if (link_failed(g->rep->links[i].verdict)) {
			others += first != NULL;
			first = first ? first : &g->rep->links[i];
		}
	if (!first)
		return 0;
	if (others)
		snprintf(more, sizeof more, "; %zu more link%s out of tolerance", others,
			 others == 1 ? " is" : "s are");
	const char *f = t->sites[first->from].name, *to = t->sites[first->to].name;
	lh_ns expected, tolerance;
	expectation(t, &g->exp->probe, first->from, first->to, &expected, &tolerance);
	if (first->verdict == LH_LINK_UNREACHABLE)
		return lh_err_set(err, LH_EXIT_MACHINE, -EBADE,
				  "link %s->%s: RTT asked %.3f ms, got no answer to %u echoes%s", f, to,
				  (double)expected / 1e6, first->pings_sent, more);
	if (first->verdict == LH_LINK_NOT_CROSSING)
		return lh_err_set(err, LH_EXIT_MACHINE, -EBADE,
				  "link %s->%s: echoes did not pass the shaped interface%s", f, to, more);
	bool busy = within(g->exp, first->from, first->to, first->rtt_min_ns);
	return lh_err_set(err, LH_EXIT_MACHINE, -EBADE,
			  "link %s->%s: RTT asked %.3f ms, got %.3f ms (tolerance %.3f ms)%s%s", f, to,
			  (double)expected / 1e6, (double)first->rtt_median_ns / 1e6, (double)tolerance / 1e6, more,
			  busy ? "; the fastest echo was right: this machine is too busy" : "");
}

int lh_probe_rtt(struct lh_net *net, const struct lh_experiment *exp, const lh_ns *floor_ns,
		 lh_probe_progress_fn *progress, void *ctx, struct lh_probe_report *ret, struct lh_err *err)
{
	struct gate g = { .net = net, .exp = exp, .rep = ret };
	struct wrong wrong = { 0 };
	int rc = report_init(exp, floor_ns, ret);
	if (rc)
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "probe");
	g.pairs = calloc(ret->nlinks, sizeof *g.pairs);
	g.of = calloc(ret->nlinks, sizeof *g.of);
	g.before = calloc(ret->nlinks, sizeof *g.before);
	g.samples = calloc(ret->nlinks * exp->probe.pings, sizeof *g.samples);
	if (!g.pairs || !g.of || !g.before || !g.samples)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "probe");
	wrong.links = ret->nlinks;
	for (int round = 0; again(round, &wrong) && !rc; round++) {
		if (progress && !round)
			progress(ctx, "RTT of links", 0, 2);
		pause_before(round);
		rc = gate_round(&g, &wrong, err);
	}
	if (!rc)
		rc = link_error(&g, err);
	if (!rc) {
		if (progress)
			progress(ctx, "RTT of peers", 1, 2);
		rc = check_peers(&g, err);
	}
	if (progress && !rc)
		progress(ctx, "RTT", 2, 2);
	free(g.pairs);
	free(g.of);
	free(g.before);
	free(g.samples);
	return rc;
}
