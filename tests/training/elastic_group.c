/* See elastic_group.h. */
#include "elastic_group.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lhtest.h"

struct lhpeers g;
uint64_t here;

void init(unsigned n, uint32_t rounds)
{
	lhpeers_init(&g, n);
	g.config.membership = LH_MEMBERSHIP_ELASTIC;
	g.config.streams = 2;
	g.config.target_batch = SHARE * n;
	g.config.epochs = rounds;
	g.config.deadline_ns = 4 * LH_NS_PER_S;
	here = (UINT64_C(1) << n) - 1;
}

void start(void)
{
	for (unsigned i = 0; i < g.config.size; i++)
		if (here >> i & 1)
			lhpeers_start(&g, i);
	for (unsigned i = 0; i < g.config.size; i++)
		if (here >> i & 1)
			CU_ASSERT_TRUE_FATAL(lhpeers_read_until(&g, i, LH_EVENT_JOINED));
	for (unsigned i = 0; i < g.config.size; i++)
		if (here >> i & 1)
			lhpeers_command(&g, i, LH_CONTROL_GO);
}

void until_round(unsigned rank, uint32_t round)
{
	while (g.peer[rank].nepochs == 0 || g.peer[rank].epochs[g.peer[rank].nepochs - 1].epoch < round)
		CU_ASSERT_TRUE_FATAL(lhpeers_read_until(&g, rank, LH_EVENT_EPOCH));
}

void kill_peer(unsigned rank)
{
	kill(g.peer[rank].pid, SIGKILL);
	lhpeers_wait(&g, rank);
	fclose(g.peer[rank].events);
	g.peer[rank].events = NULL;
	close(g.peer[rank].control_fd);
	g.peer[rank].control_fd = -1;
	CU_ASSERT_EQUAL(g.peer[rank].status, 128 + SIGKILL);
}

void bring_back(unsigned rank, uint32_t incarnation)
{
	g.config.incarnation = incarnation;
	lhpeers_start(&g, rank);
	g.config.incarnation = 0;
}

const struct lh_event *epoch_of(unsigned rank, uint32_t round)
{
	for (unsigned i = 0; i < g.peer[rank].nepochs; i++)
		if (g.peer[rank].epochs[i].epoch == round)
			return &g.peer[rank].epochs[i];
	return NULL;
}

/* Mark the samples of "first+count,..." ; each must lie in the round and be new. */
static unsigned mark(const char *ranges, uint32_t round, uint8_t *seen)
{
	unsigned n = 0;
	while (*ranges) {
		char *end;
		uint64_t first = strtoull(ranges, &end, 10) - (uint64_t)(round - 1) * g.config.target_batch;
		CU_ASSERT_EQUAL_FATAL(*end, '+');
		uint64_t count = strtoull(end + 1, &end, 10);
		CU_ASSERT_TRUE_FATAL(first < g.config.target_batch && count <= g.config.target_batch - first);
		for (uint64_t i = first; i < first + count; i++, n++)
			CU_ASSERT_EQUAL(seen[i]++, 0);
		ranges = end + (*end == ',');
	}
	return n;
}

unsigned check_rounds(void)
{
	static uint8_t seen[4096];
	const uint32_t every = g.config.sync.every, span = every ? every : 1;
	unsigned untold = 0;
	for (uint32_t round = 1; round <= g.config.epochs; round++) {
		uint64_t hash = 0, dealt = 0, told = 0, members = 0;
		memset(seen, 0, sizeof seen);
		for (unsigned i = 0; i < g.config.size; i++) {
			const struct lh_event *e = epoch_of(i, round);
			if (!e)
				continue;
			CU_ASSERT_EQUAL(e->shared, round % span && round != g.config.epochs ? LH_SHARED_NO : LH_SHARED_YES);
			if (!told)
				hash = e->state_hash;
			CU_ASSERT_TRUE(e->shared != LH_SHARED_YES || e->state_hash == hash);
			CU_ASSERT_EQUAL(e->total_samples, g.config.target_batch);
			CU_ASSERT_EQUAL(mark(e->ranges, round, seen), e->samples);
			dealt += e->samples;
			told++;
			for (unsigned v = 0; v < g.peer[i].nviews; v++)
				if (g.peer[i].views[v].view == e->view)
					members = g.peer[i].views[v].members;
		}
		CU_ASSERT_TRUE(told > 0);
		if (dealt == g.config.target_batch)
			continue;
		CU_ASSERT_TRUE(dealt < g.config.target_batch && told < (uint64_t)__builtin_popcountll(members));
		untold++;
	}
	return untold;
}

void check_finished(uint64_t ranks)
{
	for (unsigned i = 0; i < g.config.size; i++) {
		if (!(ranks >> i & 1))
			continue;
		CU_ASSERT_EQUAL(g.peer[i].status, 0);
		CU_ASSERT_TRUE(g.peer[i].has_finished);
		CU_ASSERT_FALSE(g.peer[i].has_failed);
	}
}

