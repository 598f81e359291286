/* What a store's frames, cache and window promise, as tables; the window against a model, with what is expected changing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "comm/frame.h"
#include "hash.h"
#include "lhtest.h"
#include "store/ahead.h"
#include "store/cache.h"
#include "store/wire.h"

/* ---- frames ---- */

static void frames(void)
{
	enum { SAMPLE = 1000 };
	static const struct { unsigned type; uint64_t length; int rc; } cases[] = {
		{ LH_STORE_HELLO, LH_HELLO_BYTES, 0 }, { LH_STORE_HELLO, LH_HELLO_BYTES - 1, -EMSGSIZE },
		{ LH_STORE_WELCOME, LH_HELLO_BYTES, 0 }, { LH_STORE_PROOF, LH_PROOF_BYTES, 0 },
		{ LH_STORE_PROOF, 0, -EMSGSIZE }, { LH_STORE_REFUSE, 0, 0 }, { LH_STORE_REFUSE, 255, 0 },
		{ LH_STORE_REFUSE, 256, -EMSGSIZE }, { LH_STORE_WANT, 8, 0 }, { LH_STORE_WANT, 8 * LH_STORE_WANT_MAX, 0 },
		{ LH_STORE_WANT, 8 * LH_STORE_WANT_MAX + 8, -EMSGSIZE }, { LH_STORE_WANT, 12, -EMSGSIZE },
		{ LH_STORE_WANT, 0, -EMSGSIZE }, { LH_STORE_SAMPLE, LH_STORE_SAMPLE_HEADER + SAMPLE, 0 },
		{ LH_STORE_SAMPLE, LH_STORE_SAMPLE_HEADER + SAMPLE + 1, -EMSGSIZE }, { LH_STORE_SAMPLE, 4000000000u, -EMSGSIZE },
		{ 0, 0, -EPROTO }, { 7, 0, -EPROTO }, { 255, 0, -EPROTO },
	};
	uint8_t header[LH_STORE_HEADER];
	enum lh_store_type type;
	uint32_t len;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		lh_store_frame_print((enum lh_store_type)cases[i].type, (uint32_t)cases[i].length, header);
		CU_ASSERT_EQUAL(lh_store_frame_parse(header, SAMPLE, &type, &len, NULL), cases[i].rc);
		if (!cases[i].rc)
			CU_ASSERT_TRUE((unsigned)type == cases[i].type && len == cases[i].length);
	}
	for (size_t at = 0; at < LH_STORE_HEADER; at++) { /* no byte is without meaning */
		if (at == 8 || at == 4)
			continue;
		lh_store_frame_print(LH_STORE_WANT, 64, header);
		header[at] ^= 0x40;
		CU_ASSERT_TRUE(lh_store_frame_parse(header, SAMPLE, &type, &len, NULL) < 0);
	}
	lh_store_frame_print(LH_STORE_WANT, 64, header);
	header[5]++;
	CU_ASSERT_EQUAL(lh_store_frame_parse(header, SAMPLE, &type, &len, NULL), -EPROTONOSUPPORT);
}

static void wishes(void)
{
	const uint64_t items[] = { 0, 1, 0x123456789abcdef0u, UINT64_MAX };
	uint8_t payload[8 * LH_STORE_WANT_MAX], head[LH_STORE_SAMPLE_HEADER];
	uint64_t back[LH_STORE_WANT_MAX], item, hash;
	size_t n = 0, len = lh_store_want_print(items, 4, payload);
	CU_ASSERT_EQUAL(len, 32);
	CU_ASSERT_EQUAL(lh_store_want_parse(payload, len, 0, back, &n, NULL), 0);
	CU_ASSERT_TRUE(n == 4 && !memcmp(back, items, sizeof items));
	CU_ASSERT_EQUAL(lh_store_want_parse(payload, len, 2, back, &n, NULL), -ERANGE);
	CU_ASSERT_EQUAL(lh_store_want_parse(payload, 16, 2, back, &n, NULL), 0);
	CU_ASSERT_EQUAL(lh_store_want_parse(payload, 7, 0, back, &n, NULL), -EPROTO);
	lh_store_sample_print(items[2], 77, head);
	lh_store_sample_parse(head, &item, &hash);
	CU_ASSERT_TRUE(item == items[2] && hash == 77);
	CU_ASSERT_NOT_EQUAL(lh_store_hash(1, "abc", 3), lh_store_hash(2, "abc", 3));
}

