/* metrics.c - see metrics.h.
 *
 * One clock serves all: every peer runs on one kernel, so times of different peers may be subtracted. C(e) is
 * the last commit of epoch e over all peers, C(0) the go. An epoch is C(e) - C(e-1); calculation ends when the
 * last peer holds its share of the batch; what is left is communication. So calc_s + comm_s = wall_s exactly.
 */
#include "metrics.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static double seconds(lh_ns ns)
{
	return (double)ns / 1e9;
}

static lh_ns last_commit(const struct lh_series *s, uint32_t epoch)
{
	lh_ns last = s->go_ns;

	for (unsigned i = 0; epoch && i < s->npeers; i++) {
		const struct lh_event *e = lh_series_at(s, epoch, i);
		if (e && e->commit_ns > last)
			last = e->commit_ns;
	}
	return last;
}

static lh_ns min_ns(lh_ns a, lh_ns b)
{
	return a < b ? a : b;
}

/* After the last share was done, summed over the peers. */
struct afterwards {
	lh_ns exchange_ns;        /* until each peer's exchange was complete */
	lh_ns coding_ns, match_ns; /* of that */
	bool known;               /* the two */
};

static struct afterwards sum_afterwards(const struct lh_series *s, uint32_t epoch, lh_ns calc_end)
{
	struct afterwards a = { .known = s->npeers > 0 };

	for (unsigned i = 0; i < s->npeers; i++) {
		const struct lh_event *e = lh_series_at(s, epoch, i);
		if (!e)
			continue;
		lh_ns left = e->exchange_end_ns - calc_end;
		const struct lh_span_sums *sums = lh_series_sums(s, epoch, i);
		if (left > 0)
			a.exchange_ns += left;
		if (!sums)
			a.known = false;
		if (!sums || left <= 0)
			continue;
		const lh_ns *spent = sums->comm_ns;
		lh_ns coding = min_ns(spent[LH_SPAN_ENCODE] + spent[LH_SPAN_DECODE] + spent[LH_SPAN_REDUCE], left);
		a.coding_ns += coding;
		a.match_ns += min_ns(spent[LH_SPAN_MATCH], left - coding);
	}
	return a;
}

/* comm = update + waiting for the slowest + coding + latency + bandwidth; docs/MEASUREMENT.md. All but the update is
 * that of the mean peer, whose exchange is complete before the last one's. */
static void split_communication(const struct lh_series *s, const struct lh_metrics_input *in, uint32_t epoch,
				lh_ns calc_end, lh_ns exchange_end, lh_ns end, struct lh_epoch_metrics *m)
{
	struct afterwards a = sum_afterwards(s, epoch, calc_end);
	lh_ns n = m->peers ? m->peers : 1, mean = a.exchange_ns / n, coding = a.coding_ns / n, match = a.match_ns / n;

	m->update_s = seconds(end - exchange_end);
	m->latency_s = m->bandwidth_s = m->wait_s = m->coding_s = NAN;
	if (!a.known)
		return;
	m->coding_s = seconds(coding);
	m->wait_s = seconds(exchange_end - calc_end - mean + match);
	if (in->latency_ns < 0)
		return;
	lh_ns left = mean - coding - match, latency = min_ns(in->latency_ns, left);
	m->latency_s = seconds(latency);
	m->bandwidth_s = seconds(left - latency);
}

/* The newest view in which a peer committed the epoch; of epoch 0 that of epoch 1. */
static uint32_t view_of(const struct lh_series *s, uint32_t epoch)
{
	uint32_t view = 0;

	for (unsigned i = 0; i < s->npeers; i++) {
		const struct lh_event *e = lh_series_at(s, epoch > s->first ? epoch : s->first + 1, i);
		if (e && e->view > view)
			view = e->view;
	}
	return view;
}

