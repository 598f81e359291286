/* Rounds, joining, leaving. How one view follows another is change.c's.
 *
 * In a view every member holds the same table of samples, exchanges, and tells all others the hash of its result (ACK). A
 * member commits when it has every member's ACK of the one hash. So if anybody has committed, everybody holds the result:
 * that is what lets a change of the group end with all at v or all at v + 1.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

enum { MISMATCHES_MAX = 3, NOBODY = LH_MEMBER_CAP };

/* ---- small things ---- */

void lh_member_send(struct lh_member *m, uint64_t to, struct lh_member_message *msg)
{
	to &= m->connected & ~bit(m->c.rank);
	msg->view = m->view.number;
	if (to && !m->is_over)
		m->ops->send(m->ctx, to, msg);
}

static void send_kind(struct lh_member *m, uint64_t to, enum lh_member_kind kind, uint32_t version)
{
	lh_member_send(m, to, &(struct lh_member_message){ .kind = kind, .version = version });
}

static void send_view(struct lh_member *m, uint64_t to)
{
	lh_member_send(m, to, &(struct lh_member_message){ .kind = LH_MEMBER_VIEW, .group = m->view });
}

/* Connected, in the incarnation that the view means. */
static bool is_reached(const struct lh_member *m, unsigned rank)
{
	return m->view.members >> rank & 1 && m->connected >> rank & 1 &&
	       m->incarnation[rank] == m->view.incarnation[rank];
}

/* Members of the view that are in reach, this peer included. */
uint64_t lh_member_alive(const struct lh_member *m)
{
	uint64_t set = m->in_view ? bit(m->c.rank) : 0;
	for (uint64_t left = m->view.members & m->connected; left; left &= left - 1)
		if (is_reached(m, lowest(left)))
			set |= bit(lowest(left));
	return set;
}

void lh_member_end(struct lh_member *m, enum lh_member_end end)
{
	if (m->is_over)
		return;
	m->is_over = true;
	m->ops->over(m->ctx, end);
}

void lh_member_want_change(struct lh_member *m, uint32_t cause, lh_ns now_ns)
{
	if (!m->need_change || cause < m->cause)
		m->cause = cause;
	if (!m->noticed_ns)
		m->noticed_ns = now_ns;
	m->need_change = true;
}

/* ---- rounds ---- */

static void next_round(struct lh_member *m)
{
	m->has_result = m->started = m->mismatch = false;
	m->acks = m->ack_hash = m->result = 0;
}

static void add_ack(struct lh_member *m, unsigned from, uint64_t hash)
{
	if (!m->acks)
		m->ack_hash = hash;
	m->mismatch |= hash != m->ack_hash;
	m->acks |= bit(from);
}

/* Members that leave without being missed, and peers that could come in: only between two rounds. */
static void at_boundary(struct lh_member *m, lh_ns now_ns)
{
	bool alone = m->view.members == bit(m->c.rank);
	if (m->version == m->c.rounds)
		return;
	if (m->notice && alone)
		lh_member_end(m, LH_MEMBER_LEFT);
	else if (lh_change_wanted(m))
		lh_member_want_change(m, m->asking ? LH_VIEW_JOINED : LH_VIEW_LEFT, now_ns);
}

static void apply(struct lh_member *m, uint64_t hash)
{
	m->version++;
	m->mismatches = 0;
	next_round(m);
	m->ops->commit(m->ctx, m->version, hash);
}

static void announce_end(struct lh_member *m)
{
	if (m->in_view && m->synced && m->version == m->c.rounds) {
		m->done |= bit(m->c.rank);
		send_kind(m, m->connected, LH_MEMBER_DONE, m->version);
	}
}

