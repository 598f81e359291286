/* The paced engine: a model's true number of gradient bytes without the model.
 *
 * Element i of the pseudo-gradient of a peer in a round is a pure function of (seed, round, rank, i), a number in
 * [-1/8, 1/8), made in blocks when asked; nothing of the model's size is ever held. Time is the loop's: step
 * returns at once and the loop waits the declared rate out.
 *
 * What comes back is checked: every block is hashed, by its place, into the state hash, so that peers that received
 * different bytes differ; elements at both ends of each block and a few at places drawn by hash are compared with
 * the sum recomputed over all ranks, within the rounding of one conversion each time that a partial sum is passed
 * on and one of the result (fp32 is taken for fp16); and update wants every element to have been written once. Of topk
 * and powersgd, which leave most of a sum behind, only the hashes and the number of elements are checked.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "codec/codec.h"
#include "engine.h"
#include "hash.h"
#include "model/zoo.h"
#include "pattern/pattern.h"
#include "sync/fragment.h"

enum { SPOTS = 6 };

struct lh_engine_state {
	uint64_t parameters, seed;
	struct lh_fragments map; /* exchange k is of fragment (k - 1) % n; one fragment but for streaming */
	unsigned rank, size;
	unsigned *ranks;       /* [size] whose numbers are summed */
	unsigned passed_on;    /* how often a partial sum is, at most */
	double coarse;         /* a codec coarser than fp16: how far a sum may be off; 0: fp16 or better */
	uint32_t round;        /* from 1 */
	uint64_t written, sum; /* of this round: elements, and the hashes of the blocks */
	uint64_t state;        /* hash of all rounds so far */
};

/* The elements [i << 16, (i + 1) << 16) share a key; within, a 32-bit mix per element is enough and quick. */
static uint32_t key_of(const struct lh_engine_state *s, unsigned rank, uint64_t page)
{
	uint64_t k = lh_mix64(s->seed + LH_MIX64_STEP);
	k = lh_mix64(k ^ s->round);
	k = lh_mix64(k ^ rank);
	return (uint32_t)lh_mix64(k ^ page);
}

static inline float value_of(uint32_t key, uint32_t i)
{
	uint32_t x = (i ^ key) * 0x9e3779b1u;
	x ^= x >> 15;
	x *= 0x85ebca77u;
	x ^= x >> 13;
	/* 11 bits: exact in fp16, so that the only rounding on the way is that of sums. */
	return (float)((int32_t)(x >> 21) - 1024) * 0x1p-13f;
}

static float element(const struct lh_engine_state *s, unsigned rank, uint64_t i)
{
	return value_of(key_of(s, rank, i >> 16), (uint32_t)(i & 0xffff));
}

/* Each time that a sum of all peers' numbers, none above 1/8, is encoded; with error feedback twice, since what was
 * taken away the last time comes on top. Partial sums may be off themselves: a tenth more. */
static double coarse_tolerance(const struct lh_peer_config *c, unsigned hops)
{
	if (c->wire == LH_WIRE_TOPK || c->wire == LH_WIRE_POWERSGD)
		return INFINITY;
	const struct lh_codec *codec = lh_codec_find(c->wire);
	if (codec->relative <= 0x1p-11 && !codec->of_largest)
		return 0;
	double once = (codec->relative + codec->of_largest) * c->size / 8;
	return once * (hops + 1) * (c->codec.error_feedback ? 2.2 : 1.1);
}

static int paced_among(struct lh_engine_state *s, uint32_t update, const unsigned *ranks, unsigned n, unsigned passed_on,
		       struct lh_err *err)
{
	unsigned *copy = calloc(n, sizeof *copy);
	if (!copy)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "paced engine");
	for (unsigned i = 0; i < n; i++)
		copy[i] = ranks ? ranks[i] : i;
	free(s->ranks);
	s->ranks = copy;
	s->size = n;
	s->passed_on = passed_on;
	s->round = update;
	return 0;
}

static void paced_close(struct lh_engine_state *s)
{
	if (s)
		free(s->ranks);
	free(s);
}

