/* Parts of the membership protocol: tables of samples, and messages as bytes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "lhtest.h"
#include "member/member.h"

static double weights[LH_MEMBER_CAP];

static void set_weights(void)
{
	for (unsigned i = 0; i < LH_MEMBER_CAP; i++)
		weights[i] = 1 + i % 5;
}

/* Members go one after the other; who stays keeps what it has, in its place, and nothing is dealt twice or dropped. */
static void test_redeal(void)
{
	static struct lh_table t, before;
	set_weights();
	for (uint64_t batch = 1; batch <= 4096; batch = batch * 3 + 1) {
		uint64_t members = UINT64_MAX;
		lh_table_deal(&t, batch, 7 * batch, members, weights);
		CU_ASSERT_TRUE(lh_table_is_whole(&t, batch, 7 * batch, members));
		while (members & (members - 1)) {
			unsigned stay[2] = { (unsigned)__builtin_ctzll(members), 63 - (unsigned)__builtin_clzll(members) };
			members &= ~(UINT64_C(1) << (batch & 1 ? stay[0] : stay[1]));
			members &= ~(UINT64_C(1) << (lh_mix64(members) % 64) | 0) | (members & -members);
			before = t;
			uint64_t lost = 0, again = 0;
			for (unsigned i = 0; i < 64; i++)
				lost += members >> i & 1 ? 0 : lh_table_samples(&before, i);
			again = lh_table_redeal(&t, members, weights);
			CU_ASSERT_EQUAL(again, lost);
			CU_ASSERT_TRUE(lh_table_is_whole(&t, batch, 7 * batch, members));
			for (unsigned i = 0; i < 64; i++) {
				uint64_t had = lh_table_samples(&before, i), run;
				for (uint64_t k = 0; members >> i & 1 && k < had; k += run) {
					uint64_t was = lh_table_sample(&before, i, k, &run);
					CU_ASSERT_EQUAL(lh_table_sample(&t, i, k, &run), was);
				}
			}
		}
	}
	CU_ASSERT_FALSE(lh_table_is_whole(&t, 4096, 8 * 4096, UINT64_MAX));
	t.range[0].count++;
	CU_ASSERT_FALSE(lh_table_is_whole(&t, 4096, 7 * 4096, UINT64_MAX));
}

/* A table for several rounds: each sample of each round is in one place of one rank's list, in order of its ranges. */
static void test_several_rounds(void)
{
	enum { BATCH = 50, ROUNDS = 5, FIRST = 3 * BATCH * ROUNDS };
	static struct lh_table t;
	static uint8_t seen[BATCH * ROUNDS];
	set_weights();
	lh_table_deal(&t, BATCH, FIRST, 0x17, weights);
	lh_table_redeal(&t, 0x15, weights);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t all = lh_table_samples(&t, i) * ROUNDS, run, once;
		uint32_t round, before = 0;
		for (uint64_t at = 0; at < all; at += run) {
			uint64_t id = lh_table_sample_of(&t, i, at, ROUNDS, BATCH, &run, &round);
			CU_ASSERT_TRUE_FATAL(run && id >= FIRST && id + run <= FIRST + BATCH * ROUNDS);
			CU_ASSERT_EQUAL((id - FIRST) / BATCH, round);
			CU_ASSERT_TRUE(round == before || round == before + 1 || !round);
			if (at < lh_table_samples(&t, i) && !round) /* the first round begins as that of one round */
				CU_ASSERT_EQUAL(lh_table_sample(&t, i, at, &once), id);
			before = round;
			for (uint64_t k = 0; k < run; k++)
				CU_ASSERT_EQUAL(seen[id - FIRST + k]++, 0);
		}
		lh_table_sample_of(&t, i, all, ROUNDS, BATCH, &run, &round);
		CU_ASSERT_EQUAL(run, 0);
	}
	for (unsigned k = 0; k < BATCH * ROUNDS; k++)
		CU_ASSERT_EQUAL(seen[k], 1);
}

/* The table's room is enough whatever happens: ranges are then passed on whole. */
static void test_table_full(void)
{
	static struct lh_table t;
	set_weights();
	t.n = LH_MEMBER_RANGES;
	for (uint64_t i = 0; i < t.n; i++)
		t.range[i] = (struct lh_member_range){ 3 * i, 3, i % 4 };
	CU_ASSERT_TRUE(lh_table_is_whole(&t, 3 * LH_MEMBER_RANGES, 0, 0xf));
	CU_ASSERT_EQUAL(lh_table_redeal(&t, 0x5, weights), 3 * LH_MEMBER_RANGES / 2);
	CU_ASSERT_TRUE(lh_table_is_whole(&t, 3 * LH_MEMBER_RANGES, 0, 0x5));
}

