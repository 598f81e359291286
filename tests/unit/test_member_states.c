/* Every state that the membership protocol can reach in small groups, on the code that runs.
 *
 * A world is the machines of all peers, what is on its way between them, and which failures are still to come. From the
 * first world every enabled event is tried: deliver the next message of a pair, complete an exchange or a transfer of
 * state, notice a loss, meet a peer, kill one, cut a link. Worlds that were seen are not entered again (by a hash of 64
 * bits: that one of five million is taken for another has a chance of 1e-6). So what holds in every world met holds for every order of events, however slow or stopped a peer is: a stall
 * is an order in which nothing of that peer happens for long.
 *
 * Exchanges are modelled by what they promise: a result can be complete at a peer once every member of its view is in that
 * round of that view, and may be late for ever. Each attempt of a round has a hash of its own.
 */
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "lhtest.h"
#include "member/member.h"

enum { N = 3, VIEWS = 12, ROUNDS = 3, QUEUE = 24, NOTHING = 99, BATCH = 6 };

struct node {
	struct lh_member m;
	bool is_up;
	uint32_t ended;             /* enum lh_member_end + 1 */
	uint32_t fetch_version;     /* + 1; 0: not fetching */
	unsigned fetch_from;
	uint32_t serving[N];        /* version + 1 that this peer sends to whom */
	uint64_t history[ROUNDS + 1]; /* hash of the result of each round in its state */
};

struct world {
	struct node node[N];
	uint16_t queue[N][N][QUEUE]; /* ids of messages, from, to */
	uint8_t queued[N][N];
	uint8_t linked[N][N];        /* at, of: which incarnation of the other is connected, + 1; 0: none */
	uint8_t cut[N][N];
	uint8_t entered[VIEWS][ROUNDS + 1]; /* by view and round: who takes part */
	uint64_t decided[VIEWS];     /* hash of the group that was installed */
	uint64_t dealt[VIEWS][ROUNDS + 1];
	uint64_t committed[ROUNDS + 1];
	uint8_t kills, cuts, heals, starts, notices, retries;
	uint8_t joiner;              /* rank that is not there at first; NOTHING */
};

static struct world w; /* the one being looked at */
static const double weights[LH_MEMBER_CAP] = { 1, 1, 1, 1 };

/* What a scenario wants of worlds where nothing happens any more. */
static struct scenario {
	unsigned founders, kills, cuts, heals, starts, notices, retries;
	uint32_t rounds;
	unsigned least_finished;
} scenario;

static uint64_t nworlds, nends, nviolations, most_views;

static void violated(const char *what)
{
	if (nviolations++ < 5)
		printf("# violated: %s\n", what);
}

/* ---- messages, each kept once ---- */

static struct lh_member_message *messages;
static unsigned nmessages;
enum { MESSAGES_MAX = 65536 };

static uint16_t intern(const struct lh_member_message *m)
{
	static uint16_t *slots;
	if (!slots)
		slots = calloc(MESSAGES_MAX * 2, sizeof *slots);
	if (!messages)
		messages = calloc(MESSAGES_MAX, sizeof *messages);
	uint64_t h = lh_hash64(m, sizeof *m, 1) % (MESSAGES_MAX * 2);
	for (; slots[h]; h = (h + 1) % (MESSAGES_MAX * 2))
		if (!memcmp(&messages[slots[h]], m, sizeof *m))
			return slots[h];
	if (++nmessages >= MESSAGES_MAX)
		abort();
	messages[nmessages] = *m;
	slots[h] = (uint16_t)nmessages;
	return slots[h];
}

/* ---- outputs of the machines ---- */

static unsigned rank_of(void *ctx)
{
	return (unsigned)(uintptr_t)ctx;
}

/* What `from` writes reaches `to`. */
static bool is_linked(unsigned from, unsigned to)
{
	return w.node[to].is_up && !w.node[to].ended && !w.cut[from][to] &&
	       w.linked[from][to] == w.node[to].m.c.incarnation + 1 &&
	       w.linked[to][from] == w.node[from].m.c.incarnation + 1;
}

static void on_send(void *ctx, uint64_t to, const struct lh_member_message *msg)
{
	unsigned from = rank_of(ctx);
	uint8_t bytes[LH_MEMBER_MESSAGE_MAX];
	struct lh_member_message clean;
	size_t len = lh_member_print(msg, bytes);
	if (!len || lh_member_parse(bytes, len, N, &clean, NULL)) {
		violated("a message that its receiver would refuse");
		return;
	}
	uint16_t id = intern(&clean);
	for (unsigned i = 0; i < N; i++) {
		if (!(to >> i & 1) || !is_linked(from, i))
			continue;
		if (w.queued[from][i] == QUEUE)
			abort();
		w.queue[from][i][w.queued[from][i]++] = id;
	}
}