void lh_metrics_epoch(const struct lh_series *s, const struct lh_metrics_input *in, uint32_t epoch,
		      struct lh_epoch_metrics *ret)
{
	lh_ns begin = last_commit(s, epoch - 1), end = last_commit(s, epoch), calc_end = begin, exchange_end = begin;
	struct lh_epoch_metrics m = { .epoch = epoch, .warmup = epoch <= in->warmup, .identical = true,
				      .shared = true };
	double loss_sum = 0, own_s = 0;

	for (unsigned i = 0; i < s->npeers; i++) {
		const struct lh_event *e = lh_series_at(s, epoch, i);
		if (!e)
			continue;
		if (e->calc_end_ns > calc_end)
			calc_end = e->calc_end_ns;
		if (e->exchange_end_ns > exchange_end)
			exchange_end = e->exchange_end_ns;
		own_s += seconds((e->calc_end_ns > begin ? e->calc_end_ns : begin) - begin);
		m.samples += e->samples;
		m.bytes_sent += e->bytes_sent;
		m.bytes_received += e->bytes_received;
		m.data_bytes += e->data_bytes;
		m.data_wait_s += seconds(e->data_wait_ns);
		if (e->samples) /* a peer without a share has no loss either */
			loss_sum += e->loss_sum;
		if (m.peers++ == 0)
			m.state_hash = e->state_hash;
		m.disturbed |= s->elastic && m.peers > 1 && e->view != m.view;
		m.view = e->view > m.view ? e->view : m.view;
		m.identical = m.identical && e->state_hash == m.state_hash;
		m.shared = m.shared && e->shared == LH_SHARED_YES;
		m.groups = e->groups > m.groups ? e->groups : m.groups;
		if (e->groups && (!m.smallest_group || e->group_size < m.smallest_group))
			m.smallest_group = e->group_size;
	}
	m.disturbed |= s->elastic && (m.peers < s->npeers || view_of(s, epoch - 1) != m.view);
	if (in->target_batch > m.samples && lh_series_lost_one(s, epoch))
		m.unreported = in->target_batch - m.samples;
	m.wall_s = seconds(end - begin);
	m.calc_s = seconds(calc_end - begin);
	m.comm_s = seconds(end - calc_end);
	m.loss = m.samples ? loss_sum / (double)m.samples : NAN;
	m.samples += m.unreported; /* they count, though nobody told their loss */
	m.data_wait_s /= m.peers ? m.peers : 1;
	m.calc_wait_s = m.calc_s - own_s / (m.peers ? m.peers : 1);
	split_communication(s, in, epoch, calc_end, exchange_end > calc_end ? exchange_end : calc_end, end, &m);
	*ret = m;
}

void lh_metrics_bounds(const struct lh_series *s, uint32_t epoch, lh_ns *ret_calc_end_ns, lh_ns *ret_end_ns)
{
	lh_ns calc_end = last_commit(s, epoch - 1);

	for (unsigned i = 0; i < s->npeers; i++) {
		const struct lh_event *e = lh_series_at(s, epoch, i);
		if (e && e->calc_end_ns > calc_end)
			calc_end = e->calc_end_ns;
	}
	*ret_calc_end_ns = calc_end;
	*ret_end_ns = last_commit(s, epoch);
}

double lh_metrics_cpus_needed(const struct lh_series *s, const struct lh_metrics_input *in, uint32_t epoch)
{
	double sum = 0;

	if (!in->calculates)
		return NAN;
	for (unsigned i = 0; i < s->npeers; i++) {
		const struct lh_event *e = lh_series_at(s, epoch, i);
		if (!e)
			continue;
		lh_ns asked = e->calc_end_ns - e->begin_ns - e->late_ns; /* what the declared pace allows */
		if (e->samples && asked > 0)
			sum += (double)e->busy_ns / (double)asked;
	}
	return sum;
}

static void sum_tcp(const struct lh_span_sums *of, struct lh_peer_metrics *m)
{
	m->has_tcp = m->has_tcp && of && of->has_tcp;
	if (!m->has_tcp)
		return;
	m->tcp_busy_s += seconds(of->tcp_busy_ns);
	m->tcp_window_s += seconds(of->tcp_window_ns);
	m->tcp_buffer_s += seconds(of->tcp_buffer_ns);
	m->tcp_retransmits += of->tcp_retransmits;
}

