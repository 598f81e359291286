#include "frame.h"

#include <errno.h>
#include <string.h>

#include "longhaul/peer.h"

static const uint8_t magic[4] = { 'l', 'h', 'p', '!' };

static void put32(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)v;
	at[1] = (uint8_t)(v >> 8);
	at[2] = (uint8_t)(v >> 16);
	at[3] = (uint8_t)(v >> 24);
}

static uint32_t get32(const uint8_t *at)
{
	return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static const struct {
	uint32_t min, max; /* of the payload */
} lengths[] = {
	[LH_FRAME_HELLO] = { LH_HELLO_BYTES, LH_HELLO_BYTES },
	[LH_FRAME_WELCOME] = { LH_HELLO_BYTES, LH_HELLO_BYTES },
	[LH_FRAME_REFUSE] = { 0, LH_FRAME_TEXT_MAX },
	[LH_FRAME_PING] = { 0, 0 },
	[LH_FRAME_BYE] = { 0, 0 },
	[LH_FRAME_ABORT] = { 4, 4 + LH_FRAME_TEXT_MAX },
	[LH_FRAME_CONTRIBUTION] = { 1, LH_FRAME_PAYLOAD_MAX },
	[LH_FRAME_RESULT] = { 1, LH_FRAME_PAYLOAD_MAX },
	[LH_FRAME_PROOF] = { LH_PROOF_BYTES, LH_PROOF_BYTES },
	[LH_FRAME_MEMBER] = { 1, LH_FRAME_MEMBER_MAX },
	[LH_FRAME_STATE] = { 1, LH_FRAME_PAYLOAD_MAX },
	[LH_FRAME_WARM] = { 1, LH_FRAME_PAYLOAD_MAX },
	[LH_FRAME_WARMED] = { 0, 0 },
};

void lh_frame_print(const struct lh_frame *f, uint8_t ret[LH_FRAME_HEADER])
{
	memcpy(ret, magic, 4);
	ret[4] = LH_FRAME_VERSION;
	ret[5] = (uint8_t)f->type;
	ret[6] = (uint8_t)f->block;
	ret[7] = (uint8_t)(f->block >> 8);
	put32(ret + 8, f->exchange);
	put32(ret + 12, f->part);
	put32(ret + 16, f->length);
	put32(ret + 20, f->view);
}

int lh_frame_parse(const uint8_t header[LH_FRAME_HEADER], struct lh_frame *ret, struct lh_err *err)
{
	if (memcmp(header, magic, 4))
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "what came is not from a longhaul peer");
	if (header[4] != LH_FRAME_VERSION)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTONOSUPPORT,
				  "it speaks version %u of the protocol, this is %d",
				  header[4], LH_FRAME_VERSION);
	uint8_t type = header[5];
	if (type >= sizeof lengths / sizeof *lengths || !type)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "frame of unknown type %u", type);
	struct lh_frame f = {
		.type = type, .exchange = get32(header + 8), .part = get32(header + 12), .length = get32(header + 16),
		.block = (uint16_t)(header[6] | header[7] << 8), .view = get32(header + 20),
	};
	if (f.block && type != LH_FRAME_CONTRIBUTION && type != LH_FRAME_RESULT && type != LH_FRAME_STATE)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "frame of type %u with a block", type);
	if (f.length < lengths[type].min || f.length > lengths[type].max)
		return lh_err_set(err, LH_EXIT_BROKE, -EMSGSIZE,
				  "frame of type %u with %u bytes, allowed are %u ... %u", type,
				  f.length, lengths[type].min, lengths[type].max);
	*ret = f;
	return 0;
}

static void put64(uint8_t *at, uint64_t v)
{
	put32(at, (uint32_t)v);
	put32(at + 4, (uint32_t)(v >> 32));
}

static uint64_t get64(const uint8_t *at)
{
	return get32(at) | (uint64_t)get32(at + 4) << 32;
}

