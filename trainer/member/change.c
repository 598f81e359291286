/* From one view to the next: one decision, made once, by the members of the view that ends.
 *
 * It is the single-decree Paxos of that view. Acceptors are its members (a peer that was started anew is none of
 * them), a quorum is a majority or the half with the lowest rank, two of which always meet. So there is one next view,
 * whoever is cut off from whom, and however many try to decide. The lowest rank in reach tries (suspicion of others
 * goes to it); when two try, the higher ballot wins and the other tries again after a while.
 *
 * Who promises stops voting and committing in the old view. What it promises with says whether it holds the result of the
 * round under way; the value is made of what all that are in reach said:
 *     members   those that answered and reach each other, without those that leave, with those that ask and reach all;
 *     version   one more if every one of them holds the same result, else as it was;
 *     table     of the round after it: kept shares, and what the lost ones had dealt again.
 * If somebody committed the round in the old view, all members said ACK before they promised, so all hold the result and
 * the new view has it too. If somebody stays without it, nobody has committed and nobody will.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

bool lh_change_quorum(const struct lh_view *v, uint64_t set)
{
	unsigned all = count(v->members), in = count(set & v->members);
	return 2 * in > all || (2 * in == all && set >> lowest(v->members) & 1);
}

/* The next view is here. */
void lh_change_forget(struct lh_member *m)
{
	m->promised = m->accepted_ballot = m->ballot = m->seen = m->best_ballot = 0;
	m->phase = LH_CHANGE_IDLE;
	m->promises = m->accepts = 0;
	m->retry_at_ns = 0;
	m->suspected_to = LH_MEMBER_CAP;
	memset(&m->accepted, 0, sizeof m->accepted);
	memset(&m->proposal, 0, sizeof m->proposal);
	memset(m->promise, 0, sizeof m->promise);
}

static void send_ballot(struct lh_member *m, uint64_t to, enum lh_member_kind kind, uint32_t ballot)
{
	lh_member_send(m, to, &(struct lh_member_message){ .kind = kind, .ballot = ballot, .promised = m->promised });
}

static void send_proposal(struct lh_member *m, uint64_t to)
{
	lh_member_send(m, to, &(struct lh_member_message){
		.kind = LH_MEMBER_PROPOSE, .ballot = m->ballot, .group = m->proposal });
}

/* Somebody else tries. Later again, unless it succeeds; lower ranks sooner, and later each time, so that two do not go on
 * meeting however long their messages take. */
static void stand_back(struct lh_member *m, lh_ns now_ns)
{
	unsigned turn = 1 + count(m->view.members & (bit(m->c.rank) - 1));
	if (m->phase == LH_CHANGE_IDLE)
		return;
	m->phase = LH_CHANGE_IDLE;
	m->retry_at_ns = now_ns + m->c.retry_ns * turn * (m->ballot / LH_MEMBERS_MAX) + 1;
}

/* ---- the value ---- */

static struct lh_promise own_promise(const struct lh_member *m)
{
	return (struct lh_promise){
		.version = m->version, .hash = m->has_result ? m->result : 0,
		.connected = lh_member_alive(m),
		.flags = (m->synced ? LH_MEMBER_HAS_STATE : 0) | (m->has_result ? LH_MEMBER_HAS_RESULT : 0) |
			 (m->notice ? LH_MEMBER_LEAVING : 0) | (m->started ? LH_MEMBER_STARTED : 0),
	};
}

/* How many of the set a member does not reach, or is not reached by. */
static unsigned apart(const struct lh_member *m, unsigned rank, uint64_t set)
{
	unsigned n = 0;
	for (uint64_t left = set & ~bit(rank); left; left &= left - 1)
		n += !(m->promise[rank].connected >> lowest(left) & 1 &&
		       m->promise[lowest(left)].connected >> rank & 1);
	return n;
}