/* The epochs in which the peer was there. */
static void sum_peer(const struct lh_series *s, const struct lh_metrics_input *in, const struct lh_metrics *all,
		     unsigned peer, struct lh_peer_metrics *m)
{
	double wall_s = 0;

	m->has_tcp = s->first + all->nepochs > in->warmup;
	for (uint32_t epoch = s->first + 1; epoch <= s->first + all->nepochs; epoch++) {
		const struct lh_event *e = lh_series_at(s, epoch, peer);
		if (!e)
			continue;
		m->bytes_sent += e->bytes_sent;
		m->bytes_received += e->bytes_received;
		m->data_bytes += e->data_bytes;
		m->data_samples += e->data_samples;
		m->data_cached += e->data_cached;
		m->skipped = e->skipped > m->skipped ? e->skipped : m->skipped;
		if (epoch <= in->warmup)
			continue;
		wall_s += all->epochs[epoch - 1 - s->first].wall_s;
		m->samples += e->samples;
		m->calc_s += seconds(e->calc_end_ns - e->begin_ns);
		m->update_s += seconds(e->commit_ns - e->exchange_end_ns);
		m->busy_s += seconds(e->busy_ns);
		m->late_s += seconds(e->late_ns);
		m->steps += e->steps;
		m->late_steps += e->late_steps;
		m->data_wait_s += seconds(e->data_wait_ns);
		m->held_s += seconds(e->held_ns);
		m->queued_s += seconds(e->queued_ns);
		sum_tcp(lh_series_sums(s, epoch, peer), m);
	}
	m->lateness = wall_s > 0 ? m->late_s / wall_s : NAN;
	m->solo_sps = m->calc_s + m->update_s > 0 ? (double)m->samples / (m->calc_s + m->update_s) : NAN;
}

static void sum_epochs(const struct lh_metrics *m, struct lh_summary *sum)
{
	for (uint32_t i = 0; i < m->nepochs; i++) {
		const struct lh_epoch_metrics *e = &m->epochs[i];
		if (e->warmup)
			continue;
		sum->epochs++;
		sum->samples += e->samples;
		sum->bytes_sent += e->bytes_sent;
		sum->wall_s += e->wall_s;
		sum->calc_s += e->calc_s;
		sum->comm_s += e->comm_s;
		sum->latency_s += e->latency_s;
		sum->bandwidth_s += e->bandwidth_s;
		sum->wait_s += e->wait_s;
		sum->coding_s += e->coding_s;
		sum->update_s += e->update_s;
		sum->calc_wait_s += e->calc_wait_s;
		sum->data_wait_s += e->data_wait_s;
	}
	if (sum->epochs == 0)
		sum->wall_s = sum->calc_s = sum->comm_s = sum->latency_s = sum->bandwidth_s = sum->wait_s =
			sum->coding_s = sum->update_s = sum->calc_wait_s = sum->data_wait_s = NAN;
}

static void sum_shares(const struct lh_series *s, const struct lh_metrics_input *in, uint32_t nepochs,
		       struct lh_summary *sum)
{
	double total_s = 0;
	bool known = true;

	for (uint32_t epoch = in->warmup + 1; epoch <= nepochs; epoch++)
		for (unsigned i = 0; i < s->npeers; i++) {
			const struct lh_span_sums *of = lh_series_sums(s, epoch, i);
			known = known && (of || !lh_series_at(s, epoch, i));
			for (unsigned k = 0; of && k < LH_SPAN_KINDS; k++) {
				sum->time_share[k] += seconds(of->total_ns[k]);
				total_s += seconds(of->total_ns[k]);
			}
		}
	for (unsigned k = 0; k < LH_SPAN_KINDS; k++)
		sum->time_share[k] = known && total_s > 0 ? sum->time_share[k] / total_s : NAN;
}