static void on_commit(void *ctx, uint32_t version, uint64_t hash)
{
	struct node *n = &w.node[rank_of(ctx)];
	memset(n->serving, 0, sizeof n->serving);
	if (version > scenario.rounds || (w.committed[version] && w.committed[version] != hash))
		violated("two results of one round are committed");
	w.committed[version] = hash;
	n->history[version] = hash;
}

static void on_install(void *ctx, lh_ns noticed)
{
	struct node *n = &w.node[rank_of(ctx)];
	uint64_t h = lh_hash64(&n->m.view, sizeof n->m.view, 2);
	memset(n->serving, 0, sizeof n->serving);
	n->fetch_version = 0;
	if (n->m.view.number >= VIEWS)
		abort();
	if (w.decided[n->m.view.number] && w.decided[n->m.view.number] != h)
		violated("two groups under one number");
	w.decided[n->m.view.number] = h;
	most_views = n->m.view.number > most_views ? n->m.view.number : most_views;
}

static void on_fetch(void *ctx, unsigned donor, uint32_t version)
{
	struct node *n = &w.node[rank_of(ctx)];
	n->fetch_version = version + 1;
	n->fetch_from = donor;
}

static void on_serve(void *ctx, unsigned to, uint32_t version)
{
	w.node[rank_of(ctx)].serving[to] = version + 1;
}

static void on_excluded(void *ctx)
{
	struct node *n = &w.node[rank_of(ctx)];
	memset(n->history, 0, sizeof n->history);
	memset(n->serving, 0, sizeof n->serving);
	n->fetch_version = 0;
}

static void on_over(void *ctx, enum lh_member_end end)
{
	w.node[rank_of(ctx)].ended = end + 1;
	if (end == LH_MEMBER_BROKEN || end == LH_MEMBER_MISMATCH)
		violated(lh_member_end_text(end));
}

static const struct lh_member_ops ops = {
	.send = on_send, .commit = on_commit, .install = on_install, .fetch = on_fetch, .serve = on_serve,
	.excluded = on_excluded, .over = on_over,
};

/* ---- what must hold in every world ---- */

static void check_node(struct node *n)
{
	const struct lh_member *m = &n->m;
	if (!n->is_up || n->ended || !m->in_view)
		return;
	if (m->synced)
		for (uint32_t v = 1; v <= m->version; v++)
			if (n->history[v] != w.committed[v])
				violated("a state that is not the group's");
	if (m->version == scenario.rounds)
		return;
	uint64_t h = lh_hash64(&m->view.table, sizeof m->view.table, 3), *dealt = &w.dealt[m->view.number][m->version + 1];
	if (!lh_table_is_whole(&m->view.table, BATCH, m->version * BATCH, m->view.members))
		violated("a round that is not dealt once");
	if (*dealt && *dealt != h)
		violated("two deals of one attempt");
	*dealt = h;
	/* Taking part begins by itself; that it may come late is in the result, which comes any time or never. */
	w.entered[m->view.number][m->version + 1] |= (uint8_t)(1u << m->c.rank);
}

/* Two groups that could both go on: of different views, each with a quorum of its own that is not bound by promises. */
static bool can_go_on(uint32_t number, uint64_t *ret_members)
{
	*ret_members = 0;
	for (unsigned i = 0; i < N; i++) {
		const struct node *n = &w.node[i];
		if (n->is_up && n->m.in_view && n->m.view.number == number && !n->m.promised)
			*ret_members = n->m.view.members;
	}
	for (unsigned i = 0; i < N; i++) {
		const struct node *n = &w.node[i];
		bool in = n->is_up && n->m.in_view && n->m.view.number == number && !n->m.promised;
		if (*ret_members >> i & 1 && !in)
			return false;
	}
	return *ret_members != 0;
}

static void check_world(void)
{
	uint64_t one, other;
	for (unsigned i = 0; i < N; i++)
		check_node(&w.node[i]);
	for (uint32_t a = 1; a < VIEWS && w.decided[a]; a++)
		for (uint32_t b = a + 1; b < VIEWS; b++)
			if (w.decided[b] && can_go_on(a, &one) && can_go_on(b, &other))
				violated("two groups that are alive");
}

/* ---- events ---- */

