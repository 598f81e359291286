/* Membership in simulated time: a clean run of a group is cut into its steps (every message, result, transfer), and each
 * failure happens at each step: a peer is killed, killed and brought back, stopped for a while or for long; a link is cut
 * for good, or heals. Delays differ by pair. What test_member_states.c shows for all orders of three peers, this shows for
 * more peers at full size, with time: who is left finishes, soon, and notices within the deadline.
 */
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "lhtest.h"
#include "member/member.h"

enum { MAX = 8, ROUNDS = 4, BATCH = 64, STRIDE = 5 * BATCH, VIEWS = 64, EVENTS = 16384, HASHES = 32 };

#define MS LH_NS_PER_MS
#define DEADLINE (1000 * MS)
#define DELAY_MAX (100 * MS)
#define CALCULATION (300 * MS)
#define TRANSFER (250 * MS)

enum kind { MESSAGE, SHARE, RESULT, STATE, FOUND, LOST, TICK, FAIL };

struct event {
	lh_ns at;
	uint64_t order; /* of two at the same time */
	enum kind kind;
	unsigned to, from;
	uint32_t incarnation, far; /* of `to` and `from` when it was made; others are void */
	uint32_t view, round;
	uint64_t link;             /* a message is void when its connection is gone */
	struct lh_member_message *message;
};

struct node {
	struct lh_member m;
	bool up, ended;
	enum lh_member_end end;
	uint32_t incarnation, fetch;   /* fetch: version + 1 */
	unsigned donor;
	uint64_t state[ROUNDS + 1];
	lh_ns stopped_until;
	lh_ns tick;
};

static struct node node[MAX];
static struct event *queue[EVENTS];
static unsigned nqueue, npeers;
static uint64_t order, seed, draws, steps;
static lh_ns now, arrives[MAX][MAX], cut_until[MAX][MAX];
static uint64_t link_id[MAX][MAX]; /* the same at both ends while connected; 0: not */
static uint64_t entered[VIEWS][ROUNDS + 2], committed[ROUNDS + 1], decided[VIEWS];
static lh_ns noticed_at, installed_at;
static uint32_t last_view;
static double weights[LH_MEMBER_CAP];

enum what { CLEAN, KILL, KILL_AND_BACK, STOP, STALL, CUT, CUT_AND_HEAL, WHATS };

static struct failure { enum what what; unsigned a, b; uint64_t step; lh_ns at; bool done; } failure, more[2];

static uint64_t draw(uint64_t below)
{
	return lh_mix64(seed + ++draws * LH_MIX64_STEP) % below;
}

static lh_ns delay(unsigned a, unsigned b)
{
	return 1 * MS + (lh_ns)(lh_mix64(seed ^ ((uint64_t)(a < b ? a : b) << 8 | (a < b ? b : a))) % (DELAY_MAX - MS));
}

static struct event *add(lh_ns at, enum kind kind, unsigned to, unsigned from)
{
	struct event *e = calloc(1, sizeof *e);
	if (!e || nqueue == EVENTS)
		abort();
	*e = (struct event){
		.at = at, .order = ++order, .kind = kind, .to = to, .from = from, .incarnation = node[to].incarnation,
		.far = node[from].incarnation,
	};
	queue[nqueue++] = e;
	return e;
}

static struct event *take(void)
{
	unsigned best = 0;
	for (unsigned i = 1; i < nqueue; i++)
		if (queue[i]->at < queue[best]->at || (queue[i]->at == queue[best]->at &&
						       queue[i]->order < queue[best]->order))
			best = i;
	struct event *e = queue[best];
	queue[best] = queue[--nqueue];
	return e;
}

static void drop(struct event *e)
{
	free(e->message);
	free(e);
}

/* ---- outputs ---- */

static unsigned rank_of(void *ctx) { return (unsigned)((struct node *)ctx - node); }

/* In order; what a cut holds up comes when it heals, if the connection still is. */
static void on_send(void *ctx, uint64_t to, const struct lh_member_message *msg)
{
	unsigned from = rank_of(ctx);
	for (unsigned i = 0; i < npeers; i++) {
		if (!(to >> i & 1) || !link_id[from][i])
			continue;
		lh_ns at = (now > cut_until[from][i] ? now : cut_until[from][i]) + delay(from, i);
		at = at > arrives[from][i] ? at : arrives[from][i] + 1;
		arrives[from][i] = at;
		struct event *e = add(at, MESSAGE, i, from);
		e->link = link_id[from][i];
		e->message = malloc(sizeof *e->message);
		*e->message = *msg;
	}
}