static int paced_open(const struct lh_peer_config *c, struct lh_engine_state **ret, struct lh_err *err)
{
	struct lh_engine_state *s = calloc(1, sizeof *s);
	struct lh_pattern_chain chain;
	struct lh_group group;
	if (!s)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "paced engine");
	int rc = lh_group_of(c, &group, err);
	if (!rc) {
		rc = lh_pattern_chain(lh_pattern_find(c->algorithm), &group, c->parameters, NULL, NULL, &chain, err);
		lh_group_done(&group);
	}
	if (rc) {
		free(s);
		return rc;
	}
	*s = (struct lh_engine_state){
		.parameters = c->parameters, .seed = c->seed, .rank = c->rank, .round = 1,
		.coarse = coarse_tolerance(c, chain.up),
		.map = lh_fragments_of(c->parameters, c->sync.strategy == LH_STRATEGY_STREAMING_DILOCO ?
						      c->sync.fragments : 1),
		.state = lh_mix64(c->parameters ^ lh_mix64(c->seed)),
	};
	rc = paced_among(s, 1, NULL, c->size, chain.up ? chain.up - 1 : 0, err);
	if (rc)
		paced_close(s);
	else
		*ret = s;
	return rc;
}

static uint64_t paced_parameters(const struct lh_engine_state *s)
{
	return s->parameters;
}

/* A catalogue's model is known by its number of parameters; its tensors are those of the table of that size, as rows of
 * what comes first in their shapes (a kernel's outputs), which is how PowerSGD's authors cut them. */
static size_t paced_tensors(const struct lh_engine_state *s, struct lh_tensor *ret, size_t cap)
{
	struct lh_graph *g = NULL;
	for (size_t i = 0; i < lh_zoo_count() && !g; i++)
		if (lh_zoo_model(i)->parameters == s->parameters && lh_zoo_build(lh_zoo_model(i)->name, &g, NULL))
			return 0;
	size_t n = g ? g->nparams : 0;
	for (size_t i = 0; i < n && i < cap; i++) {
		const struct lh_graph_param *p = &g->params[i];
		uint64_t rows = p->layout == LH_LAYOUT_HWC ? p->count / p->shape[0] : p->shape[0];
		ret[i] = (struct lh_tensor){ .name = "of the model", .offset = p->offset, .rows = rows,
					     .cols = p->count / rows };
	}
	lh_graph_free(g);
	return n;
}

static int paced_step(struct lh_engine_state *s, const uint64_t *sample_ids, size_t n, double *loss_sum,
		      struct lh_err *err)
{
	*loss_sum = NAN;
	return 0;
}

static int paced_read(struct lh_engine_state *s, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	for (size_t done = 0; done < n;) {
		uint64_t at = offset + done;
		uint32_t key = key_of(s, s->rank, at >> 16), first = (uint32_t)(at & 0xffff);
		size_t run = 0x10000 - first < n - done ? 0x10000 - first : n - done;
		for (size_t i = 0; i < run; i++)
			dst[done + i] = value_of(key, first + (uint32_t)i);
		done += run;
	}
	return 0;
}

static int check_spot(const struct lh_engine_state *s, uint64_t at, float got, struct lh_err *err)
{
	double expected = 0;
	for (unsigned i = 0; i < s->size; i++)
		expected += element(s, s->ranks[i], at);
	/* The first conversion is exact; a later one is of a sum that is at most size / 8. */
	double tolerance = (fabs(expected) + 0x1p-10 * s->size) * 0x1p-10 + s->passed_on * (s->size * 0x1p-14);
	if (s->coarse > 0)
		tolerance = s->coarse;
	if (fabs(got - expected) <= tolerance)
		return 0;
	return lh_err_set(err, LH_EXIT_BROKE, -EBADMSG,
			  "gradient element %llu of round %u is %g, the sum over all peers is %g",
			  (unsigned long long)at, s->round, (double)got, expected);
}