static void boot(unsigned rank, uint32_t incarnation)
{
	struct node *n = &w.node[rank];
	struct lh_member_config c = {
		.rank = rank, .size = N, .incarnation = incarnation, .founders = (1u << scenario.founders) - 1,
		.batch = BATCH, .rounds = scenario.rounds, .weights = weights, .give_up_ns = 1000, .retry_ns = 1,
	};
	memset(n, 0, sizeof *n);
	n->is_up = true;
	lh_member_init(&n->m, &c, &ops, (void *)(uintptr_t)rank, 1);
}

static void drop(unsigned from, unsigned to)
{
	memset(w.queue[from][to], 0, sizeof w.queue[from][to]);
	w.queued[from][to] = 0;
}

static bool deliver(unsigned from, unsigned to)
{
	if (!w.queued[from][to] || !w.node[to].is_up || w.node[to].ended || !w.linked[to][from])
		return false;
	struct lh_member_message m = messages[w.queue[from][to][0]];
	w.queued[from][to]--;
	memmove(w.queue[from][to], w.queue[from][to] + 1, w.queued[from][to] * sizeof(uint16_t));
	w.queue[from][to][w.queued[from][to]] = 0;
	struct lh_err err = LH_ERR_INIT;
	if (lh_member_receive(&w.node[to].m, from, &m, 1, &err))
		violated(err.text);
	return true;
}

static bool complete(unsigned i)
{
	struct node *n = &w.node[i];
	if (!n->is_up || n->ended || !n->m.in_view || n->m.has_result || n->m.version == scenario.rounds)
		return false;
	if (n->m.view.members & ~(uint64_t)w.entered[n->m.view.number][n->m.version + 1])
		return false;
	lh_member_exchange(&n->m);
	lh_member_result(&n->m, n->m.view.number * 100 + n->m.version + 1, 1);
	return true;
}

static bool transfer(unsigned i)
{
	struct node *n = &w.node[i];
	const struct node *d = &w.node[n->fetch_from];
	if (!n->is_up || n->ended || !n->fetch_version || d->serving[i] != n->fetch_version || !w.linked[i][n->fetch_from])
		return false;
	uint32_t version = n->fetch_version - 1;
	if (d->is_up && d->m.version != version)
		violated("a donor went on before its joiner had the state");
	memcpy(n->history, d->history, sizeof n->history);
	n->fetch_version = 0;
	lh_member_synced(&n->m, version, 1);
	return true;
}

/* The far end is dead, cut off, or has hung up. What was on its way is lost with it. */
static bool lose(unsigned at, unsigned of)
{
	if (!w.node[at].is_up || !w.linked[at][of])
		return false;
	if (is_linked(at, of))
		return false;
	/* Who ends its part says goodbye first, and TCP delivers that. */
	if (w.node[of].is_up && w.node[of].ended && w.queued[of][at])
		return false;
	drop(of, at);
	w.linked[at][of] = 0;
	if (!w.node[at].ended)
		lh_member_lost(&w.node[at].m, of, 1);
	return true;
}

static bool meet(unsigned a, unsigned b)
{
	struct node *one = &w.node[a], *other = &w.node[b];
	if (a >= b || !one->is_up || !other->is_up || w.cut[a][b] || one->ended || other->ended || is_linked(a, b))
		return false;
	/* A connection of before may still be there at the end that has not noticed; not at the one that began it. */
	if (w.linked[a][b] == other->m.c.incarnation + 1 || w.linked[b][a] == one->m.c.incarnation + 1)
		return false;
	drop(a, b);
	drop(b, a);
	w.linked[a][b] = (uint8_t)(other->m.c.incarnation + 1);
	w.linked[b][a] = (uint8_t)(one->m.c.incarnation + 1);
	lh_member_found(&one->m, b, other->m.c.incarnation, 1, 1);
	lh_member_found(&other->m, a, one->m.c.incarnation, 1, 1);
	return true;
}

static bool kill_one(unsigned i)
{
	if (!w.kills || !w.node[i].is_up || w.node[i].ended)
		return false;
	w.kills--;
	w.node[i].is_up = false;
	for (unsigned k = 0; k < N; k++) {
		drop(k, i);
		w.linked[i][k] = 0;
	}
	return true;
}

static bool cut_one(unsigned a, unsigned b)
{
	if (!w.cuts || a >= b || !w.linked[a][b] || !w.linked[b][a])
		return false;
	w.cuts--;
	w.cut[a][b] = w.cut[b][a] = 1;
	return true;
}