/* Both sides see other samples where any of these differ. */
static void fingerprints(void)
{
	struct lh_peer_config c = { .engine = LH_ENGINE_CPU, .model = "digits", .data = LH_DATA_DIGITS, .seed = 1 };
	const uint64_t base = lh_store_fingerprint(&c, 65);
	CU_ASSERT_NOT_EQUAL(lh_store_fingerprint(&c, 66), base);
	struct lh_peer_config d = c;
	d.seed = 2;
	CU_ASSERT_NOT_EQUAL(lh_store_fingerprint(&d, 65), base);
	d = c;
	d.data_samples = 10;
	CU_ASSERT_NOT_EQUAL(lh_store_fingerprint(&d, 65), base);
	d = c;
	strcpy(d.model, "text");
	CU_ASSERT_NOT_EQUAL(lh_store_fingerprint(&d, 65), base);
	d = c;
	d.target_batch = 99; /* of the training, not of the samples */
	CU_ASSERT_EQUAL(lh_store_fingerprint(&d, 65), base);
}

/* ---- cache ---- */

static void cache(void)
{
	static const struct { uint64_t limit, counted; size_t kept; unsigned adds, stay; } cases[] = {
		{ 0, 10, 4, 5, 0 }, { 9, 10, 4, 5, 0 }, { 10, 10, 4, 5, 1 }, { 39, 10, 4, 5, 3 }, { 40, 10, 4, 5, 4 },
		{ 1 << 20, 10, 4, 5000, 5000 }, { LH_CACHE_ALL, 100, 0, 3000, 3000 }, { 250, 100, 0, 30, 2 },
	};
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		struct lh_cache *c = NULL;
		unsigned found = 0, right = 0;
		CU_ASSERT_EQUAL_FATAL(lh_cache_new(cases[k].limit, cases[k].counted, cases[k].kept, &c, NULL), 0);
		for (uint32_t i = 0; i < cases[k].adds; i++) {
			lh_cache_add(c, i * 7919u, &i);
			lh_cache_add(c, i * 7919u, "else"); /* stays as it is */
		}
		for (uint32_t i = 0; i < cases[k].adds; i++) {
			const void *bytes = NULL;
			if (!lh_cache_find(c, i * 7919u, &bytes))
				continue;
			found++;
			right += cases[k].kept ? !memcmp(bytes, &i, sizeof i) : !bytes;
		}
		CU_ASSERT_EQUAL(found, cases[k].stay);
		CU_ASSERT_EQUAL(right, cases[k].stay);
		CU_ASSERT_EQUAL(lh_cache_bytes(c), cases[k].stay * cases[k].counted);
		const void *bytes;
		CU_ASSERT_FALSE(lh_cache_find(c, 5, &bytes));
		lh_cache_free(c);
	}
}

/* ---- window ---- */

/* Everything that may be asked for now comes at once. */
static unsigned fetch(struct lh_ahead *a, uint64_t *ids, unsigned cap)
{
	unsigned n = 0;
	size_t place;
	while (n < cap && lh_ahead_next(a, &ids[n], &place)) {
		lh_ahead_here(a, place);
		n++;
	}
	return n;
}

static void window_in_order(void)
{
	const struct lh_id_range plan[] = { { 100, 6 }, { 200, 0 }, { 300, 6 } };
	struct lh_ahead *a;
	uint64_t ids[32];
	CU_ASSERT_EQUAL_FATAL(lh_ahead_new(8, &a, NULL), 0);
	CU_ASSERT_EQUAL(fetch(a, ids, 32), 0);
	CU_ASSERT_EQUAL(lh_ahead_expect(a, plan, 3, NULL), 0);
	CU_ASSERT_FALSE(lh_ahead_need(a, 100, 4));
	CU_ASSERT_EQUAL(fetch(a, ids, 32), 8);
	CU_ASSERT_TRUE(ids[0] == 100 && ids[5] == 105 && ids[6] == 300 && ids[7] == 301);
	CU_ASSERT_TRUE(lh_ahead_need(a, 100, 4)); /* held: no room for more */
	CU_ASSERT_EQUAL(fetch(a, ids, 32), 0);
	CU_ASSERT_TRUE(lh_ahead_need(a, 104, 2));
	CU_ASSERT_EQUAL(fetch(a, ids, 32), 4);
	CU_ASSERT_TRUE(ids[0] == 302 && ids[3] == 305);
	CU_ASSERT_TRUE(lh_ahead_need(a, 300, 6));
	const size_t *places;
	CU_ASSERT_EQUAL(lh_ahead_held(a, &places), 6);
	CU_ASSERT_EQUAL(fetch(a, ids, 32), 0); /* the plan is at its end */
	lh_ahead_free(a);
}