static void sum_cpus(const struct lh_series *s, const struct lh_metrics_input *in, uint32_t nepochs,
		     struct lh_summary *sum)
{
	double total = 0;

	sum->cpus_needed = NAN;
	if (!in->calculates || sum->epochs == 0)
		return;
	for (uint32_t epoch = in->warmup + 1; epoch <= nepochs; epoch++)
		total += lh_metrics_cpus_needed(s, in, epoch);
	sum->cpus_needed = total / sum->epochs;
}

/* Of the peers that were there, weighted by how long: with all there all the time, their sum. */
static void sum_solo(const struct lh_series *s, const struct lh_metrics *m, struct lh_summary *sum)
{
	double whole = 0, weighted = 0, undisturbed_s = 0;
	uint64_t undisturbed = 0;

	for (unsigned i = 0; i < m->npeers; i++)
		if (m->peers[i].samples) /* a peer that is dealt nothing adds nothing */
			whole += m->peers[i].solo_sps;
	for (uint32_t k = 0; k < m->nepochs; k++) {
		const struct lh_epoch_metrics *e = &m->epochs[k];
		if (e->warmup)
			continue;
		for (unsigned i = 0; i < m->npeers; i++)
			if (m->peers[i].samples && lh_series_at(s, e->epoch, i))
				weighted += m->peers[i].solo_sps * e->wall_s;
		if (!e->disturbed) {
			undisturbed += e->samples;
			undisturbed_s += e->wall_s;
		}
	}
	sum->solo_sps = s->elastic && sum->wall_s > 0 ? weighted / sum->wall_s : whole;
	sum->undisturbed_sps = s->elastic && undisturbed_s > 0 ? (double)undisturbed / undisturbed_s : NAN;
}

static int sum_dealt(const struct lh_series *s, const struct lh_metrics_input *in, struct lh_metrics *m,
		     struct lh_err *err)
{
	struct lh_summary *sum = &m->summary;

	for (uint32_t i = 0; i < m->nepochs; i++) {
		uint64_t unreported = 0;
		enum lh_dealt dealt = lh_metrics_dealt(s, s->first + i + 1, in->target_batch, &unreported, err);
		if ((int)dealt < 0)
			return (int)dealt;
		sum->unreported += unreported;
		if (dealt == LH_DEALT_NOT_TOLD && !sum->wrong_epoch)
			sum->dealt = dealt;
		if (dealt <= LH_DEALT_NOT_TOLD || sum->wrong_epoch)
			continue;
		sum->wrong_epoch = s->first + i + 1;
		sum->dealt = dealt;
	}
	return 0;
}

static void summarise(const struct lh_series *s, const struct lh_metrics_input *in, struct lh_metrics *m)
{
	struct lh_summary *sum = &m->summary;

	*sum = (struct lh_summary){ .differ_epoch = UINT32_MAX, .lateness = NAN, .undisturbed_sps = NAN };
	sum->dealt = in->estimated || !m->nepochs ? LH_DEALT_NOT_TOLD : LH_DEALT_ONCE;
	sum_epochs(m, sum);
	for (unsigned i = 0; i < m->npeers; i++) {
		sum_peer(s, in, m, i, &m->peers[i]);
		sum->data_bytes += m->peers[i].data_bytes;
		sum->data_samples += m->peers[i].data_samples;
		sum->data_cached += m->peers[i].data_cached;
		sum->steps += m->peers[i].steps;
		sum->late_steps += m->peers[i].late_steps;
		if (isfinite(m->peers[i].lateness) && !(m->peers[i].lateness <= sum->lateness)) {
			sum->lateness = m->peers[i].lateness;
			sum->latest_peer = i;
		}
	}
	sum_solo(s, m, sum);
	sum->throughput_sps = sum->wall_s > 0 ? (double)sum->samples / sum->wall_s : NAN;
	sum->granularity = m->npeers > 1 && sum->comm_s > 0 ? sum->calc_s / sum->comm_s : NAN;
	sum->efficiency = sum->epochs && sum->solo_sps > 0 ? sum->throughput_sps / sum->solo_sps : NAN;
	if (!(sum->solo_sps > 0))
		sum->solo_sps = NAN;
	sum_cpus(s, in, s->first + m->nepochs, sum);
	sum_shares(s, in, s->first + m->nepochs, sum);
	bool joined = s->elastic ? m->nepochs > 0 : lh_series_joined(s) == s->npeers;
	sum->replicas_identical = joined && s->npeers > 0 &&
		lh_series_identical(s, s->first + m->nepochs, &sum->differ_epoch, &sum->differ_peer);
	for (uint32_t i = 0; i < m->nepochs; i++) {
		const struct lh_epoch_metrics *e = &m->epochs[i];
		sum->shared_epochs += e->shared;
		sum->matched_epochs += e->groups > 0;
		sum->split_epochs += e->groups > 1;
		if (e->groups > 1 && (!sum->smallest_group || e->smallest_group < sum->smallest_group))
			sum->smallest_group = e->smallest_group;
	}
	for (uint32_t i = m->nepochs; i > 0; i--)
		if (!in->estimated && m->epochs[i - 1].samples != in->target_batch)
			sum->short_epoch = s->first + i;
}

