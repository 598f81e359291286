/* data.c - see data.h. */
#include "data.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>

#include "exchange.h"
#include "result.h"
#include "stats.h"

/* What travels of a sample beside its bytes, both ways: header, item, hash; the wish for it (trainer/store/wire.h). */
#define SAMPLE_EXTRA 32

__attribute__((format(printf, 4, 5)))
static void consider(struct lh_data_plan *p, double need_bps, double has_bps, const char *fmt, ...)
{
	va_list ap;

	if (!(has_bps > 0) || isinf(has_bps) || need_bps / has_bps <= p->share)
		return;
	p->need_bps = need_bps;
	p->has_bps = has_bps;
	p->share = need_bps / has_bps;
	va_start(ap, fmt);
	vsnprintf(p->what, sizeof p->what, fmt, ap);
	va_end(ap);
}

/* One stream's: what is read ahead, or what its buffers let through, a round trip. Half of the receiver's is window. */
static double window_bps(const struct lh_experiment *exp, unsigned peer, double sample)
{
	const struct lh_topology *t = &exp->topology;
	const struct lh_training *tr = &exp->training;
	const struct lh_peer *p = &t->peers[peer], *s = &t->peers[tr->store];
	const double rtt_s = (double)lh_topology_link(t, s->site, p->site)->rtt_spec_ns / 1e9;
	double bytes = fmin(p->tcp.rmem[2] / 2.0, s->tcp.wmem[2]);
	if (tr->prefetch)
		bytes = fmin(bytes, (double)tr->prefetch * tr->microbatch * sample);
	return rtt_s > 0 ? bytes * 8 / rtt_s : INFINITY;
}

void lh_data_plan(const struct lh_experiment *exp, uint64_t sample_bytes, struct lh_data_plan *ret)
{
	const struct lh_topology *t = &exp->topology;
	const unsigned store = exp->training.store, home = t->peers[store].site;
	const double sample = ((double)sample_bytes + SAMPLE_EXTRA) / LH_PAYLOAD_SHARE;
	struct lh_data_plan p = { .need_bps = NAN, .has_bps = INFINITY };
	double all = 0, away = 0;

	for (unsigned s = 0; s < t->nsites; s++) {
		double site = 0;
		for (unsigned i = t->sites[s].first_peer; i < t->sites[s].first_peer + t->sites[s].npeers; i++) {
			const double need = lh_peer_pace(exp, i) * sample * 8;
			site += need;
			consider(&p, need, (double)t->peers[i].nic_bps, "nic of %s", t->peers[i].name);
			consider(&p, need, window_bps(exp, i, sample), "what %s has under way in a round trip to %s", t->peers[i].name,
				 t->sites[home].name);
		}
		consider(&p, site, (double)lh_topology_link(t, home, s)->imp.rate_bps, "link %s->%s", t->sites[home].name,
			 t->sites[s].name);
		if (s != home)
			consider(&p, site, (double)t->sites[s].access.down_bps, "access of %s, down", t->sites[s].name);
		all += site;
		away += s != home ? site : 0;
	}
	consider(&p, away, (double)t->sites[home].access.up_bps, "access of %s, up", t->sites[home].name);
	consider(&p, all, (double)t->peers[store].nic_bps, "nic of %s", t->peers[store].name);
	if (isnan(p.need_bps))
		p.need_bps = all;
	*ret = p;
}

void lh_data_plan_print(const struct lh_experiment *exp, uint64_t sample_bytes, FILE *out)
{
	const struct lh_training *tr = &exp->training;
	const unsigned scale = lh_experiment_scale(exp);
	struct lh_data_plan p;
	char size[32], cache[32] = "none";

	if (tr->cache_bytes)
		snprintf(cache, sizeof cache, "%s", tr->cache_bytes == LH_CACHE_ALL ? "all" :
			 lh_bytes_print(tr->cache_bytes, size, sizeof size));
	fprintf(out, "# store: %s; samples of %s, %u microbatches ahead, cache %s\n", exp->topology.peers[tr->store].name,
		sample_bytes ? lh_bytes_print(sample_bytes, size, sizeof size) : "a length that only longhaul-peer knows", tr->prefetch,
		cache);
	if (!sample_bytes)
		return;
	lh_data_plan(exp, sample_bytes, &p);
	fprintf(out, "# data: with all peers calculating %.4g Mbit/s", p.need_bps * scale / 1e6);
	if (!(p.share > 0))
		fprintf(out, ", which nothing limits\n");
	else if (p.share <= 1)
		fprintf(out, " of %.4g (%s): %.0f %%, not data-bound\n", p.has_bps * scale / 1e6, p.what, p.share * 100);
	else
		fprintf(out, " of %.4g (%s): %.0f %%, DATA-BOUND: of the time that they calculate, peers wait %.0f %%%s\n",
			p.has_bps * scale / 1e6, p.what, p.share * 100, (1 - 1 / p.share) * 100,
			tr->cache_bytes ? " until their caches hit" : "");
}

json_t *lh_data_plan_json(const struct lh_experiment *exp, uint64_t sample_bytes)
{
	const unsigned scale = lh_experiment_scale(exp);
	struct lh_data_plan p = { .need_bps = NAN, .has_bps = NAN };

	if (sample_bytes)
		lh_data_plan(exp, sample_bytes, &p);
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "store", exp->topology.peers[exp->training.store].name, "sample_bytes",
			 sample_bytes ? json_integer((json_int_t)sample_bytes) : json_null(), "need_bit_per_s",
			 lh_json_number(p.need_bps * scale), "has_bit_per_s", lh_json_number(p.has_bps * scale), "limit",
			 *p.what ? json_string(p.what) : json_null(), "share", sample_bytes ? json_real(p.share) : json_null());
}