static void window_changes(void)
{
	struct lh_ahead *a;
	uint64_t ids[32];
	size_t coming[4];
	CU_ASSERT_EQUAL_FATAL(lh_ahead_new(4, &a, NULL), 0);
	CU_ASSERT_EQUAL(lh_ahead_expect(a, &(struct lh_id_range){ 10, 100 }, 1, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_TRUE_FATAL(lh_ahead_next(a, &ids[i], &coming[i]) && ids[i] == 10 + i);
	/* The same again, from further on: 12 and 13 stay, 10 and 11 are on their way and nobody wants them. */
	CU_ASSERT_EQUAL(lh_ahead_expect(a, &(struct lh_id_range){ 12, 3 }, 1, NULL), 0);
	CU_ASSERT_EQUAL(fetch(a, ids, 1), 0); /* their places are taken until they have come */
	CU_ASSERT_FALSE(lh_ahead_here(a, coming[0]));
	CU_ASSERT_FALSE(lh_ahead_here(a, coming[1]));
	CU_ASSERT_EQUAL(fetch(a, ids, 32), 1);
	CU_ASSERT_EQUAL(ids[0], 14);
	CU_ASSERT_FALSE(lh_ahead_need(a, 12, 2));
	CU_ASSERT_TRUE(lh_ahead_here(a, coming[2]));
	CU_ASSERT_TRUE(lh_ahead_here(a, coming[3]));
	CU_ASSERT_TRUE(lh_ahead_need(a, 12, 2));
	/* Something that nobody expected: it is fetched, the rest is forgotten. */
	CU_ASSERT_FALSE(lh_ahead_need(a, 77, 2));
	CU_ASSERT_EQUAL(fetch(a, ids, 32), 2);
	CU_ASSERT_TRUE(ids[0] == 77 && ids[1] == 78);
	CU_ASSERT_TRUE(lh_ahead_need(a, 77, 2));
	lh_ahead_free(a);
}

/* Plans that change at random; whatever happens, what is held is what was needed, and it is got within one fetch. */
static void window_at_random(void)
{
	enum { WINDOW = 12, MOST = 5, ROUNDS = 20000 };
	struct lh_ahead *a;
	uint64_t id_at[WINDOW], x = 1, id;
	size_t coming[WINDOW], ncoming = 0, place;
	CU_ASSERT_EQUAL_FATAL(lh_ahead_new(WINDOW, &a, NULL), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		x = lh_mix64(x + LH_MIX64_STEP);
		const uint64_t first = x % 50;
		const size_t n = 1 + x / 64 % MOST;
		if (x >> 20 & 1)
			CU_ASSERT_EQUAL(lh_ahead_expect(a, (struct lh_id_range[]){ { first, n + x % 7 }, { x % 40, x % 9 } }, 2, NULL),
					0);
		if (x >> 21 & 1 && lh_ahead_next(a, &id, &place)) { /* comes late */
			CU_ASSERT_TRUE_FATAL(ncoming < WINDOW);
			id_at[place] = id;
			coming[ncoming++] = place;
		}
		bool here = lh_ahead_need(a, first, n);
		for (unsigned tries = 0; !here && tries < 3; tries++) {
			for (; ncoming; ncoming--)
				lh_ahead_here(a, coming[ncoming - 1]);
			while (lh_ahead_next(a, &id, &place)) {
				id_at[place] = id;
				lh_ahead_here(a, place);
			}
			here = lh_ahead_need(a, first, n);
		}
		CU_ASSERT_TRUE_FATAL(here);
		const size_t *places;
		CU_ASSERT_EQUAL_FATAL(lh_ahead_held(a, &places), n);
		for (size_t i = 0; i < n; i++)
			CU_ASSERT_EQUAL_FATAL(id_at[places[i]], first + i);
	}
	lh_ahead_free(a);
}

static const struct lh_test tests[] = {
	{ "frames", frames, 0 },
	{ "wishes", wishes, 0 },
	{ "fingerprints", fingerprints, 0 },
	{ "cache", cache, 0 },
	{ "window_in_order", window_in_order, 0 },
	{ "window_changes", window_changes, 0 },
	{ "window_at_random", window_at_random, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "store", tests, sizeof tests / sizeof *tests);
}