static void on_commit(void *ctx, uint32_t version, uint64_t hash)
{
	struct node *n = ctx;
	CU_ASSERT_TRUE_FATAL(version <= ROUNDS && (!committed[version] || committed[version] == hash));
	committed[version] = hash;
	n->state[version] = hash;
}

static void begin_share(struct node *n)
{
	if (n->ended || !n->m.in_view || n->m.version >= ROUNDS)
		return;
	CU_ASSERT_TRUE(lh_table_is_whole(&n->m.view.table, BATCH, n->m.version * STRIDE, n->m.view.synced));
	struct event *e = add(now + (lh_ns)((double)CALCULATION * (double)(lh_member_share(&n->m) + 1) / BATCH * npeers),
			      SHARE, rank_of(n), rank_of(n));
	e->view = n->m.view.number;
	e->round = n->m.version + 1;
}

static void on_install(void *ctx, lh_ns noticed)
{
	struct node *n = ctx;
	uint32_t number = n->m.view.number;
	uint64_t h = lh_hash64(&n->m.view, sizeof n->m.view, 1);
	CU_ASSERT_TRUE_FATAL(number < VIEWS && (!decided[number] || decided[number] == h));
	decided[number] = h;
	n->fetch = 0;
	if (number > last_view && failure.done && !installed_at) {
		noticed_at = noticed;
		installed_at = now;
	}
	last_view = number > last_view ? number : last_view;
	begin_share(n);
}

static void on_fetch(void *ctx, unsigned donor, uint32_t version)
{
	struct node *n = ctx;
	n->fetch = version + 1;
	n->donor = donor;
}

static void on_serve(void *ctx, unsigned to, uint32_t version)
{
	struct event *e = add(now + TRANSFER + delay(rank_of(ctx), to), STATE, to, rank_of(ctx));
	e->round = version;
	e->link = link_id[rank_of(ctx)][to];
}

static void on_excluded(void *ctx)
{
	struct node *n = ctx;
	n->fetch = 0;
	memset(n->state, 0, sizeof n->state);
}

static void on_over(void *ctx, enum lh_member_end end)
{
	struct node *n = ctx;
	n->ended = true;
	n->end = end;
	for (unsigned i = 0; i < npeers; i++) /* goodbye, behind all that it said */
		if (link_id[rank_of(n)][i])
			add(arrives[rank_of(n)][i] + delay(rank_of(n), i) + DELAY_MAX, LOST, i, rank_of(n))->link =
				link_id[rank_of(n)][i];
}

static const struct lh_member_ops ops = {
	.send = on_send, .commit = on_commit, .install = on_install, .fetch = on_fetch, .serve = on_serve,
	.excluded = on_excluded, .over = on_over,
};

/* ---- the world ---- */

static void boot(unsigned rank, uint32_t incarnation)
{
	struct node *n = &node[rank];
	struct lh_member_config c = {
		.rank = rank, .size = npeers, .incarnation = incarnation, .founders = (UINT64_C(1) << npeers) - 1,
		.batch = BATCH, .stride = STRIDE, .rounds = ROUNDS, .weights = weights,
		.give_up_ns = 4 * DEADLINE, .retry_ns = DELAY_MAX,
	};
	memset(n, 0, sizeof *n);
	n->up = true;
	n->incarnation = incarnation;
	lh_member_init(&n->m, &c, &ops, n, now);
	begin_share(n);
}

static void connect_pair(unsigned a, unsigned b, lh_ns at)
{
	if (a == b || !node[a].up || !node[b].up)
		return;
	add(at, FOUND, a, b);
}

static void disconnect(unsigned a, unsigned b, lh_ns at_a, lh_ns at_b)
{
	uint64_t id = link_id[a][b];
	if (at_a)
		add(at_a, LOST, a, b)->link = id;
	if (at_b)
		add(at_b, LOST, b, a)->link = id;
}

