#include "subset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct lh_subset {
	struct lh_transport inner; /* numbers of the group */
	struct lh_transport *t;    /* ranks of the run */
	unsigned size, n;
	unsigned *ranks;           /* [n] of size */
	int *number;               /* [size]; -1: not of the group */
};

static int outsider(struct lh_err *err)
{
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "data of a peer that is not in the group");
}

static int receive_begin(void *ctx, unsigned peer, const struct lh_frame *f, void **ret, struct lh_err *err)
{
	struct lh_subset *s = ctx;
	if (s->number[peer] < 0 || !s->inner.user)
		return outsider(err);
	return s->inner.user->receive_begin(s->inner.user_ctx, (unsigned)s->number[peer], f, ret, err);
}

static int receive_end(void *ctx, unsigned peer, const struct lh_frame *f, void *buffer, struct lh_err *err)
{
	struct lh_subset *s = ctx;
	if (s->number[peer] < 0 || !s->inner.user)
		return outsider(err);
	return s->inner.user->receive_end(s->inner.user_ctx, (unsigned)s->number[peer], f, buffer, err);
}

static int send_next(void *ctx, unsigned peer, struct lh_frame *ret, const void **ret_payload, struct lh_err *err)
{
	struct lh_subset *s = ctx;
	if (s->number[peer] < 0 || !s->inner.user)
		return 0;
	return s->inner.user->send_next(s->inner.user_ctx, (unsigned)s->number[peer], ret, ret_payload, err);
}

static void sent(void *ctx, unsigned peer, const struct lh_frame *f, const void *payload)
{
	struct lh_subset *s = ctx;
	if (s->number[peer] >= 0 && s->inner.user)
		s->inner.user->sent(s->inner.user_ctx, (unsigned)s->number[peer], f, payload);
}

static const struct lh_transport_user user = {
	.receive_begin = receive_begin, .receive_end = receive_end, .send_next = send_next, .sent = sent,
};

static void wake(struct lh_transport *t, unsigned peer)
{
	struct lh_subset *s = (struct lh_subset *)t;
	if (peer < s->n)
		s->t->ops->wake(s->t, s->ranks[peer]);
}

/* Where members may come and go, the transport watches everybody all the time. */
static void expect(struct lh_transport *t, unsigned peer, bool on)
{
	struct lh_subset *s = (struct lh_subset *)t;
	if (peer < s->n && !s->t->member)
		s->t->ops->expect(s->t, s->ranks[peer], on);
}

static const struct lh_transport_ops ops = { .wake = wake, .expect = expect };

int lh_subset_new(struct lh_transport *t, unsigned size, struct lh_subset **ret, struct lh_err *err)
{
	struct lh_subset *s = calloc(1, sizeof *s);
	if (s) {
		s->t = t;
		s->size = size;
		s->ranks = calloc(size, sizeof *s->ranks);
		s->number = calloc(size, sizeof *s->number);
	}
	if (!s || !s->ranks || !s->number) {
		lh_subset_free(s);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "group");
	}
	s->inner = (struct lh_transport){ .ops = &ops, .culprit = -1, .trace = t->trace };
	lh_subset_set(s, NULL, 0);
	*ret = s;
	return 0;
}

void lh_subset_set(struct lh_subset *s, const unsigned *ranks, unsigned n)
{
	for (unsigned i = 0; i < s->size; i++)
		s->number[i] = -1;
	for (unsigned i = 0; i < n; i++) {
		s->ranks[i] = ranks[i];
		s->number[ranks[i]] = (int)i;
	}
	s->n = n;
	s->t->user = &user; /* a transport forgets its user when its view changes */
	s->t->user_ctx = s;
}

struct lh_transport *lh_subset_transport(struct lh_subset *s)
{
	return &s->inner;
}

void lh_subset_free(struct lh_subset *s)
{
	if (!s)
		return;
	if (s->t->user_ctx == s)
		s->t->user = NULL;
	free(s->ranks);
	free(s->number);
	free(s);
}