/* Frozen peers (promised != 0) leave it to the change. */
static void try_commit(struct lh_member *m, lh_ns now_ns)
{
	if (!m->in_view || m->promised || m->is_over)
		return;
	if (m->mismatch) {
		lh_member_want_change(m, LH_VIEW_MISMATCH, now_ns);
		return;
	}
	if (!m->has_result || !m->synced || m->view.members & ~m->acks)
		return;
	apply(m, m->result);
	/* Who hears of this view from now on, hears of the round that it is in. */
	m->view.version = m->version;
	m->view.synced = m->view.members;
	m->view.hash = m->view.redealt = 0;
	m->view.aborted = 0;
	if (m->version < m->c.rounds)
		lh_table_deal(&m->view.table, m->c.batch, first_of(m, m->version), m->view.members, m->c.weights);
	else
		memset(&m->view.table, 0, sizeof m->view.table);
	announce_end(m);
	at_boundary(m, now_ns);
}

static void vote(struct lh_member *m, lh_ns now_ns)
{
	if (!m->has_result || !m->synced || m->promised || m->acks >> m->c.rank & 1)
		return;
	add_ack(m, m->c.rank, m->result);
	lh_member_send(m, m->view.members, &(struct lh_member_message){
		.kind = LH_MEMBER_ACK, .version = m->version + 1, .hash = m->result });
	try_commit(m, now_ns);
}

void lh_member_exchange(struct lh_member *m)
{
	m->started = m->in_view;
}

void lh_member_result(struct lh_member *m, uint64_t hash, lh_ns now_ns)
{
	if (m->is_over || !m->in_view || m->has_result || m->version == m->c.rounds)
		return;
	m->has_result = true;
	m->result = hash;
	vote(m, now_ns);
	lh_member_consider(m, now_ns);
}

static int receive_ack(struct lh_member *m, unsigned from, const struct lh_member_message *msg, lh_ns now_ns,
		       struct lh_err *err)
{
	if (msg->version != m->version + 1 || m->acks >> from & 1)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "ack of round %u twice, or amid round %u", msg->version,
				  m->version + 1);
	add_ack(m, from, msg->hash);
	try_commit(m, now_ns);
	return 0;
}

/* ---- state ---- */

/* Ask the nearest member that has the state. The others keep it as it is until this peer's ACK, so the round that is
 * being calculated meanwhile is what the transfer hides behind. */
static void fetch(struct lh_member *m)
{
	uint64_t from = m->view.synced & lh_member_alive(m) & ~bit(m->c.rank);
	m->donor = NOBODY;
	for (; from; from &= from - 1)
		if (m->donor == NOBODY || m->rtt_ns[lowest(from)] < m->rtt_ns[m->donor])
			m->donor = lowest(from);
	if (m->donor == NOBODY)
		return;
	m->ops->fetch(m->ctx, m->donor, m->version);
	send_kind(m, bit(m->donor), LH_MEMBER_FETCH, m->version);
}

void lh_member_synced(struct lh_member *m, uint32_t version, lh_ns now_ns)
{
	if (m->is_over || !m->in_view || m->synced || version != m->version)
		return;
	m->synced = true;
	announce_end(m);
	vote(m, now_ns);
	lh_member_consider(m, now_ns);
}

/* ---- views ---- */

/* The view begins with the very result that this peer holds. Its hash has to say so: a view that was heard of late may be
 * rounds further, and the round may have been done again by others. */
static bool is_ours(const struct lh_member *m, const struct lh_view *v)
{
	return m->version + 1 == v->version && m->has_result && m->result == v->hash;
}

/* Bring the own state to the view's version. False: it contradicts what this peer holds. */
static bool settle(struct lh_member *m, const struct lh_view *v)
{
	bool mine = v->synced >> m->c.rank & 1;
	if (!m->in_view || !m->synced) {
		m->synced = false;
		m->version = v->version;
		next_round(m);
		return !mine;
	}
	if (m->version == v->version) {
		next_round(m);
		return true;
	}
	if (is_ours(m, v)) {
		apply(m, m->result);
		return true;
	}
	m->synced = false; /* it was counted as one without state, and the others went on */
	m->version = v->version;
	next_round(m);
	return !mine;
}