static void fail_now(struct failure *f)
{
	unsigned a = f->a, b = f->b;
	f->done = true;
	f->at = now;
	if (!node[a].up || node[a].stopped_until > now)
		return; /* it has its failure */
	switch (f->what) {
	case KILL:
	case KILL_AND_BACK:
		node[a].up = false;
		for (unsigned i = 0; i < npeers; i++)
			if (i != a && link_id[a][i])
				disconnect(i, a, now + delay(a, i), 0);
		if (f->what == KILL_AND_BACK)
			add(now + DEADLINE / 4, FAIL, a, a);
		break;
	case STOP: /* too short for anybody to notice */
		node[a].stopped_until = now + DEADLINE / 2;
		break;
	case STALL:
		node[a].stopped_until = now + 3 * DEADLINE;
		for (unsigned i = 0; i < npeers; i++)
			if (i != a && link_id[a][i]) {
				disconnect(i, a, now + DEADLINE + delay(a, i), node[a].stopped_until + 1);
				add(node[a].stopped_until + 2 * DELAY_MAX, FOUND, i, a);
			}
		break;
	case CUT:
	case CUT_AND_HEAL:
		cut_until[a][b] = cut_until[b][a] = f->what == CUT ? INT64_MAX / 2 : now + 2 * DEADLINE;
		disconnect(a, b, now + DEADLINE, now + DEADLINE + 1);
		if (f->what == CUT_AND_HEAL)
			add(now + 2 * DEADLINE + delay(a, b), FOUND, a, b);
		break;
	default:
		break;
	}
}

/* Everybody that is still to say it has: the result comes to each after a while. */
static void enter(unsigned rank, uint32_t view, uint32_t round)
{
	struct node *n = &node[rank];
	if (!n->m.in_view || n->m.view.number != view || n->m.version + 1 != round)
		return;
	lh_member_exchange(&n->m);
	entered[view][round] |= UINT64_C(1) << rank;
	if (n->m.view.members & ~entered[view][round])
		return;
	for (unsigned i = 0; i < npeers; i++) {
		bool late = draw(8) == 0;
		if (!(n->m.view.members >> i & 1))
			continue;
		struct event *e = add(now + delay(rank, i) + (late ? DELAY_MAX : 0) + (lh_ns)draw(10 * MS), RESULT, i, i);
		e->view = view;
		e->round = round;
	}
}

static void found(unsigned a, unsigned b)
{
	if (!node[a].up || !node[b].up || node[a].ended || node[b].ended || link_id[a][b] || link_id[b][a])
		return;
	if (cut_until[a][b] > now) { /* they try again */
		if (cut_until[a][b] < INT64_MAX / 2)
			connect_pair(a, b, cut_until[a][b] + delay(a, b));
		return;
	}
	link_id[a][b] = link_id[b][a] = ++order;
	arrives[a][b] = arrives[b][a] = now;
	lh_member_found(&node[a].m, b, node[b].incarnation, delay(a, b), now);
	if (!node[b].ended)
		lh_member_found(&node[b].m, a, node[a].incarnation, delay(a, b), now);
}

static void lose(unsigned at, unsigned of, uint64_t id)
{
	if (link_id[at][of] != id || !id)
		return;
	link_id[at][of] = 0;
	if (!node[at].ended)
		lh_member_lost(&node[at].m, of, now);
	if (node[of].up && link_id[of][at] == id && now >= node[of].stopped_until)
		add(now + delay(at, of), LOST, of, at)->link = id; /* it sees the end of the connection */
}

static void arrive_state(struct node *n, const struct event *e)
{
	const struct node *d = &node[e->from];
	if (n->fetch != e->round + 1 || n->donor != e->from || link_id[e->to][e->from] != e->link || !e->link)
		return;
	/* A donor that is up and in this view still has that version; one that is not has sent it all. */
	memcpy(n->state, d->state, sizeof n->state);
	for (uint32_t v = e->round + 1; v <= ROUNDS; v++)
		n->state[v] = 0;
	n->fetch = 0;
	lh_member_synced(&n->m, e->round, now);
}

static void deliver(struct event *e)
{
	struct node *n = &node[e->to];
	struct lh_err err = LH_ERR_INIT;
	uint32_t before = n->m.version, view = n->m.view.number;
	bool in = n->m.in_view;
	switch (e->kind) {
	case MESSAGE:
		if (link_id[e->to][e->from] == e->link &&
		    lh_member_receive(&n->m, e->from, e->message, now, &err)) {
			printf("# %s\n", err.text);
			CU_FAIL("a message that its receiver refuses");
		}
		break;
	case SHARE: enter(e->to, e->view, e->round); break;
	case RESULT:
		if (n->m.in_view && n->m.view.number == e->view && n->m.version + 1 == e->round)
			lh_member_result(&n->m, e->view * 100 + e->round, now);
		break;
	case STATE: arrive_state(n, e); break;
	case TICK: lh_member_tick(&n->m, now); break;
	default: break;
	}
	if (in && n->m.in_view && n->m.view.number == view && n->m.version > before)
		begin_share(n);
}