static struct lh_member_message sample(uint32_t kind)
{
	struct lh_member_message m = {
		.kind = kind, .view = 9, .ballot = 130, .promised = 200, .version = 17, .flags = 3, .incarnation = 2,
		.hash = 0x0123456789abcdef, .connected = 0x7, .accepted = 65,
	};
	m.group = (struct lh_view){
		.number = 10, .version = 17, .members = 0x7, .synced = 0x5, .hash = 5, .redealt = 6, .cause = LH_VIEW_LOST,
		.aborted = 1, .incarnation = { 0, 3, 1 },
	};
	m.group.table.n = 2;
	m.group.table.range[0] = (struct lh_member_range){ 17 * 8, 5, 0 };
	m.group.table.range[1] = (struct lh_member_range){ 17 * 8 + 5, 3, 2 };
	return m;
}

static void test_messages(void)
{
	static uint8_t bytes[LH_MEMBER_MESSAGE_MAX + 1], again[LH_MEMBER_MESSAGE_MAX];
	static struct lh_member_message back;
	struct lh_err err = LH_ERR_INIT;
	for (uint32_t kind = LH_MEMBER_ACK; kind <= LH_MEMBER_FETCH; kind++) {
		struct lh_member_message m = sample(kind);
		size_t len = lh_member_print(&m, bytes);
		CU_ASSERT_TRUE_FATAL(len >= 8 && len <= LH_MEMBER_MESSAGE_MAX);
		CU_ASSERT_EQUAL(lh_member_parse(bytes, len, 3, &back, &err), 0);
		CU_ASSERT_EQUAL(lh_member_print(&back, again), len);
		CU_ASSERT_EQUAL(memcmp(bytes, again, len), 0);
		for (size_t cut = 0; cut < len; cut++)
			CU_ASSERT_EQUAL(lh_member_parse(bytes, cut, 3, &back, NULL), -EPROTO);
		CU_ASSERT_EQUAL(lh_member_parse(bytes, len + 1, 3, &back, NULL), -EPROTO);
		if (kind == LH_MEMBER_VIEW || kind == LH_MEMBER_JOIN || kind == LH_MEMBER_PROMISE)
			CU_ASSERT_EQUAL(lh_member_parse(bytes, len, 2, &back, NULL), -EPROTO); /* ranks 0 ... 2 */
	}
	CU_ASSERT_EQUAL(back.kind, LH_MEMBER_FETCH);
	CU_ASSERT_EQUAL(back.version, 17);
}

static void test_refusals(void)
{
	static uint8_t bytes[LH_MEMBER_MESSAGE_MAX];
	static struct lh_member_message m, back;
	for (unsigned i = 0; i < 12; i++) {
		struct lh_err err = LH_ERR_INIT;
		m = sample(i < 9 ? LH_MEMBER_VIEW : LH_MEMBER_PROMISE);
		switch (i) {
		case 0: m.group.members = 0; break;
		case 1: m.group.synced = 0x8; break;
		case 2: m.group.synced = 0; break;
		case 3: m.group.cause = LH_VIEW_LEFT + 1; break;
		case 4: m.group.table.range[0].count = 0; break;
		case 5: m.group.table.range[1].owner = 64; break;
		case 6: m.group.table.range[1].owner = 1; break; /* has no state */
		case 7: m.group.number = 0; break;
		case 8: m.group.table.range[1].count = LH_PEER_BATCH_MAX + 1; break;
		case 9: m.ballot = LH_MEMBER_BALLOT_MAX + 1; break;
		case 10: m.accepted = m.ballot; break;
		case 11: m.flags = 16; break;
		}
		size_t len = lh_member_print(&m, bytes);
		CU_ASSERT_EQUAL(lh_member_parse(bytes, len, 3, &back, &err), -EPROTO);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "member message"));
	}
	memset(bytes, 0xff, sizeof bytes);
	CU_ASSERT_EQUAL(lh_member_parse(bytes, sizeof bytes, 3, &back, NULL), -EPROTO);
}

static const struct lh_test tests[] = {
	{ "redeal", test_redeal, 0 },
	{ "several_rounds", test_several_rounds, 0 },
	{ "table_full", test_table_full, 0 },
	{ "messages", test_messages, 0 },
	{ "refusals", test_refusals, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "member", tests, sizeof tests / sizeof *tests);
}
