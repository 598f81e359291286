#include "message.h"

#include <errno.h>
#include <string.h>

/* One cursor for both directions: every field is named once, in `fields`, and goes out or comes in there. */
struct cursor {
	uint8_t *out;        /* NULL when reading */
	const uint8_t *in;
	size_t at, len;
	bool bad;            /* the bytes ended too soon */
};

static void number(struct cursor *c, uint64_t *v, size_t bytes)
{
	if (c->bad || c->len - c->at < bytes) {
		c->bad = true;
		return;
	}
	if (!c->out)
		*v = 0;
	for (size_t i = 0; i < bytes; i++) {
		if (c->out)
			c->out[c->at + i] = (uint8_t)(*v >> 8 * i);
		else
			*v |= (uint64_t)c->in[c->at + i] << 8 * i;
	}
	c->at += bytes;
}

static void u64(struct cursor *c, uint64_t *v)
{
	number(c, v, 8);
}

static void u32(struct cursor *c, uint32_t *v, size_t bytes)
{
	uint64_t wide = *v;
	number(c, &wide, bytes);
	*v = (uint32_t)wide;
}

static void group_fields(struct cursor *c, struct lh_view *v)
{
	u32(c, &v->number, 4);
	u32(c, &v->version, 4);
	u64(c, &v->members);
	u64(c, &v->synced);
	u64(c, &v->hash);
	u64(c, &v->redealt);
	u32(c, &v->cause, 4);
	u32(c, &v->aborted, 4);
	number(c, &v->table.n, 8);
	for (unsigned i = 0; i < LH_MEMBER_CAP && !c->bad; i++)
		if (v->members >> i & 1)
			u32(c, &v->incarnation[i], 4);
	if (v->table.n > LH_MEMBER_RANGES)
		c->bad = true;
	for (uint64_t i = 0; !c->bad && i < v->table.n; i++) {
		u64(c, &v->table.range[i].first);
		u64(c, &v->table.range[i].count);
		number(c, &v->table.range[i].owner, 4);
	}
}

static void fields(struct cursor *c, struct lh_member_message *m)
{
	uint32_t zero = 0;
	u32(c, &m->kind, 1);
	u32(c, &zero, 3);
	c->bad |= zero != 0;
	u32(c, &m->view, 4);
	switch (m->kind) {
	case LH_MEMBER_ACK:
		u32(c, &m->version, 4);
		u64(c, &m->hash);
		break;
	case LH_MEMBER_SUSPECT:
		u32(c, &m->flags, 4);
		break;
	case LH_MEMBER_PREPARE:
	case LH_MEMBER_ACCEPT:
		u32(c, &m->ballot, 4);
		break;
	case LH_MEMBER_PROMISE:
		u32(c, &m->ballot, 4);
		u32(c, &m->version, 4);
		u32(c, &m->flags, 4);
		u64(c, &m->hash);
		u64(c, &m->connected);
		u32(c, &m->accepted, 4);
		if (m->accepted)
			group_fields(c, &m->group);
		break;
	case LH_MEMBER_REFUSE:
		u32(c, &m->ballot, 4);
		u32(c, &m->promised, 4);
		break;
	case LH_MEMBER_PROPOSE:
		u32(c, &m->ballot, 4);
		group_fields(c, &m->group);
		break;
	case LH_MEMBER_VIEW:
		group_fields(c, &m->group);
		break;
	case LH_MEMBER_JOIN:
		u32(c, &m->incarnation, 4);
		u64(c, &m->connected);
		break;
	case LH_MEMBER_LEAVE:
		break;
	case LH_MEMBER_DONE:
	case LH_MEMBER_FETCH:
		u32(c, &m->version, 4);
		break;
	default:
		c->bad = true;
	}
}

size_t lh_member_print(const struct lh_member_message *m, uint8_t ret[LH_MEMBER_MESSAGE_MAX])
{
	struct lh_member_message copy = *m;
	struct cursor c = { .out = ret, .len = LH_MEMBER_MESSAGE_MAX };
	fields(&c, &copy);
	return c.bad ? 0 : c.at;
}

static const char *check_group(const struct lh_view *v, uint64_t everybody)
{
	uint64_t owners = 0;
	if (!v->number || !v->members || v->members & ~everybody || v->synced & ~v->members || !v->synced)
		return "its members do not fit";
	if (v->cause > LH_VIEW_LEFT || v->aborted > 1)
		return "an unknown cause";
	for (uint64_t i = 0; i < v->table.n; i++) {
		const struct lh_member_range *r = &v->table.range[i];
		if (!r->count || r->count > LH_PEER_BATCH_MAX || r->owner >= LH_MEMBER_CAP)
			return "samples out of range";
		owners |= UINT64_C(1) << r->owner;
	}
	return owners & ~v->synced ? "samples of peers that have no state" : NULL;
}

static const char *check(const struct lh_member_message *m, unsigned size)
{
	uint64_t everybody = size >= 64 ? UINT64_MAX : (UINT64_C(1) << size) - 1;
	bool has_group = m->kind == LH_MEMBER_VIEW || m->kind == LH_MEMBER_PROPOSE || m->accepted;
	bool has_ballot = m->kind >= LH_MEMBER_PREPARE && m->kind <= LH_MEMBER_ACCEPT;
	if (m->ballot > LH_MEMBER_BALLOT_MAX || m->promised > LH_MEMBER_BALLOT_MAX || (has_ballot && !m->ballot))
		return "no such ballot";
	if (m->accepted >= m->ballot && m->accepted)
		return "accepted in the future";
	if (m->connected & ~everybody)
		return "ranks that do not exist";
	if (m->kind == LH_MEMBER_SUSPECT && m->flags > LH_VIEW_LEFT)
		return "an unknown cause";
	if (m->kind == LH_MEMBER_PROMISE && m->flags > 15)
		return "unknown flags";
	return has_group ? check_group(&m->group, everybody) : NULL;
}

int lh_member_parse(const uint8_t *bytes, size_t len, unsigned size, struct lh_member_message *ret,
		    struct lh_err *err)
{
	struct cursor c = { .in = bytes, .len = len };
	memset(ret, 0, sizeof *ret);
	fields(&c, ret);
	const char *wrong = c.bad || c.at != len ? "its length or kind is wrong" : check(ret, size);
	if (!wrong)
		return 0;
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "member message %s of %zu bytes: %s",
			  lh_member_kind_name(ret->kind), len, wrong);
}

const char *lh_member_kind_name(uint32_t kind)
{
	static const char *const names[] = {
		[LH_MEMBER_ACK] = "ack", [LH_MEMBER_SUSPECT] = "suspect", [LH_MEMBER_PREPARE] = "prepare",
		[LH_MEMBER_PROMISE] = "promise", [LH_MEMBER_REFUSE] = "refuse", [LH_MEMBER_PROPOSE] = "propose",
		[LH_MEMBER_ACCEPT] = "accept", [LH_MEMBER_VIEW] = "view", [LH_MEMBER_JOIN] = "join",
		[LH_MEMBER_LEAVE] = "leave", [LH_MEMBER_DONE] = "done", [LH_MEMBER_FETCH] = "fetch",
	};
	return kind < sizeof names / sizeof *names && names[kind] ? names[kind] : "of no kind";
}