static void handle(struct event *e)
{
	struct node *n = &node[e->to];
	if (e->kind == FAIL) {
		boot(e->to, n->incarnation + 1);
		for (unsigned i = 0; i < npeers; i++) {
			if (i == e->to)
				continue;
			lose(i, e->to, link_id[i][e->to]);
			link_id[e->to][i] = 0;
			connect_pair(e->to, i, now + delay(e->to, i));
		}
		return;
	}
	if (!n->up || n->incarnation != e->incarnation)
		return;
	if (e->kind == FOUND) {
		found(e->to, e->from);
	} else if (e->kind == LOST) {
		lose(e->to, e->from, e->link);
	} else if (!n->ended) {
		steps++;
		deliver(e);
	}
	if (!n->ended && n->up && lh_member_timer(&n->m) != INT64_MAX && lh_member_timer(&n->m) != n->tick) {
		n->tick = lh_member_timer(&n->m);
		add(n->tick > now ? n->tick : now, TICK, e->to, e->to);
	}
}

static void reset(unsigned n, uint64_t with_seed)
{
	npeers = n;
	seed = with_seed;
	now = MS;
	order = draws = steps = nqueue = 0;
	last_view = 1;
	noticed_at = installed_at = 0;
	memset(entered, 0, sizeof entered);
	memset(committed, 0, sizeof committed);
	memset(decided, 0, sizeof decided);
	memset(arrives, 0, sizeof arrives);
	memset(cut_until, 0, sizeof cut_until);
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < n; k++)
			link_id[i][k] = i == k ? 0 : 1;
	for (unsigned i = 0; i < LH_MEMBER_CAP; i++)
		weights[i] = 1 + i % 3;
	memset(node, 0, sizeof node);
	for (unsigned i = 0; i < n; i++)
		boot(i, 0);
}

/* Returns how many steps there were. */
static uint64_t run(unsigned n, uint64_t with_seed)
{
	reset(n, with_seed);
	while (nqueue) {
		struct event *e = take();
		now = e->at > now ? e->at : now;
		if (node[e->to].up && e->at < node[e->to].stopped_until) { /* its turn comes when it runs again */
			e->at = node[e->to].stopped_until;
			queue[nqueue++] = e;
			continue;
		}
		struct failure *all[] = { &failure, &more[0], &more[1] };
		for (unsigned i = 0; i < 3; i++)
			if (all[i]->what != CLEAN && !all[i]->done && steps >= all[i]->step)
				fail_now(all[i]);
		handle(e);
		drop(e);
		if (now > 600 * LH_NS_PER_S)
			break;
	}
	while (nqueue)
		drop(take());
	return steps;
}

static const char *const names[] = { "clean", "kill", "kill and back", "stop", "stall", "cut", "cut and heal" };

static unsigned check(void)
{
	unsigned finished = 0, bad = 0;
	for (unsigned i = 0; i < npeers; i++) {
		const struct node *n = &node[i];
		bool victim = failure.what != CLEAN && (i == failure.a || (failure.what >= CUT && i == failure.b));
		if (!n->up)
			continue;
		finished += n->ended && n->end == LH_MEMBER_FINISHED;
		if (n->ended && n->end == LH_MEMBER_FINISHED)
			bad += memcmp(n->state + 1, committed + 1, sizeof committed - sizeof *committed) != 0;
		if (!n->ended || (n->end != LH_MEMBER_FINISHED && !victim))
			bad++;
		/* A victim comes too late, or (cut for good, left out) finds no way in: never a quorum of its own. */
		if (n->ended && victim && n->end > LH_MEMBER_TOO_LATE && n->end != LH_MEMBER_NO_GROUP &&
		    n->end != LH_MEMBER_NO_QUORUM)
			bad++;
	}
	bad += finished + 2 < npeers || finished == 0;
	if (installed_at && failure.what != STOP) {
		lh_ns detect = noticed_at - failure.at, change = installed_at - noticed_at;
		lh_ns bound = failure.what <= KILL_AND_BACK ? DELAY_MAX : DEADLINE + DELAY_MAX;
		/* suspicion, two round trips, telling on; once more after two tried at once */
		if (last_view == 2 && (detect > bound || change > 10 * DELAY_MAX))
			bad++;
	}
	if (bad)
		printf("# %s of %u (%u) at step %llu, seed %llu: finished %u, detect %lld ms, change %lld ms\n",
		       names[failure.what], failure.a, failure.b, (unsigned long long)failure.step,
		       (unsigned long long)seed, finished, (long long)((noticed_at - failure.at) / MS),
		       (long long)((installed_at - noticed_at) / MS));
	for (unsigned i = 0; bad && i < npeers; i++)
		printf("#   %u: up %d, %s, view %u, version %u: %s\n", i, node[i].up, lh_member_state(&node[i].m),
		       node[i].m.view.number, node[i].m.version,
		       node[i].ended ? lh_member_end_text(node[i].end) : "goes on");
	return bad;
}