/* Leave out who reaches fewest, highest rank first, until all that stay reach each other. */
static uint64_t reaching_each_other(const struct lh_member *m, uint64_t set)
{
	for (;;) {
		unsigned worst = 0, most = 0;
		for (uint64_t left = set; left; left &= left - 1) {
			unsigned n = apart(m, lowest(left), set);
			if (n && n >= most) {
				most = n;
				worst = lowest(left);
			}
		}
		if (!most)
			return set;
		set &= ~bit(worst);
	}
}

static uint64_t with_flags(const struct lh_member *m, uint64_t set, uint32_t flags)
{
	uint64_t ret = 0;
	for (uint64_t left = set; left; left &= left - 1)
		if ((m->promise[lowest(left)].flags & flags) == flags)
			ret |= bit(lowest(left));
	return ret;
}

/* Without those that want to go, as long as somebody stays who has the state. */
static uint64_t without_leavers(const struct lh_member *m, uint64_t set)
{
	uint64_t leavers = set & (m->leaving | with_flags(m, set, LH_MEMBER_LEAVING));
	while (leavers) {
		unsigned highest = 63 - (unsigned)__builtin_clzll(leavers);
		leavers &= ~bit(highest);
		if (with_flags(m, set & ~bit(highest), LH_MEMBER_HAS_STATE))
			set &= ~bit(highest);
	}
	return set;
}

/* Those that ask and reach all of the set and each other. */
static uint64_t joiners(const struct lh_member *m, uint64_t set)
{
	uint64_t in = 0;
	for (uint64_t left = m->asking & m->connected & ~set; left; left &= left - 1) {
		unsigned rank = lowest(left);
		bool reaches = !((set | in) & ~bit(rank) & ~m->asked[rank]);
		for (uint64_t others = in; others; others &= others - 1)
			reaches &= m->asked[lowest(others)] >> rank & 1;
		if (reaches)
			in |= bit(rank);
	}
	return in;
}

bool lh_change_wanted(const struct lh_member *m)
{
	uint64_t alive = lh_member_alive(m);
	return joiners(m, alive) || (m->leaving & alive && count(alive) > 1);
}

/* Version, and what those that are behind it apply. False: nobody has the state. */
static bool choose_version(const struct lh_member *m, uint64_t stay, struct lh_view *v, bool *ret_complete)
{
	uint32_t base = 0;
	uint64_t state = with_flags(m, m->promises, LH_MEMBER_HAS_STATE), hash = 0;
	bool complete = true, first = true;
	for (uint64_t left = state; left; left &= left - 1)
		if (m->promise[lowest(left)].version > base)
			base = m->promise[lowest(left)].version;
	for (uint64_t left = state; left; left &= left - 1) { /* those that leave, too: it was their round */
		const struct lh_promise *p = &m->promise[lowest(left)];
		if (p->version + 1 == base && p->flags & LH_MEMBER_HAS_RESULT)
			v->hash = p->hash;
	}
	for (uint64_t left = state & stay; left; left &= left - 1) {
		const struct lh_promise *p = &m->promise[lowest(left)];
		bool holds = p->flags & LH_MEMBER_HAS_RESULT;
		if (p->version < base && (p->version + 1 < base || !holds)) {
			state &= ~bit(lowest(left)); /* cannot be; it would have to take the state anew */
			continue;
		}
		complete &= p->version == base && holds && (first || p->hash == hash);
		hash = p->hash;
		first = false;
		v->aborted |= p->version == base && p->flags & LH_MEMBER_STARTED;
	}
	v->synced = state & stay;
	complete &= !first && base < m->c.rounds;
	v->version = base + complete;
	if (complete) {
		v->hash = hash;
		v->aborted = 0;
	}
	*ret_complete = complete;
	return v->synced;
}

static void choose_table(const struct lh_member *m, bool complete, struct lh_view *v)
{
	if (v->version == m->c.rounds)
		return;
	if (complete) {
		lh_table_deal(&v->table, m->c.batch, first_of(m, v->version), v->synced, m->c.weights);
		return;
	}
	/* Who is behind has not seen the deal of the round; it was made by commit, among all. */
	if (m->version == v->version)
		v->table = m->view.table;
	else
		lh_table_deal(&v->table, m->c.batch, first_of(m, v->version), m->view.members, m->c.weights);
	v->redealt = lh_table_redeal(&v->table, v->synced, m->c.weights);
}