static void leave_view(struct lh_member *m, const struct lh_view *v, lh_ns now_ns)
{
	bool was = m->in_view;
	if (was && m->synced && is_ours(m, v)) /* the last round that it was part of is committed, with its samples */
		apply(m, m->result);
	m->in_view = false;
	if (was && m->notice) {
		lh_member_end(m, LH_MEMBER_LEFT);
		return;
	}
	m->synced = false;
	m->version = 0;
	next_round(m);
	if (was && !m->is_over)
		m->ops->excluded(m->ctx);
}

static void install(struct lh_member *m, const struct lh_view *v, lh_ns now_ns)
{
	lh_ns noticed = m->noticed_ns ? m->noticed_ns : now_ns;
	bool fits = settle(m, v);
	m->in_view = true;
	m->noticed_ns = m->searching_ns = m->quorumless_ns = 0;
	m->need_change = false;
	m->asking &= ~v->members;
	m->mismatches = v->cause == LH_VIEW_MISMATCH ? m->mismatches + 1 : 0;
	m->ops->install(m->ctx, noticed);
	if (!fits)
		lh_member_end(m, LH_MEMBER_BROKEN);
	else if (m->mismatches > MISMATCHES_MAX)
		lh_member_end(m, LH_MEMBER_MISMATCH);
	if (!m->synced)
		fetch(m);
	if (m->notice)
		send_kind(m, m->view.members, LH_MEMBER_LEAVE, 0);
	announce_end(m);
	if (m->view.members & ~lh_member_alive(m))
		lh_member_want_change(m, LH_VIEW_LOST, now_ns);
}

/* A decided view: told on to everybody before anything else is said in it, so that nobody who hears from a member of a
 * view has not heard of the view. */
void lh_member_take_view(struct lh_member *m, const struct lh_view *v, lh_ns now_ns)
{
	if (v->number <= m->view.number)
		return;
	bool mine = v->members >> m->c.rank & 1 && v->incarnation[m->c.rank] == m->c.incarnation;
	bool told_on = m->in_view || mine;
	m->view = *v;
	lh_change_forget(m);
	if (told_on)
		send_view(m, m->connected);
	if (mine)
		install(m, v, now_ns);
	else
		leave_view(m, v, now_ns);
	lh_member_consider(m, now_ns);
}

/* ---- coming and going ---- */

/* What a peer outside can do: tell all members whom it reaches, and wait to be let in. */
static void seek(struct lh_member *m, lh_ns now_ns)
{
	uint64_t reached = lh_member_alive(m);
	uint64_t missing = m->view.members & ~reached & ~bit(m->c.rank);
	if (m->notice) {
		lh_member_end(m, LH_MEMBER_LEFT);
		return;
	}
	if (m->view.number && !missing)
		m->searching_ns = 0;
	else if (!m->searching_ns)
		m->searching_ns = now_ns ? now_ns : 1;
	if (!m->noticed_ns)
		m->noticed_ns = now_ns;
}

static void ask(struct lh_member *m)
{
	if (!m->in_view && m->view.number)
		lh_member_send(m, m->view.members, &(struct lh_member_message){
			.kind = LH_MEMBER_JOIN, .incarnation = m->c.incarnation, .connected = m->connected });
}

static int receive_join(struct lh_member *m, unsigned from, const struct lh_member_message *msg, struct lh_err *err)
{
	if (msg->incarnation != m->incarnation[from])
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "asks to join as incarnation %u, came as %u",
				  msg->incarnation, m->incarnation[from]);
	if (is_reached(m, from))
		return 0; /* it does not know yet that it is in */
	m->asking |= bit(from);
	m->asked[from] = msg->connected;
	return 0;
}