/* Every failure of every peer and pair at every step. */
static void every_step(unsigned n, uint64_t with_seed, unsigned stride)
{
	unsigned runs = 0, bad = 0;
	memset(&failure, 0, sizeof failure);
	uint64_t clean = run(n, with_seed);
	CU_ASSERT_EQUAL(check(), 0);
	for (enum what what = KILL; what < WHATS; what++)
		for (unsigned a = 0; a < n; a++)
			for (unsigned b = what >= CUT ? a + 1 : 0; b < (what >= CUT ? n : 1); b++)
				for (uint64_t step = (a + b) % stride; step <= clean && bad < 3; step += stride) {
					memset(&failure, 0, sizeof failure);
					failure.what = what;
					failure.a = a;
					failure.b = b;
					failure.step = step;
					run(n, with_seed);
					bad += check() != 0;
					runs++;
				}
	printf("# %u peers: a clean run has %llu steps; %u runs with a failure\n", n, (unsigned long long)clean, runs);
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_TRUE(runs > 100);
}

/* Three at once or one after the other, of any kind. What must hold then: everything that is asserted on the way, and that
 * everybody comes to an end; with deaths only, and a majority that nothing happened to, that it finishes. */
static void test_several(void)
{
	unsigned runs = 0, bad = 0, finished_runs = 0;
	for (uint64_t k = 0; k < 6000 && bad < 3; k++) {
		unsigned n = 4 + k % 5, finished = 0, waiting = 0, victims = 0, before = bad;
		struct failure *all[] = { &failure, &more[0], &more[1] };
		bool deaths = true;
		for (unsigned i = 0; i < 3; i++) {
			uint64_t r = lh_mix64(lh_test_seed() + 3 * k + i);
			*all[i] = (struct failure){ .what = KILL + r % (WHATS - KILL), .a = (unsigned)(r >> 8) % n };
			if (k % 3 == 0)
				all[i]->what = KILL + r % 2;
			all[i]->b = (all[i]->a + 1 + (unsigned)(r >> 16) % (n - 1)) % n;
			all[i]->step = (r >> 24) % (12 * n * n / 2);
			deaths &= all[i]->what <= KILL_AND_BACK;
			victims |= 1u << all[i]->a;
		}
		run(n, k);
		runs++;
		for (unsigned i = 0; i < n; i++) {
			waiting += node[i].up && !node[i].ended;
			finished += node[i].up && node[i].ended && node[i].end == LH_MEMBER_FINISHED;
			bad += node[i].up && node[i].ended && node[i].end >= LH_MEMBER_NO_STATE;
		}
		bad += waiting != 0;
		bad += deaths && 2 * (n - (unsigned)__builtin_popcount(victims)) > n &&
		       finished < n - (unsigned)__builtin_popcount(victims);
		finished_runs += finished > 0;
		if (bad > before)
			printf("# run %llu of %u peers: %s of %u, %s of %u, %s of %u; finished %u, wait %u\n",
			       (unsigned long long)k, n, names[failure.what], failure.a, names[more[0].what], more[0].a,
			       names[more[1].what], more[1].a, finished, waiting);
	}
	memset(more, 0, sizeof more);
	printf("# %u runs with three failures, %u of them finished by somebody\n", runs, finished_runs);
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_TRUE(finished_runs > runs / 2);
}

static void test_three(void)
{
	every_step(3, 1, 1);
	every_step(3, 2, 1);
}

static void test_five(void)
{
	every_step(5, 3, 1);
}

static void test_eight(void)
{
	every_step(8, 4, 7);
}

static const struct lh_test tests[] = {
	{ "three", test_three, 0 },
	{ "five", test_five, 0 },
	{ "eight", test_eight, 0 },
	{ "several", test_several, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "member-sim", tests, sizeof tests / sizeof *tests);
}
