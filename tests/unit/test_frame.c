/* Frames and the greeting: what goes out comes in, in whatever pieces; what nobody sends is refused with a reason. */
#include <errno.h>
#include <string.h>

#include "comm/auth.h"
#include "comm/frame.h"
#include "lhtest.h"

static void test_header_bytes(void)
{
	static const uint8_t expected[LH_FRAME_HEADER] = {
		'l', 'h', 'p', '!', 3, 7, 2, 1, 4, 3, 2, 1, 8, 7, 6, 5, 0, 0, 8, 0, 9, 10, 11, 12,
	};
	struct lh_frame f = { LH_FRAME_CONTRIBUTION, 0x01020304, 0x05060708, LH_FRAME_PAYLOAD_MAX, 0x0102, 0x0c0b0a09 }, g;
	uint8_t header[LH_FRAME_HEADER];
	lh_frame_print(&f, header);
	CU_ASSERT_EQUAL(memcmp(header, expected, sizeof expected), 0);
	CU_ASSERT_EQUAL_FATAL(lh_frame_parse(header, &g, NULL), 0);
	CU_ASSERT_EQUAL(g.type, f.type);
	CU_ASSERT_EQUAL(g.exchange, f.exchange);
	CU_ASSERT_EQUAL(g.part, f.part);
	CU_ASSERT_EQUAL(g.length, f.length);
	CU_ASSERT_EQUAL(g.block, f.block);
	CU_ASSERT_EQUAL(g.view, f.view);
}

static void test_header_refusals(void)
{
	static const struct { size_t at; uint8_t value; int code; const char *says; } cases[] = {
		{ 0, 'G', -EPROTO, "not from a longhaul peer" }, { 3, 0, -EPROTO, "not from a longhaul peer" },
		{ 4, 0, -EPROTONOSUPPORT, "version 0" },
		{ 4, 2, -EPROTONOSUPPORT, "version 2 of the protocol, this is 3" },
		{ 4, 1, -EPROTONOSUPPORT, "version 1 of the protocol, this is 3" },
		{ 5, 0, -EPROTO, "type 0" }, { 5, 14, -EPROTO, "type 14" }, { 5, 255, -EPROTO, "type 255" },
		{ 18, 12, -EMSGSIZE, "allowed are 1 ... 524288" }, { 19, 255, -EMSGSIZE, "allowed" },
		{ 5, LH_FRAME_PING, -EMSGSIZE, "allowed are 0 ... 0" }, { 5, LH_FRAME_HELLO, -EMSGSIZE, "80 ... 80" },
		{ 5, LH_FRAME_WARMED, -EMSGSIZE, "allowed are 0 ... 0" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_frame f = { LH_FRAME_RESULT, 1, 2, 3 }, g;
		struct lh_err err = LH_ERR_INIT;
		uint8_t header[LH_FRAME_HEADER];
		lh_frame_print(&f, header);
		header[cases[i].at] = cases[i].value;
		CU_ASSERT_EQUAL(lh_frame_parse(header, &g, &err), cases[i].code);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].says));
	}
}

/* Only data is of a block. */
static void test_block_elsewhere(void)
{
	struct lh_frame f = { .type = LH_FRAME_PING, .block = 1 }, g;
	struct lh_err err = LH_ERR_INIT;
	uint8_t header[LH_FRAME_HEADER];
	lh_frame_print(&f, header);
	CU_ASSERT_EQUAL(lh_frame_parse(header, &g, &err), -EPROTO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "with a block"));
}

static const struct lh_hello ours = { .size = 4, .fingerprint = 0x0123456789abcdef, .streams = 3 };

static void check_hello(struct lh_hello theirs, const char *says)
{
	uint8_t wire[LH_HELLO_BYTES];
	struct lh_hello back;
	struct lh_err err = LH_ERR_INIT;
	lh_hello_print(&theirs, wire);
	CU_ASSERT_EQUAL_FATAL(lh_hello_parse(wire, sizeof wire, &back, NULL), 0);
	CU_ASSERT_EQUAL(memcmp(&back, &theirs, sizeof back), 0);
	int rc = lh_hello_check(&back, &ours, &err);
	CU_ASSERT_EQUAL(rc == 0, says == NULL);
	if (says)
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, says));
}