void lh_member_found(struct lh_member *m, unsigned peer, uint32_t incarnation, lh_ns rtt_ns, lh_ns now_ns)
{
	if (m->is_over || peer >= m->c.size || peer == m->c.rank)
		return;
	bool known = m->connected >> peer & 1 && m->incarnation[peer] == incarnation;
	m->rtt_ns[peer] = rtt_ns;
	if (known)
		return;
	if (m->connected >> peer & 1)
		lh_member_lost(m, peer, now_ns);
	m->connected |= bit(peer);
	m->incarnation[peer] = incarnation;
	if (m->in_view && (m->view.number > 1 || !is_reached(m, peer)))
		send_view(m, bit(peer));
	if (m->in_view && is_reached(m, peer))
		lh_change_found(m, peer);
	else
		ask(m);
	announce_end(m);
	if (m->notice && m->in_view)
		send_kind(m, bit(peer), LH_MEMBER_LEAVE, 0);
	lh_member_consider(m, now_ns);
}

void lh_member_lost(struct lh_member *m, unsigned peer, lh_ns now_ns)
{
	if (m->is_over || peer >= m->c.size || !(m->connected >> peer & 1))
		return;
	bool member = m->in_view && is_reached(m, peer);
	m->connected &= ~bit(peer);
	m->asking &= ~bit(peer);
	m->leaving &= ~bit(peer);
	if (m->suspected_to == peer)
		m->suspected_to = NOBODY;
	if (member)
		lh_member_want_change(m, LH_VIEW_LOST, now_ns);
	ask(m);
	lh_member_consider(m, now_ns);
}

void lh_member_notice(struct lh_member *m, lh_ns now_ns)
{
	m->notice = true;
	m->leaving |= bit(m->c.rank);
	if (m->in_view)
		send_kind(m, m->view.members, LH_MEMBER_LEAVE, 0);
	lh_member_consider(m, now_ns);
}

/* ---- what all inputs end with ---- */

void lh_member_consider(struct lh_member *m, lh_ns now_ns)
{
	if (m->is_over)
		return;
	if (!m->in_view) {
		seek(m, now_ns);
		return;
	}
	uint64_t alive = lh_member_alive(m);
	if (m->version == m->c.rounds && !(alive & ~m->done)) {
		lh_member_end(m, LH_MEMBER_FINISHED);
		return;
	}
	if (!m->need_change)
		return;
	if (!lh_change_quorum(&m->view, alive)) {
		if (!m->quorumless_ns)
			m->quorumless_ns = now_ns ? now_ns : 1;
		return;
	}
	m->quorumless_ns = 0;
	if (lowest(alive) == m->c.rank) {
		lh_change_advance(m, now_ns);
	} else if (m->suspected_to != lowest(alive)) {
		m->suspected_to = lowest(alive);
		lh_member_send(m, bit(lowest(alive)), &(struct lh_member_message){
			.kind = LH_MEMBER_SUSPECT, .flags = m->cause });
	}
}

static int receive_own(struct lh_member *m, unsigned from, const struct lh_member_message *msg, lh_ns now_ns,
		       struct lh_err *err)
{
	switch (msg->kind) {
	case LH_MEMBER_ACK:
		return receive_ack(m, from, msg, now_ns, err);
	case LH_MEMBER_SUSPECT:
		lh_member_want_change(m, msg->flags, now_ns);
		return 0;
	case LH_MEMBER_LEAVE:
		m->leaving |= bit(from);
		return 0;
	case LH_MEMBER_FETCH:
		if (m->synced && msg->version == m->version)
			m->ops->serve(m->ctx, from, m->version);
		return 0;
	default:
		return lh_change_receive(m, from, msg, now_ns, err);
	}
}

/* The round that a group begins with is dealt once, to members that have the state. */
static bool is_sound(const struct lh_member *m, const struct lh_view *v)
{
	if (v->version >= m->c.rounds)
		return v->version == m->c.rounds && !v->table.n;
	return lh_table_is_whole(&v->table, m->c.batch, first_of(m, v->version), v->synced);
}

