/* Messages between members: what is parsed prints the same, and a member that takes any sequence of them neither crashes
 * nor commits what it does not hold. The first byte: bit 0 makes it a joiner, the rest is its rank. Then messages,
 * each with a byte for its sender and two for its length.
 */
#include <stdlib.h>
#include <string.h>

#include "member/member.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PEERS = 4 };

static struct lh_member m;
static const double weights[LH_MEMBER_CAP] = { 1, 2, 3, 4 };

static void on_send(void *ctx, uint64_t to, const struct lh_member_message *msg)
{
	static uint8_t bytes[LH_MEMBER_MESSAGE_MAX];
	static struct lh_member_message back;
	size_t len = lh_member_print(msg, bytes);
	if (!len || !to || lh_member_parse(bytes, len, PEERS, &back, NULL))
		abort();
}

static void on_commit(void *ctx, uint32_t version, uint64_t hash)
{
	if (hash != 77 || version > 3)
		abort();
}

static void on_install(void *ctx, lh_ns noticed) { }
static void on_fetch(void *ctx, unsigned donor, uint32_t version) { }
static void on_serve(void *ctx, unsigned to, uint32_t version) { }
static void on_excluded(void *ctx) { }
static void on_over(void *ctx, enum lh_member_end end) { }

static const struct lh_member_ops ops = { on_send, on_commit, on_install, on_fetch, on_serve, on_excluded, on_over };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct lh_member_message msg, again;
	static uint8_t bytes[LH_MEMBER_MESSAGE_MAX];
	if (size < 1)
		return 0;
	struct lh_member_config c = {
		.rank = data[0] >> 1 & 3, .size = PEERS, .incarnation = data[0] & 1, .founders = 0x7, .batch = 8, .rounds = 3,
		.weights = weights, .give_up_ns = 1000, .retry_ns = 10,
	};
	lh_member_init(&m, &c, &ops, NULL, 1);
	for (unsigned i = 0; i < PEERS; i++)
		lh_member_found(&m, i, 0, i, 1);
	lh_ns now = 2;
	for (size_t at = 1; at + 3 <= size; now++) {
		unsigned from = data[at] & 3;
		size_t len = data[at + 1] | (size_t)data[at + 2] << 8;
		at += 3;
		len = len < size - at ? len : size - at;
		if (data[at - 3] & 0x80)
			lh_member_lost(&m, from, now);
		if (data[at - 3] & 0x40)
			lh_member_result(&m, 77, now);
		if (data[at - 3] & 0x20)
			lh_member_synced(&m, m.version, now);
		if (data[at - 3] & 0x10)
			lh_member_found(&m, from, data[at - 3] >> 2 & 3, 1, now);
		if (!lh_member_parse(data + at, len, PEERS, &msg, NULL)) {
			if (lh_member_print(&msg, bytes) != len || memcmp(bytes, data + at, len) ||
			    lh_member_parse(bytes, len, PEERS, &again, NULL))
				abort();
			lh_member_receive(&m, from, &msg, now, NULL);
		}
		lh_member_tick(&m, now);
		at += len;
	}
	return 0;
}