/* After both ends have given the connection up; before, TCP would only have been late. */
static bool heal_one(unsigned a, unsigned b)
{
	if (!w.heals || a >= b || !w.cut[a][b] || w.linked[a][b] || w.linked[b][a])
		return false;
	w.heals--;
	w.cut[a][b] = w.cut[b][a] = 0;
	return true;
}

/* A peer that died comes back, or one that was not there comes. */
static bool start_one(unsigned i)
{
	uint32_t incarnation = w.node[i].m.ops ? w.node[i].m.c.incarnation + 1 : 0;
	if (!w.starts || w.node[i].is_up)
		return false;
	w.starts--;
	boot(i, incarnation);
	return true;
}

static bool notice_one(unsigned i)
{
	if (!w.notices || !w.node[i].is_up || w.node[i].ended)
		return false;
	w.notices--;
	lh_member_notice(&w.node[i].m, 1);
	return true;
}

static bool retry(unsigned i)
{
	struct node *n = &w.node[i];
	if (!w.retries || !n->is_up || n->ended || !n->m.retry_at_ns)
		return false;
	w.retries--;
	lh_member_tick(&n->m, n->m.retry_at_ns);
	return true;
}

enum { FAILURES = 6 }; /* the first kinds need not happen */

static bool happen(unsigned kind, unsigned a, unsigned b)
{
	switch (kind) {
	case 0: return a == b && kill_one(a);
	case 1: return cut_one(a, b);
	case 2: return heal_one(a, b);
	case 3: return a == b && notice_one(a);
	case 4: return a == b && start_one(a);
	case 5: return a == b && retry(a);
	case 6: return a != b && deliver(a, b);
	case 7: return a == b && complete(a);
	case 8: return a == b && transfer(a);
	case 9: return a != b && lose(a, b);
	case 10: return meet(a, b);
	default: return false;
	}
}

/* ---- the search ---- */

static uint64_t *seen, seen_size, nseen; /* hashes; 0: free */

static void make_room(void)
{
	uint64_t old_size = seen_size, *old = seen;
	if (nseen * 4 < seen_size * 3)
		return;
	seen_size = seen_size ? seen_size * 2 : 1 << 16;
	seen = calloc(seen_size, sizeof *seen);
	if (!seen)
		abort();
	for (uint64_t i = 0; i < old_size; i++) {
		uint64_t at = old[i] % seen_size;
		while (old[i] && seen[at])
			at = (at + 1) % seen_size;
		if (old[i])
			seen[at] = old[i];
	}
	free(old);
}

static bool is_new(void)
{
	uint64_t h = lh_hash64(&w, sizeof w, 11);
	h += !h;
	make_room();
	uint64_t at = h % seen_size;
	for (; seen[at]; at = (at + 1) % seen_size)
		if (seen[at] == h)
			return false;
	seen[at] = h;
	nseen++;
	return true;
}

/* Nothing happens any more, except that people give up. */
static void check_end(void)
{
	unsigned finished = 0;
	bool quorumless = false; /* somebody will give up, and who hopes for it then too */
	for (unsigned i = 0; i < N; i++)
		quorumless |= w.node[i].is_up && !w.node[i].ended && w.node[i].m.quorumless_ns;
	for (unsigned i = 0; i < N; i++)
		if (w.node[i].is_up && !w.node[i].ended && w.node[i].m.retry_at_ns)
			return; /* it goes on, past what is enumerated */
	nends++;
	for (unsigned i = 0; i < N; i++) {
		const struct node *n = &w.node[i];
		if (!n->is_up)
			continue;
		finished += n->ended == LH_MEMBER_FINISHED + 1;
		bool waits = n->m.quorumless_ns || n->m.searching_ns || (!n->m.in_view && quorumless);
		if (!n->ended && !waits) {
			printf("# peer %u is %s in view %u at version %u, cause %u, phase %u, retry %d\n", i,
			       lh_member_state(&n->m), n->m.view.number, n->m.version, n->m.need_change, n->m.phase,
			       (int)n->m.retry_at_ns);
			violated("a peer that waits for ever");
		}
	}
	if (finished < scenario.least_finished)
		violated("too few finished");
}

static void search(unsigned depth)
{
	struct world *before = malloc(sizeof *before);
	bool any = false;
	if (!before || depth > 2000)
		abort();
	*before = w;
	nworlds++;
	for (unsigned kind = 0; kind <= 10 && nviolations < 5; kind++)
		for (unsigned a = 0; a < N; a++)
			for (unsigned b = 0; b < N; b++) {
				if (!happen(kind, a, b))
					continue;
				any |= kind >= FAILURES - 1;
				check_world();
				if (is_new())
					search(depth + 1);
				w = *before;
			}
	if (!any && nviolations < 5)
		check_end();
	free(before);
}