void lh_hello_print(const struct lh_hello *h, uint8_t ret[LH_HELLO_BYTES])
{
	put32(ret, h->rank);
	put32(ret + 4, h->size);
	put64(ret + 8, h->fingerprint);
	put32(ret + 16, h->incarnation);
	put32(ret + 20, h->stream | (uint32_t)h->streams << 16);
	put64(ret + 24, h->pair);
	memcpy(ret + 32, h->nonce, LH_NONCE_BYTES);
	memcpy(ret + 48, h->proof, LH_PROOF_BYTES);
}

int lh_hello_parse(const uint8_t *payload, size_t len, struct lh_hello *ret, struct lh_err *err)
{
	if (len != LH_HELLO_BYTES)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "hello of %zu bytes", len);
	struct lh_hello h = {
		.rank = get32(payload), .size = get32(payload + 4), .fingerprint = get64(payload + 8),
		.incarnation = get32(payload + 16), .stream = (uint16_t)get32(payload + 20),
		.streams = (uint16_t)(get32(payload + 20) >> 16), .pair = get64(payload + 24),
	};
	memcpy(h.nonce, payload + 32, LH_NONCE_BYTES);
	memcpy(h.proof, payload + 48, LH_PROOF_BYTES);
	*ret = h;
	return 0;
}

int lh_hello_check(const struct lh_hello *theirs, const struct lh_hello *ours, struct lh_err *err)
{
	if (theirs->size != ours->size)
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "a run of %u peers, this one has %u", theirs->size,
				  ours->size);
	if (theirs->rank >= ours->size || theirs->rank == ours->rank)
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "rank %u is not free", theirs->rank);
	if (theirs->fingerprint != ours->fingerprint)
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL,
				  "the configurations differ (model, wire, algorithm, strategy, batch, seed, pace, sites or shares)");
	if (theirs->stream >= theirs->streams || theirs->streams > LH_STREAMS_MAX + 1 ||
	    (ours->streams && theirs->streams != ours->streams))
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "stream %u of %u, this one has %u to a peer",
				  theirs->stream, theirs->streams, ours->streams);
	return 0;
}

size_t lh_abort_print(int32_t culprit, const char *text, uint8_t ret[4 + LH_FRAME_TEXT_MAX])
{
	size_t len = strnlen(text, LH_FRAME_TEXT_MAX);
	put32(ret, (uint32_t)culprit);
	memcpy(ret + 4, text, len);
	return 4 + len;
}

void lh_text_parse(const uint8_t *payload, size_t len, char text[LH_FRAME_TEXT_MAX + 1])
{
	if (len > LH_FRAME_TEXT_MAX)
		len = LH_FRAME_TEXT_MAX;
	for (size_t i = 0; i < len; i++)
		text[i] = payload[i] >= 0x20 && payload[i] < 0x7f ? (char)payload[i] : '?';
	text[len] = 0;
}

int lh_abort_parse(const uint8_t *payload, size_t len, int32_t *ret_culprit, char text[LH_FRAME_TEXT_MAX + 1])
{
	if (len < 4)
		return -EPROTO;
	*ret_culprit = (int32_t)get32(payload);
	lh_text_parse(payload + 4, len - 4, text);
	return 0;
}

size_t lh_frame_reader_space(struct lh_frame_reader *r, uint8_t **ret_at)
{
	*ret_at = (r->in_payload ? r->payload : r->header) + r->have;
	return (r->in_payload ? r->frame.length : LH_FRAME_HEADER) - r->have;
}

int lh_frame_reader_advance(struct lh_frame_reader *r, size_t n, struct lh_err *err)
{
	r->have += n;
	if (!r->in_payload) {
		if (r->have < LH_FRAME_HEADER)
			return LH_READ_MORE;
		int rc = lh_frame_parse(r->header, &r->frame, err);
		if (rc)
			return rc;
		r->in_payload = 1;
		r->have = 0;
		r->payload = NULL;
		return LH_READ_HEADER;
	}
	if (r->have < r->frame.length)
		return LH_READ_MORE;
	r->in_payload = 0;
	r->have = 0;
	return LH_READ_FRAME;
}
