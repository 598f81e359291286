#include "lhsim.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "comm/loopback.h"
#include "hash.h"
#include "lhtest.h"

struct world;

struct peer {
	struct world *world;
	struct lh_peer_config config;
	struct lh_worker w;
	struct lh_strategy *strategy;
	pthread_t thread;
	pthread_cond_t turn;
	lh_ns until_ns;
	int rc;
	struct lh_err err;
};

struct world {
	struct lhsim *sim;
	struct lh_loopback *hub;
	struct peer peers[LHSIM_PEERS];
	unsigned n, running, now_running; /* peers that are not done; whose turn it is */
	pthread_mutex_t lock;
	lh_ns now_ns;
	uint64_t draws, moved;
	unsigned idle;                    /* turns in which nothing moved */
	bool broken, over;                /* over: nobody waits for a turn any more */
};

static uint64_t draw(struct world *w, uint64_t below)
{
	return below ? lh_mix64(w->sim->seed + ++w->draws * LH_MIX64_STEP) % below : 0;
}

static lh_ns now(void *ctx) { return ((struct peer *)ctx)->world->now_ns; }

/* Nothing moves: time goes to the next thing that is waited for. */
static void jump(struct world *w)
{
	lh_ns next = INT64_MAX;
	for (unsigned i = 0; i < w->n; i++)
		next = w->peers[i].until_ns < next ? w->peers[i].until_ns : next;
	if (next <= w->now_ns)
		return; /* somebody's time has come already */
	if (next < INT64_MAX)
		w->now_ns = next;
	else if (w->idle > 1000 * w->n)
		w->broken = true;
}

static void pass_turn(struct peer *p)
{
	struct world *w = p->world;
	w->now_running = (unsigned)draw(w, w->n);
	if (w->now_running == p->w.c->rank)
		return;
	pthread_cond_signal(&w->peers[w->now_running].turn);
	while (w->now_running != p->w.c->rank && !w->over)
		pthread_cond_wait(&p->turn, &w->lock);
}

static int wait_turn(void *ctx, lh_ns until_ns, struct lh_err *err)
{
	struct peer *p = ctx;
	struct world *w = p->world;
	uint64_t before = p->w.t->bytes_sent + p->w.t->bytes_received;
	bool moves = p->until_ns != until_ns;
	p->until_ns = until_ns;
	int rc = p->w.t->ops->progress(p->w.t, err);
	moves |= before != p->w.t->bytes_sent + p->w.t->bytes_received;
	w->idle = moves ? 0 : w->idle + 1;
	w->now_ns += (lh_ns)draw(w, (uint64_t)w->sim->tick_ns + 1);
	if (w->idle > 20 * w->n)
		jump(w);
	pass_turn(p);
	if (!rc && (w->broken || w->over))
		rc = lh_err_set(err, LH_EXIT_BROKE, -EDEADLK, "nobody can go on");
	return rc;
}

static int live(struct peer *p)
{
	struct lhsim *s = p->world->sim;
	const struct lh_strategy_ops *ops = lh_strategy_find(p->config.sync.strategy);
	lh_ns begin = 0;
	int rc = s->engine->open(&p->config, &p->w.engine, &p->err);
	if (!rc)
		rc = ops->open(&p->w, &p->strategy, &p->err);
	for (uint32_t epoch = 1; !rc && epoch <= p->config.epochs; epoch++) {
		struct lh_event e = { .begin_ns = begin, .rank = p->config.rank };
		bool is_void;
		rc = lh_round_run(&p->w, p->strategy, epoch, &e, &is_void, &p->err);
		if (rc)
			break;
		begin = e.commit_ns;
		e.state_hash = s->engine->state_hash(p->w.engine);
		s->events[(size_t)(epoch - 1) * p->config.size + p->config.rank] = e;
		if (s->committed)
			s->committed(s->ctx, &p->w, &e);
	}
	return rc;
}