static uint32_t choose_cause(const struct lh_member *m, uint64_t stay, uint64_t came)
{
	uint64_t gone = m->view.members & ~stay;
	uint64_t leavers = m->leaving | with_flags(m, m->promises, LH_MEMBER_LEAVING);
	if (gone & ~leavers || (m->need_change && m->cause < LH_VIEW_JOINED))
		return gone & ~leavers ? (uint32_t)LH_VIEW_LOST : m->cause;
	return came ? LH_VIEW_JOINED : gone ? LH_VIEW_LEFT : m->cause;
}

/* False: this cannot become a group. */
static bool compose(struct lh_member *m)
{
	struct lh_view *v = &m->proposal;
	uint64_t stay = reaching_each_other(m, m->promises & lh_member_alive(m)), came = 0;
	bool complete;
	memset(v, 0, sizeof *v);
	if (m->version < m->c.rounds)
		stay = without_leavers(m, stay);
	if (!choose_version(m, stay, v, &complete))
		return false;
	choose_table(m, complete, v);
	if (v->version < m->c.rounds)
		came = joiners(m, stay);
	v->number = m->view.number + 1;
	v->members = stay | came;
	v->cause = choose_cause(m, stay, came);
	for (uint64_t left = v->members; left; left &= left - 1) {
		unsigned rank = lowest(left);
		v->incarnation[rank] = came >> rank & 1 ? m->incarnation[rank] : m->view.incarnation[rank];
	}
	return true;
}

/* ---- coordinator ---- */

static void add_accept(struct lh_member *m, unsigned from, lh_ns now_ns)
{
	m->accepts |= bit(from);
	if (!lh_change_quorum(&m->view, m->accepts))
		return;
	struct lh_view decided = m->proposal;
	lh_member_take_view(m, &decided, now_ns);
}

/* Everybody in reach has answered. */
static void propose(struct lh_member *m, lh_ns now_ns)
{
	if (!m->best_ballot && !compose(m)) {
		lh_member_end(m, LH_MEMBER_NO_STATE);
		return;
	}
	m->phase = LH_CHANGE_PROPOSE;
	m->accepts = 0;
	m->accepted = m->proposal;
	m->accepted_ballot = m->ballot;
	send_proposal(m, lh_member_alive(m));
	add_accept(m, m->c.rank, now_ns);
}

static void add_promise(struct lh_member *m, unsigned from, const struct lh_promise *p, uint32_t accepted,
			const struct lh_view *value)
{
	m->promise[from] = *p;
	m->promises |= bit(from);
	if (accepted > m->best_ballot) {
		m->best_ballot = accepted;
		m->proposal = *value;
	}
}

static void begin(struct lh_member *m)
{
	uint32_t last = m->promised > m->seen ? m->promised : m->seen;
	if (last / LH_MEMBERS_MAX + 2 > LH_MEMBER_BALLOT_MAX / LH_MEMBERS_MAX) {
		lh_member_end(m, LH_MEMBER_BROKEN);
		return;
	}
	struct lh_promise own = own_promise(m);
	m->ballot = m->promised = (last / LH_MEMBERS_MAX + 1) * LH_MEMBERS_MAX + m->c.rank;
	m->phase = LH_CHANGE_PREPARE;
	m->promises = m->accepts = 0;
	m->best_ballot = 0;
	memset(&m->proposal, 0, sizeof m->proposal);
	add_promise(m, m->c.rank, &own, m->accepted_ballot, &m->accepted);
	send_ballot(m, lh_member_alive(m), LH_MEMBER_PREPARE, m->ballot);
}