static struct lh_hello hello(uint32_t rank, uint32_t size, uint64_t fingerprint, uint16_t stream, uint16_t streams)
{
	struct lh_hello h;
	memset(&h, 0, sizeof h);
	h.rank = rank;
	h.size = size;
	h.fingerprint = fingerprint;
	h.incarnation = 0x01020304;
	h.stream = stream;
	h.streams = streams;
	h.pair = 0x1122334455667788;
	memcpy(h.nonce, "0123456789abcdef", LH_NONCE_BYTES);
	memset(h.proof, 7, LH_PROOF_BYTES);
	return h;
}

static void test_hello(void)
{
	check_hello(hello(1, 4, ours.fingerprint, 0, 3), NULL);
	check_hello(hello(3, 4, ours.fingerprint, 2, 3), NULL);
	check_hello(hello(0, 4, ours.fingerprint, 0, 3), "rank 0 is not free");
	check_hello(hello(4, 4, ours.fingerprint, 0, 3), "rank 4");
	check_hello(hello(1, 5, ours.fingerprint, 0, 3), "run of 5 peers, this one has 4");
	check_hello(hello(1, 4, 7, 0, 3), "configurations differ");
	check_hello(hello(1, 4, ours.fingerprint, 3, 3), "stream 3 of 3");
	check_hello(hello(1, 4, ours.fingerprint, 0, 2), "stream 0 of 2, this one has 3");
	check_hello(hello(1, 4, ours.fingerprint, UINT16_MAX, UINT16_MAX), "stream 65535");
	struct lh_hello h, any = ours;
	any.streams = 0; /* whoever connects decides */
	h = hello(1, 4, ours.fingerprint, 64, 65);
	CU_ASSERT_EQUAL(lh_hello_check(&h, &any, NULL), 0);
	h = hello(1, 4, ours.fingerprint, 64, 66);
	CU_ASSERT_EQUAL(lh_hello_check(&h, &any, NULL), -EINVAL);
	CU_ASSERT_EQUAL(lh_hello_parse((const uint8_t *)"x", 1, &h, NULL), -EPROTO);
}

/* A proof is good for its secret, its role, both nonces and every claim. */
static void test_proofs(void)
{
	static const char secret[] = "00112233445566778899aabbccddeeff";
	uint8_t a[LH_HELLO_BYTES], b[LH_HELLO_BYTES], first[LH_PROOF_BYTES], other[LH_PROOF_BYTES];
	struct lh_hello h = hello(1, 4, 7, 0, 3);
	lh_hello_print(&h, a);
	h.rank = 0;
	lh_hello_print(&h, b);
	lh_auth_welcome(secret, a, b, first);
	lh_auth_welcome(secret, a, b, other);
	CU_ASSERT_TRUE(lh_auth_equal(first, other));
	b[LH_HELLO_BYTES - 1] ^= 1; /* where it will stand itself */
	lh_auth_welcome(secret, a, b, other);
	CU_ASSERT_TRUE(lh_auth_equal(first, other));
	lh_auth_proof(secret, a, b, other);
	CU_ASSERT_FALSE(lh_auth_equal(first, other)); /* not to be sent back as the answer */
	lh_auth_welcome("00112233445566778899aabbccddeefe", a, b, other);
	CU_ASSERT_FALSE(lh_auth_equal(first, other));
	for (size_t i = 0; i < LH_HELLO_BYTES - LH_PROOF_BYTES; i++) {
		a[i] ^= 1;
		lh_auth_welcome(secret, a, b, other);
		CU_ASSERT_FALSE(lh_auth_equal(first, other));
		a[i] ^= 1;
		b[i] ^= 0x80;
		lh_auth_welcome(secret, a, b, other);
		CU_ASSERT_FALSE(lh_auth_equal(first, other));
		b[i] ^= 0x80;
	}
	lh_auth_proof(secret, a, b, first);
	for (size_t i = 0; i < LH_HELLO_BYTES; i++) {
		b[i] ^= 1;
		lh_auth_proof(secret, a, b, other);
		CU_ASSERT_FALSE(lh_auth_equal(first, other));
		b[i] ^= 1;
	}
}