static int paced_write(struct lh_engine_state *s, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	uint64_t h = lh_hash64(src, n * sizeof *src, lh_mix64(offset));
	s->sum += h; /* blocks come in any order */
	s->written += n;
	for (unsigned i = 0; n && i < SPOTS; i++) {
		size_t at = i == 0 ? 0 : i == 1 ? n - 1 : (size_t)(lh_mix64(offset + i) % n);
		int rc = check_spot(s, offset + at, src[at], err);
		if (rc)
			return rc;
	}
	return 0;
}

static int paced_update(struct lh_engine_state *s, uint64_t total_samples, struct lh_err *err)
{
	if (s->written != lh_fragment_length(&s->map, (s->round - 1) % s->map.n))
		return lh_err_set(err, LH_EXIT_BROKE, -EBADMSG, "round %u: %llu of %llu gradient elements came",
				  s->round, (unsigned long long)s->written,
				  (unsigned long long)lh_fragment_length(&s->map, (s->round - 1) % s->map.n));
	s->state = lh_mix64(s->state ^ s->sum);
	s->sum = s->written = 0;
	s->round++;
	return 0;
}

static void paced_forget(struct lh_engine_state *s)
{
	s->sum = s->written = 0;
}

static uint64_t paced_hash(const struct lh_engine_state *s)
{
	return s->state;
}

static int paced_evaluate(struct lh_engine_state *s, char metric[32], double *ret_value, double *ret_reference,
			  struct lh_err *err)
{
	return -ENOTSUP;
}

static void paced_flip(struct lh_engine_state *s)
{
	s->state ^= 1;
}

/* ---- the state, as large as parameters and two moments would be ---- */

/* Round and hash, then numbers that follow from the seed, so that what comes back can be checked. */
static uint8_t state_byte(const struct lh_engine_state *s, uint64_t at)
{
	const uint64_t own[2] = { s->round, s->state };
	if (at < 16)
		return (uint8_t)(own[at / 8] >> at % 8 * 8);
	return (uint8_t)(lh_mix64(s->seed ^ at / 8) >> at % 8 * 8);
}

static uint64_t paced_state_bytes(const struct lh_engine_state *s)
{
	return 16 + 12 * s->parameters;
}

static int paced_state_read(struct lh_engine_state *s, uint64_t offset, size_t n, uint8_t *dst, struct lh_err *err)
{
	for (size_t i = 0; i < n;) {
		if (offset + i < 16 || (offset + i) % 8 || n - i < 8) {
			dst[i] = state_byte(s, offset + i);
			i++;
			continue;
		}
		uint64_t word = lh_mix64(s->seed ^ (offset + i) / 8);
		for (unsigned k = 0; k < 8; k++)
			dst[i++] = (uint8_t)(word >> 8 * k);
	}
	return 0;
}

static int paced_state_write(struct lh_engine_state *s, uint64_t offset, size_t n, const uint8_t *src,
			     struct lh_err *err)
{
	uint64_t own[2] = { s->round, s->state };
	for (size_t i = 0; i < n; i++) {
		uint64_t at = offset + i, shift = at % 8 * 8;
		if (at < 16)
			own[at / 8] = (own[at / 8] & ~(UINT64_C(0xff) << shift)) | (uint64_t)src[i] << shift;
		else if (src[i] != state_byte(s, at))
			return lh_err_set(err, LH_EXIT_BROKE, -EBADMSG, "byte %llu of the state is not what was sent",
					  (unsigned long long)at);
	}
	s->round = (uint32_t)own[0];
	s->state = own[1];
	return 0;
}

const struct lh_engine_ops lh_engine_paced = {
	.name = "paced", .pseudo = true, .forget = paced_forget, .open = paced_open, .parameters = paced_parameters,
	.tensors = paced_tensors,
	.step = paced_step,
	.gradient_read = paced_read, .gradient_write = paced_write, .update = paced_update, .state_hash = paced_hash,
	.evaluate = paced_evaluate, .state_bytes = paced_state_bytes, .state_read = paced_state_read,
	.state_write = paced_state_write, .clear = paced_forget, .among = paced_among, .flip_bit = paced_flip,
	.close = paced_close,
};