void lh_change_advance(struct lh_member *m, lh_ns now_ns)
{
	if (m->phase == LH_CHANGE_IDLE && !m->retry_at_ns)
		begin(m);
	if (m->phase == LH_CHANGE_PREPARE && !(lh_member_alive(m) & ~m->promises) &&
	    lh_change_quorum(&m->view, m->promises))
		propose(m, now_ns);
}

/* A member is in reach again, and may have missed what was said meanwhile. */
void lh_change_found(struct lh_member *m, unsigned peer)
{
	if (m->phase == LH_CHANGE_PREPARE)
		send_ballot(m, bit(peer), LH_MEMBER_PREPARE, m->ballot);
	else if (m->phase == LH_CHANGE_PROPOSE)
		send_proposal(m, bit(peer));
}

/* ---- acceptor ---- */

static void receive_prepare(struct lh_member *m, unsigned from, const struct lh_member_message *msg, lh_ns now_ns)
{
	if (msg->ballot <= m->promised) {
		send_ballot(m, bit(from), LH_MEMBER_REFUSE, msg->ballot);
		return;
	}
	stand_back(m, now_ns);
	m->promised = msg->ballot;
	if (!m->noticed_ns)
		m->noticed_ns = now_ns;
	struct lh_promise p = own_promise(m);
	struct lh_member_message answer = {
		.kind = LH_MEMBER_PROMISE, .ballot = msg->ballot, .version = p.version, .flags = p.flags,
		.hash = p.hash, .connected = p.connected, .accepted = m->accepted_ballot,
	};
	if (m->accepted_ballot)
		answer.group = m->accepted;
	lh_member_send(m, bit(from), &answer);
}

static void receive_propose(struct lh_member *m, unsigned from, const struct lh_member_message *msg, lh_ns now_ns)
{
	if (msg->ballot < m->promised) {
		send_ballot(m, bit(from), LH_MEMBER_REFUSE, msg->ballot);
		return;
	}
	stand_back(m, now_ns);
	m->promised = m->accepted_ballot = msg->ballot;
	m->accepted = msg->group;
	send_ballot(m, bit(from), LH_MEMBER_ACCEPT, msg->ballot);
}

static void receive_promise(struct lh_member *m, unsigned from, const struct lh_member_message *msg)
{
	struct lh_promise p = {
		.version = msg->version, .flags = msg->flags, .hash = msg->hash, .connected = msg->connected,
	};
	if (m->phase == LH_CHANGE_PREPARE && msg->ballot == m->ballot)
		add_promise(m, from, &p, msg->accepted, &msg->group);
}

int lh_change_receive(struct lh_member *m, unsigned from, const struct lh_member_message *msg, lh_ns now_ns,
		      struct lh_err *err)
{
	bool has_group = msg->kind == LH_MEMBER_PROPOSE || msg->accepted;
	if (has_group && msg->group.number != m->view.number + 1)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "view %u proposed to follow %u", msg->group.number,
				  m->view.number);
	if ((msg->kind == LH_MEMBER_PREPARE || msg->kind == LH_MEMBER_PROPOSE) &&
	    msg->ballot % LH_MEMBERS_MAX != from)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "ballot %u of rank %u", msg->ballot, from);
	switch (msg->kind) {
	case LH_MEMBER_PREPARE:
		receive_prepare(m, from, msg, now_ns);
		return 0;
	case LH_MEMBER_PROPOSE:
		receive_propose(m, from, msg, now_ns);
		return 0;
	case LH_MEMBER_PROMISE:
		receive_promise(m, from, msg);
		return 0;
	case LH_MEMBER_REFUSE:
		if (msg->ballot == m->ballot && m->phase != LH_CHANGE_IDLE) {
			m->seen = msg->promised > m->seen ? msg->promised : m->seen;
			stand_back(m, now_ns);
		}
		return 0;
	case LH_MEMBER_ACCEPT:
		if (msg->ballot == m->ballot && m->phase == LH_CHANGE_PROPOSE)
			add_accept(m, from, now_ns);
		return 0;
	default:
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "%s out of place", lh_member_kind_name(msg->kind));
	}
}