static void test_texts(void)
{
	uint8_t payload[4 + LH_FRAME_TEXT_MAX];
	char text[LH_FRAME_TEXT_MAX + 1], big[600];
	int32_t culprit = 0;
	size_t n = lh_abort_print(-1, "peer x: gone", payload);
	CU_ASSERT_EQUAL_FATAL(lh_abort_parse(payload, n, &culprit, text), 0);
	CU_ASSERT_EQUAL(culprit, -1);
	CU_ASSERT_STRING_EQUAL(text, "peer x: gone");
	memset(big, 'y', sizeof big);
	big[sizeof big - 1] = 0;
	n = lh_abort_print(3, big, payload);
	CU_ASSERT_EQUAL(n, sizeof payload);
	CU_ASSERT_EQUAL(lh_abort_parse(payload, n, &culprit, text), 0);
	CU_ASSERT_EQUAL(strlen(text), LH_FRAME_TEXT_MAX);
	CU_ASSERT_EQUAL(lh_abort_parse(payload, 3, &culprit, text), -EPROTO);
	lh_text_parse((const uint8_t *)"a\n\x1b[31m\xff", 8, text); /* nothing that a terminal would obey */
	CU_ASSERT_STRING_EQUAL(text, "a??[31m?");
}

/* Three frames, cut into pieces of every length. */
static void test_reader_in_pieces(void)
{
	uint8_t stream[3 * LH_FRAME_HEADER + 100 + 7], got[128];
	struct lh_frame frames[] = {
		{ LH_FRAME_RESULT, 1, 0, 100 }, { LH_FRAME_PING, 0, 0, 0 }, { LH_FRAME_CONTRIBUTION, 1, 1, 7 },
	};
	size_t len = 0;
	for (size_t i = 0; i < 3; i++) {
		lh_frame_print(&frames[i], stream + len);
		len += LH_FRAME_HEADER;
		for (uint32_t k = 0; k < frames[i].length; k++)
			stream[len++] = (uint8_t)(k + i);
	}
	for (size_t piece = 1; piece <= len; piece++) {
		struct lh_frame_reader r = { .have = 0 };
		size_t at = 0, seen = 0;
		while (at < len) {
			uint8_t *to;
			size_t n = lh_frame_reader_space(&r, &to);
			n = n < piece ? n : piece;
			CU_ASSERT_TRUE_FATAL(n > 0 && n <= len - at);
			memcpy(to, stream + at, n);
			at += n;
			int rc = lh_frame_reader_advance(&r, n, NULL);
			if (rc == LH_READ_HEADER) {
				r.payload = got;
				rc = r.frame.length ? 0 : lh_frame_reader_advance(&r, 0, NULL);
			}
			if (rc == LH_READ_FRAME) {
				CU_ASSERT_EQUAL_FATAL(r.frame.type, frames[seen].type);
				CU_ASSERT_EQUAL(r.frame.part, frames[seen].part);
				for (uint32_t k = 0; k < r.frame.length; k++)
					CU_ASSERT_EQUAL(got[k], (uint8_t)(k + seen));
				seen++;
			}
			CU_ASSERT_TRUE_FATAL(rc >= 0);
		}
		CU_ASSERT_EQUAL(seen, 3);
	}
}

static const struct lh_test tests[] = {
	{ "header_bytes", test_header_bytes, 0 },
	{ "header_refusals", test_header_refusals, 0 },
	{ "block_elsewhere", test_block_elsewhere, 0 },
	{ "hello", test_hello, 0 },
	{ "proofs", test_proofs, 0 },
	{ "texts", test_texts, 0 },
	{ "reader_in_pieces", test_reader_in_pieces, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "frame", tests, sizeof tests / sizeof *tests);
}