static void explore(const char *name, struct scenario s)
{
	scenario = s;
	memset(&w, 0, sizeof w);
	free(seen);
	seen = NULL;
	seen_size = nseen = nworlds = nends = nviolations = most_views = 0;
	w.kills = (uint8_t)s.kills;
	w.cuts = (uint8_t)s.cuts;
	w.heals = (uint8_t)s.heals;
	w.starts = (uint8_t)s.starts;
	w.notices = (uint8_t)s.notices;
	w.retries = (uint8_t)s.retries;
	for (unsigned i = 0; i < s.founders; i++)
		for (unsigned k = 0; k < s.founders; k++)
			w.linked[i][k] = i != k;
	for (unsigned i = 0; i < s.founders; i++)
		boot(i, 0);
	check_world();
	is_new();
	search(0);
	printf("# %s: %llu worlds, %llu ends, up to %llu views, %u messages\n", name, (unsigned long long)nworlds,
	       (unsigned long long)nends, (unsigned long long)most_views, nmessages);
	CU_ASSERT_EQUAL(nviolations, 0);
	CU_ASSERT_TRUE(nends > 0);
}

static void test_kill(void)
{
	explore("one round, no failure", (struct scenario){ 3, .rounds = 1, .least_finished = 3 });
	explore("two rounds, no failure", (struct scenario){ 3, .rounds = 2, .least_finished = 3 });
	explore("one round, one killed", (struct scenario){ 3, .rounds = 1, .kills = 1, .least_finished = 2 });
	explore("two rounds, one killed", (struct scenario){ 3, .rounds = 2, .kills = 1, .least_finished = 2 });
	/* The two that are left may need each other: then one alone cannot go on. */
	explore("one round, two killed", (struct scenario){ 3, .rounds = 1, .kills = 2 });
}

static void test_cut(void)
{
	explore("one round, a link cut",
		(struct scenario){ 3, .rounds = 1, .cuts = 1, .retries = 2, .least_finished = 2 });
	explore("one round, a peer cut off", (struct scenario){ 3, .rounds = 1, .cuts = 2, .retries = 2 });
}

/* Who was left out hears of it late, and comes again. */
static void test_heal(void)
{
	explore("two peers, cut from each other and healed",
		(struct scenario){ 2, .rounds = 2, .cuts = 1, .heals = 1, .retries = 1, .least_finished = 1 });
	explore("two peers, three rounds, cut from each other and healed",
		(struct scenario){ 2, .rounds = 3, .cuts = 1, .heals = 1, .retries = 1, .least_finished = 1 });
}

static void test_heal_and_join(void)
{
	explore("two peers, cut and healed, one killed",
		(struct scenario){ 2, .rounds = 2, .cuts = 1, .heals = 1, .kills = 1, .retries = 1 });
	explore("two peers, one leaves, cut and healed",
		(struct scenario){ 2, .rounds = 2, .cuts = 1, .heals = 1, .notices = 1, .retries = 1 });
}

static void test_heal_three(void)
{
	explore("three peers, a link cut and healed",
		(struct scenario){ 3, .rounds = 1, .cuts = 1, .heals = 1, .retries = 1, .least_finished = 2 });
}

static void test_join(void)
{
	explore("two peers, one comes", (struct scenario){ 2, .rounds = 2, .starts = 1, .least_finished = 2 });
	explore("two peers, one comes, one killed", (struct scenario){ 2, .rounds = 2, .starts = 1, .kills = 1 });
}

static void test_come_back(void)
{
	explore("one killed, comes back",
		(struct scenario){ 3, .rounds = 2, .kills = 1, .starts = 1, .least_finished = 2 });
}

static void test_leave(void)
{
	explore("one leaves", (struct scenario){ 3, .rounds = 2, .notices = 1, .least_finished = 2 });
	explore("one leaves, one killed", (struct scenario){ 3, .rounds = 2, .notices = 1, .kills = 1 });
}

static const struct lh_test tests[] = {
	{ "kill", test_kill, 0 },
	{ "cut", test_cut, 0 },
	{ "heal", test_heal, 0 },
	{ "heal_and_join", test_heal_and_join, 0 },
	{ "heal_three", test_heal_three, LH_TEST_LONG },
	{ "join", test_join, 0 },
	{ "come_back", test_come_back, LH_TEST_LONG },
	{ "leave", test_leave, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "member-states", tests, sizeof tests / sizeof *tests);
}