int lh_member_receive(struct lh_member *m, unsigned from, const struct lh_member_message *msg, lh_ns now_ns,
		      struct lh_err *err)
{
	int rc = 0;
	if (m->is_over || from >= m->c.size || from == m->c.rank || !(m->connected >> from & 1))
		return 0;
	if (msg->group.number > m->view.number && !is_sound(m, &msg->group))
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "view %u does not deal its round once",
				  msg->group.number);
	if (msg->kind == LH_MEMBER_VIEW) {
		lh_member_take_view(m, &msg->group, now_ns);
		ask(m);
	} else if (msg->kind == LH_MEMBER_DONE) {
		if (msg->version != m->c.rounds)
			return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "done after round %u of %u", msg->version,
					  m->c.rounds);
		m->done |= bit(from);
		if (!m->in_view)
			lh_member_end(m, LH_MEMBER_TOO_LATE);
	} else if (msg->kind == LH_MEMBER_JOIN) {
		rc = receive_join(m, from, msg, err);
	} else if (m->in_view && is_reached(m, from) && msg->view == m->view.number) {
		rc = receive_own(m, from, msg, now_ns, err);
	} /* else: of a view that is over for one of the two */
	if (!rc)
		lh_member_consider(m, now_ns);
	return rc;
}

void lh_member_tick(struct lh_member *m, lh_ns now_ns)
{
	if (m->is_over)
		return;
	if (m->quorumless_ns && now_ns - m->quorumless_ns >= m->c.give_up_ns)
		lh_member_end(m, LH_MEMBER_NO_QUORUM);
	else if (m->searching_ns && now_ns - m->searching_ns >= m->c.give_up_ns)
		lh_member_end(m, LH_MEMBER_NO_GROUP);
	if (m->retry_at_ns && now_ns >= m->retry_at_ns) {
		m->retry_at_ns = 0;
		lh_member_consider(m, now_ns);
	}
}

lh_ns lh_member_timer(const struct lh_member *m)
{
	lh_ns at = INT64_MAX;
	if (m->is_over)
		return at;
	if (m->quorumless_ns)
		at = m->quorumless_ns + m->c.give_up_ns;
	if (m->searching_ns && m->searching_ns + m->c.give_up_ns < at)
		at = m->searching_ns + m->c.give_up_ns;
	if (m->retry_at_ns && m->retry_at_ns < at)
		at = m->retry_at_ns;
	return at;
}

void lh_member_init(struct lh_member *m, const struct lh_member_config *config, const struct lh_member_ops *ops,
		    void *ctx, lh_ns now_ns)
{
	memset(m, 0, sizeof *m);
	m->c = *config;
	m->c.stride = config->stride ? config->stride : config->batch;
	m->ops = ops;
	m->ctx = ctx;
	m->donor = m->suspected_to = NOBODY;
	m->in_view = config->founders >> config->rank & 1 && !config->incarnation;
	if (m->in_view) {
		m->synced = true;
		m->connected = config->founders & ~bit(config->rank);
		m->view.number = 1;
		m->view.members = m->view.synced = config->founders;
		m->view.cause = LH_VIEW_START;
		m->version = m->view.version = config->version;
		lh_table_deal(&m->view.table, config->batch, first_of(m, config->version), config->founders, config->weights);
	}
	lh_member_consider(m, now_ns);
}

const char *lh_member_state(const struct lh_member *m)
{
	if (m->is_over)
		return "over";
	if (!m->in_view)
		return "joining";
	if (m->promised)
		return "changing";
	if (!m->synced)
		return "syncing";
	return m->acks >> m->c.rank & 1 ? "voted" : m->started ? "round" : "ready";
}

const char *lh_member_end_text(enum lh_member_end end)
{
	static const char *const texts[] = {
		[LH_MEMBER_FINISHED] = "finished",
		[LH_MEMBER_TOO_LATE] = "the run ended before this peer could join",
		[LH_MEMBER_LEFT] = "left the group as told",
		[LH_MEMBER_NO_QUORUM] = "no majority of the last group is in reach; another part of it may go on",
		[LH_MEMBER_NO_GROUP] = "no running group was found whose members are all in reach",
		[LH_MEMBER_NO_STATE] = "all members that had the group's state are gone",
		[LH_MEMBER_MISMATCH] = "the members' results differ again and again",
		[LH_MEMBER_BROKEN] = "the group decided what contradicts this peer's state (a defect)",
	};
	return texts[end];
}
