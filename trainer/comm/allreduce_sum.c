/* The sum of one part: read, decoded, added, encoded, written.
 *
 * A part passes through the processor in pieces that stay in its first-level cache from the first summand until the
 * result is written: of each child's bytes, of the own vector and of what goes out every number is moved once between
 * there and the memory behind. Codecs that look at a whole part (topk) get it in one piece.
 */
#include "allreduce_internal.h"

struct piece { /* of a part */
	const struct flow *w;
	uint64_t offset; /* in the vector */
	size_t n, bytes; /* elements; encoded bytes of the part before it */
};

size_t lh_allreduce_part_length(const struct lh_allreduce *a, const struct lh_block *b, uint32_t part)
{
	uint64_t from = (uint64_t)part * a->part_elements;
	return b->length - from < a->part_elements ? (size_t)(b->length - from) : a->part_elements;
}

/* Where the part begins in the vector. */
static uint64_t part_offset(const struct lh_allreduce *a, const struct flow *w, uint32_t q)
{
	return w->block.offset + (uint64_t)q * a->part_elements;
}

static struct piece piece_of(const struct lh_allreduce *a, const struct flow *w, uint32_t q, size_t at)
{
	size_t left = lh_allreduce_part_length(a, &w->block, q) - at;
	return (struct piece){
		.w = w, .offset = part_offset(a, w, q) + at, .n = left < a->piece_elements ? left : a->piece_elements,
		.bytes = at ? lh_allreduce_wire_bytes(a, at) : 0,
	};
}

/* The codec's two directions, told to the trace. */
static void encode(struct lh_allreduce *a, void *to, const float *from, size_t n)
{
	enum lh_span_kind was = lh_trace_enter(a->trace, LH_SPAN_ENCODE);
	a->codec.encode(&a->codec, to, from, n, a->c.scale);
	lh_trace_enter(a->trace, was);
}

static void decode(struct lh_allreduce *a, float *to, const void *from, size_t n, bool add)
{
	enum lh_span_kind was = lh_trace_enter(a->trace, LH_SPAN_DECODE);
	(add ? a->codec.decode_add : a->codec.decode)(&a->codec, to, from, n, 1 / a->c.scale);
	lh_trace_enter(a->trace, was);
}

/* A sum for the wire. a->term: what the others will read out of it, where anybody here wants to know. Without feedback
 * the sum may lie in the vector itself; else it is a->sum. */
static void encode_sum(struct lh_allreduce *a, const struct piece *x, void *to, const float *sum, bool know)
{
	struct lh_feedback *f = a->c.feedback;
	if (f)
		lh_feedback_add(f, x->offset, x->n, a->sum);
	encode(a, to, sum, x->n);
	if (f || know)
		decode(a, a->term, to, x->n, false);
	if (f)
		lh_feedback_set(f, x->offset, x->n, a->sum, a->term);
}

/* Nobody to encode for: what the codec took away before comes back whole. */
static void give_back(struct lh_allreduce *a, const struct piece *x)
{
	lh_feedback_add(a->c.feedback, x->offset, x->n, a->sum);
	lh_feedback_set(a->c.feedback, x->offset, x->n, a->sum, a->sum);
}

static const float *peek(const struct lh_allreduce *a, uint64_t offset, size_t n)
{
	return a->c.peek ? a->c.peek(a->c.ctx, offset, n) : NULL;
}

const float *lh_allreduce_peek(const struct lh_allreduce *a, const struct flow *w, uint32_t q)
{
	return peek(a, part_offset(a, w, q), lh_allreduce_part_length(a, &w->block, q));
}

static int add_own(struct lh_allreduce *a, const struct piece *x, float *sum, struct lh_err *err)
{
	const struct lh_codec *fp32 = lh_codec_find(LH_WIRE_FP32);
	const float *own = peek(a, x->offset, x->n);
	int rc = own ? 0 : a->c.read(a->c.ctx, x->offset, x->n, a->term, err);
	if (!rc)
		fp32->decode_add(fp32, sum, own ? own : a->term, x->n, 1);
	return rc;
}

/* Ours and those of our children, in the order of ranks. */
static int sum_terms(struct lh_allreduce *a, const struct piece *x, uint32_t q, float *sum, struct lh_err *err)
{
	const struct flow *w = x->w;
	bool own = false;
	for (unsigned i = 0; i < w->nchildren || !own;) {
		bool first = !i && !own;
		if (!own && (i == w->nchildren || w->children[i].peer > a->c.rank)) {
			int rc = first ? a->c.read(a->c.ctx, x->offset, x->n, sum, err) : add_own(a, x, sum, err);
			if (rc)
				return rc;
			own = true;
		} else {
			const uint8_t *from = w->children[i++].slots[q % a->window].buffer;
			decode(a, sum, from + x->bytes, x->n, !first);
		}
	}
	return 0;
}

static int sum_piece(struct lh_allreduce *a, const struct piece *x, uint32_t q, uint8_t *to, bool is_result,
		     struct lh_err *err)
{
	float *sum = to && a->plain ? (float *)(void *)(to + x->bytes) : a->sum;
	/* Encoded right out of the vector: nobody's sum but our own. */
	const float *own = x->w->nchildren || a->plain || a->c.feedback ? NULL : peek(a, x->offset, x->n);
	const float *result = own ? own : sum;
	int rc = own ? 0 : sum_terms(a, x, q, sum, err);
	if (rc)
		return rc;
	if (to && !a->plain) {
		encode_sum(a, x, to + x->bytes, result, is_result);
		result = a->term;
	} else if (a->c.feedback) {
		give_back(a, x);
	}
	return is_result ? a->c.write(a->c.ctx, x->offset, x->n, result, err) : 0;
}

int lh_allreduce_sum(struct lh_allreduce *a, struct flow *w, uint32_t q, void *to, bool is_result, struct lh_err *err)
{
	enum lh_span_kind was = lh_trace_enter(a->trace, LH_SPAN_REDUCE);
	size_t n = lh_allreduce_part_length(a, &w->block, q);
	int rc = 0;
	for (size_t at = 0; !rc && at < n; at += a->piece_elements) {
		struct piece x = piece_of(a, w, q, at);
		rc = sum_piece(a, &x, q, to, is_result, err);
	}
	for (unsigned i = 0; !rc && i < w->nchildren; i++) {
		struct slot *slot = &w->children[i].slots[q % a->window];
		lh_allreduce_release(a, slot->buffer);
		*slot = (struct slot){ .state = SLOT_EMPTY };
	}
	lh_trace_enter(a->trace, was);
	return rc;
}

int lh_allreduce_take_result(struct lh_allreduce *a, const struct flow *w, uint32_t q, const void *bytes,
			     struct lh_err *err)
{
	enum lh_span_kind was = lh_trace_enter(a->trace, LH_SPAN_REDUCE);
	size_t n = lh_allreduce_part_length(a, &w->block, q);
	int rc = 0;
	for (size_t at = 0; !rc && at < n; at += a->piece_elements) {
		struct piece x = piece_of(a, w, q, at);
		const uint8_t *from = (const uint8_t *)bytes + x.bytes;
		if (!a->plain)
			decode(a, a->term, from, x.n, false);
		rc = a->c.write(a->c.ctx, x.offset, x.n, a->plain ? (const float *)(const void *)from : a->term, err);
	}
	lh_trace_enter(a->trace, was);
	return rc;
}