int lh_metrics_compute(const struct lh_series *s, const struct lh_metrics_input *in,
		       struct lh_metrics *ret, struct lh_err *err)
{
	struct lh_metrics m = { .nepochs = lh_series_committed(s) - s->first, .npeers = s->npeers };

	m.epochs = calloc(m.nepochs ? m.nepochs : 1, sizeof *m.epochs);
	m.peers = calloc(m.npeers ? m.npeers : 1, sizeof *m.peers);
	if (!m.epochs || !m.peers) {
		lh_metrics_done(&m);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "the numbers of %u epochs", m.nepochs);
	}
	for (uint32_t e = 1; e <= m.nepochs; e++)
		lh_metrics_epoch(s, in, s->first + e, &m.epochs[e - 1]);
	summarise(s, in, &m);
	int rc = !in->estimated ? sum_dealt(s, in, &m, err) : 0;
	if (rc < 0) {
		lh_metrics_done(&m);
		return rc;
	}
	*ret = m;
	return 0;
}

void lh_metrics_epoch_undilate(struct lh_epoch_metrics *e, unsigned dilation)
{
	double *const times[] = { &e->wall_s, &e->calc_s, &e->comm_s, &e->latency_s, &e->bandwidth_s, &e->wait_s,
				  &e->coding_s, &e->update_s, &e->calc_wait_s, &e->data_wait_s };

	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		*times[i] /= dilation;
}

void lh_metrics_undilate(struct lh_metrics *m, unsigned dilation)
{
	struct lh_summary *s = &m->summary;
	double *const times[] = { &s->wall_s, &s->calc_s, &s->comm_s, &s->latency_s, &s->bandwidth_s, &s->wait_s,
				  &s->coding_s, &s->update_s, &s->calc_wait_s, &s->data_wait_s };

	for (uint32_t i = 0; i < m->nepochs; i++)
		lh_metrics_epoch_undilate(&m->epochs[i], dilation);
	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		*times[i] /= dilation;
	s->throughput_sps *= dilation;
	s->solo_sps *= dilation;
	s->undisturbed_sps *= dilation;
	for (unsigned i = 0; i < m->npeers; i++) {
		struct lh_peer_metrics *p = &m->peers[i];
		double *const own[] = { &p->data_wait_s, &p->calc_s, &p->update_s, &p->late_s, &p->tcp_busy_s, &p->tcp_window_s, &p->tcp_buffer_s };
		for (size_t k = 0; k < sizeof own / sizeof *own; k++)
			*own[k] /= dilation;
		p->solo_sps *= dilation;
	}
}

void lh_metrics_done(struct lh_metrics *m)
{
	free(m->epochs);
	free(m->peers);
	*m = (struct lh_metrics){ 0 };
}