static void *thread(void *ctx)
{
	struct peer *p = ctx;
	struct world *w = p->world;
	pthread_mutex_lock(&w->lock);
	while (w->now_running != p->w.c->rank && !w->over)
		pthread_cond_wait(&p->turn, &w->lock);
	p->rc = live(p);
	w->running--;
	w->broken |= p->rc != 0;
	while (w->running && !w->broken && !wait_turn(p, INT64_MAX, NULL)) /* others may need what is on its way */
		;
	w->over = true;
	for (unsigned i = 0; i < w->n; i++)
		pthread_cond_signal(&w->peers[i].turn);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static int open_world(struct world *w, struct lhsim *s)
{
	w->sim = s;
	w->n = w->running = s->config.size;
	pthread_mutex_init(&w->lock, NULL);
	int rc = lh_loopback_new(w->n, s->depth, s->seed, &w->hub, &s->err);
	if (!rc && s->streams > 1)
		rc = lh_loopback_streams(w->hub, s->streams, &s->err);
	for (unsigned i = 0; !rc && i < w->n; i++) {
		struct peer *p = &w->peers[i];
		p->world = w;
		p->config = s->config;
		p->config.rank = i;
		p->config.peers = s->endpoints;
		pthread_cond_init(&p->turn, NULL);
		p->w = (struct lh_worker){
			.c = &p->config, .ops = s->engine, .t = lh_loopback_endpoint(w->hub, i),
			.ids = calloc(s->config.microbatch, sizeof(uint64_t)), .now = now, .wait = wait_turn, .ctx = p,
		};
	}
	return rc;
}

int lhsim_run(struct lhsim *s)
{
	struct world *w = calloc(1, sizeof *w);
	free(s->events);
	s->events = calloc((size_t)s->config.epochs * s->config.size, sizeof *s->events);
	CU_ASSERT_TRUE_FATAL(w && s->events);
	int rc = open_world(w, s);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	for (unsigned i = 0; i < w->n; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&w->peers[i].thread, NULL, thread, &w->peers[i]), 0);
	for (unsigned i = 0; i < w->n; i++)
		pthread_join(w->peers[i].thread, NULL);
	for (unsigned i = 0; i < w->n; i++) {
		struct peer *p = &w->peers[i];
		if (p->rc && (!rc || rc == -EDEADLK)) {
			rc = p->rc;
			s->err = p->err;
		}
		if (p->strategy)
			p->strategy->ops->close(p->strategy);
		s->engine->close(p->w.engine);
		free(p->w.ids);
	}
	lh_loopback_free(w->hub);
	free(w);
	if (rc)
		printf("# simulated run: %s\n", s->err.text);
	return rc;
}

void lhsim_init(struct lhsim *s, unsigned n)
{
	memset(s, 0, sizeof *s);
	s->config = (struct lh_peer_config){
		.protocol = LH_PEER_PROTOCOL, .size = n, .engine = LH_ENGINE_CPU, .model = "digits",
		.secret = "0011223344556677", .target_batch = 64, .microbatch = 8, .epochs = 6, .learning_rate = 0.002,
		.seed = 1, .deadline_ns = 10 * LH_NS_PER_S,
		.sync = { .every = 1, .outer_learning_rate = 1, .fragments = 1, .staleness = 1 },
	};
	snprintf(s->config.data_dir, sizeof s->config.data_dir, "%s", lh_test_path("../trainer/data/files"));
	for (unsigned i = 0; i < n; i++) {
		snprintf(s->endpoints[i].name, sizeof s->endpoints[i].name, "peer-%u", i);
		s->endpoints[i].samples_per_s = 200;
	}
	s->engine = &lh_engine_cpu;
	s->seed = lh_test_seed();
	s->depth = 2;
	s->streams = 1;
	s->tick_ns = LH_NS_PER_MS;
}

const struct lh_event *lhsim_event(const struct lhsim *s, uint32_t epoch, unsigned rank)
{
	return &s->events[(size_t)(epoch - 1) * s->config.size + rank];
}

double lhsim_loss(const struct lhsim *s, uint32_t epoch)
{
	double sum = 0;
	for (unsigned i = 0; i < s->config.size; i++)
		sum += lhsim_event(s, epoch, i)->loss_sum;
	return sum;
}

void lhsim_done(struct lhsim *s)
{
	free(s->events);
	s->events = NULL;
}
