/* The peer protocol: a byte stream through the frame reader into the greeting and into a real all-reduce, as tcp.c
 * would do it. The first byte says in which pieces the stream arrives. Of the second, bit 0 starts a round, bits 1 ... 3
 * choose the algorithm, and bit 4 makes it four peers instead of two, whose frames then come in turns.
 */
#include <stdlib.h>
#include <string.h>

#include "comm/allreduce.h"
#include "comm/auth.h"
#include "comm/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N = 50, PART = 16, WINDOW = 3 };

static float vector[N];
static unsigned npeers, turn;
static uint8_t proof[LH_PROOF_BYTES];

static int read_vector(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	if (offset > N || n > N - offset)
		abort();
	memcpy(dst, vector + offset, n * sizeof *dst);
	return 0;
}

static int write_vector(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	if (offset > N || n > N - offset)
		abort();
	memcpy(vector + offset, src, n * sizeof *src);
	return 0;
}

static void wake(struct lh_transport *t, unsigned peer) { }
static void expect(struct lh_transport *t, unsigned peer, bool on) { }
static const struct lh_transport_ops ops = { .wake = wake, .expect = expect };

/* Everything that the all-reduce would send now, so that results and credits move. */
static void send_to(struct lh_transport *t, unsigned peer)
{
	struct lh_frame f;
	const void *payload;
	while (t->user->send_next(t->user_ctx, peer, &f, &payload, NULL) > 0) {
		uint8_t header[LH_FRAME_HEADER];
		struct lh_frame same;
		lh_frame_print(&f, header);
		if (!payload || lh_frame_parse(header, &same, NULL) || same.length != f.length || same.part != f.part ||
		    same.block != f.block || same.view != f.view)
			abort();
		t->user->sent(t->user_ctx, peer, &f, payload);
	}
}

static void send_all(struct lh_transport *t)
{
	for (unsigned peer = 1; peer < npeers; peer++)
		send_to(t, peer);
}

static int take(struct lh_transport *t, const struct lh_frame *f, const uint8_t *payload)
{
	static const struct lh_hello ours = { .size = 2, .fingerprint = 7 };
	uint8_t again[LH_HELLO_BYTES];
	struct lh_hello theirs;
	char text[LH_FRAME_TEXT_MAX + 1];
	int32_t culprit;
	unsigned peer = 1 + turn++ % (npeers - 1);
	void *to;
	switch (f->type) {
	case LH_FRAME_HELLO:
	case LH_FRAME_WELCOME:
		if (lh_hello_parse(payload, f->length, &theirs, NULL))
			return -1;
		lh_hello_print(&theirs, again);
		if (memcmp(again, payload, sizeof again))
			abort();
		lh_auth_proof("00112233445566778899", payload, again, proof);
		return lh_hello_check(&theirs, &ours, NULL);
	case LH_FRAME_PROOF:
		return lh_auth_equal(proof, payload) ? 0 : -1;
	case LH_FRAME_REFUSE:
		lh_text_parse(payload, f->length, text);
		return -1;
	case LH_FRAME_ABORT:
		return lh_abort_parse(payload, f->length, &culprit, text) ? -1 : 0;
	case LH_FRAME_CONTRIBUTION:
	case LH_FRAME_RESULT:
		if (t->user->receive_begin(t->user_ctx, peer, f, &to, NULL))
			return -1;
		memcpy(to, payload, f->length);
		if (t->user->receive_end(t->user_ctx, peer, f, to, NULL))
			return -1;
		send_all(t);
		return 0;
	default:
		return 0;
	}
}

static void feed(struct lh_transport *t, const uint8_t *data, size_t size, size_t piece)
{
	struct lh_frame_reader r = { .have = 0 };
	uint8_t *payload = NULL;
	int rc = 0;
	while (rc >= 0 && size) {
		uint8_t *at;
		size_t n = lh_frame_reader_space(&r, &at);
		n = n < size ? n : size;
		n = n < piece ? n : piece;
		memcpy(at, data, n);
		data += n;
		size -= n;
		rc = lh_frame_reader_advance(&r, n, NULL);
		if (rc == LH_READ_HEADER) {
			if (r.frame.length > LH_FRAME_PAYLOAD_MAX)
				abort();
			free(payload);
			r.payload = payload = malloc(r.frame.length ? r.frame.length : 1);
			if (!r.frame.length)
				rc = lh_frame_reader_advance(&r, 0, NULL);
		}
		if (rc == LH_READ_FRAME)
			rc = take(t, &r.frame, payload);
	}
	free(payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct lh_transport t = { .ops = &ops, .culprit = -1 };
	struct lh_allreduce *a = NULL;
	struct lh_group group;
	static const uint32_t site[] = { 0, 0, 1, 1 };
	npeers = data[1] & 16 ? 4 : 2;
	turn = 0;
	if (lh_group_init(&group, npeers, site, NULL, NULL))
		abort();
	struct lh_allreduce_config c = {
		.pattern = lh_pattern_find((enum lh_algorithm)(data[1] >> 1 & 7) % LH_ALGORITHMS),
		.group = &group, .codec = lh_codec_find(LH_WIRE_FP16), .scale = 1, .n = N,
		.part_bytes = PART, .window = WINDOW, .read = read_vector, .write = write_vector,
	};
	if (lh_allreduce_new(&c, &t, &a, NULL))
		abort();
	if (data[1] & 1 && lh_allreduce_start(a, 1, NULL))
		abort();
	if (data[1] & 1)
		send_all(&t);
	feed(&t, data + 2, size - 2, data[0] ? data[0] : 4096);
	lh_allreduce_free(a);
	lh_group_done(&group);
	return 0;
}
