#include "mux.h"

#include <errno.h>
#include <stdlib.h>

struct port {
	struct lh_transport t;
	struct lh_mux *mux;
	bool *expects; /* [npeers] */
};

struct lh_mux {
	struct lh_transport *t;
	unsigned npeers, n, turn;
	unsigned *expecting; /* [npeers] ports that wait for that peer */
	struct port *ports;  /* [n] */
};

static struct port *port_of(struct lh_mux *m, const struct lh_frame *f)
{
	return &m->ports[(f->exchange - 1) % m->n];
}

static int nobody(const struct lh_frame *f, struct lh_err *err)
{
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "unexpected frame of exchange %u", f->exchange);
}

static int receive_begin(void *ctx, unsigned peer, const struct lh_frame *f, void **ret, struct lh_err *err)
{
	struct port *p = port_of(ctx, f);
	if (!f->exchange || !p->t.user)
		return nobody(f, err);
	return p->t.user->receive_begin(p->t.user_ctx, peer, f, ret, err);
}

static int receive_end(void *ctx, unsigned peer, const struct lh_frame *f, void *buffer, struct lh_err *err)
{
	struct port *p = port_of(ctx, f);
	return p->t.user ? p->t.user->receive_end(p->t.user_ctx, peer, f, buffer, err) : nobody(f, err);
}

static int send_next(void *ctx, unsigned peer, struct lh_frame *ret, const void **ret_payload, struct lh_err *err)
{
	struct lh_mux *m = ctx;
	for (unsigned i = 0; i < m->n; i++) {
		struct port *p = &m->ports[(m->turn + i) % m->n];
		int rc = p->t.user ? p->t.user->send_next(p->t.user_ctx, peer, ret, ret_payload, err) : 0;
		if (rc) {
			m->turn = (m->turn + i + 1) % m->n;
			return rc;
		}
	}
	return 0;
}

static void sent(void *ctx, unsigned peer, const struct lh_frame *f, const void *payload)
{
	struct port *p = port_of(ctx, f);
	if (p->t.user)
		p->t.user->sent(p->t.user_ctx, peer, f, payload);
}

static const struct lh_transport_user user = {
	.receive_begin = receive_begin, .receive_end = receive_end, .send_next = send_next, .sent = sent,
};

static void wake(struct lh_transport *t, unsigned peer)
{
	struct lh_mux *m = ((struct port *)t)->mux;
	m->t->ops->wake(m->t, peer);
}

static void expect(struct lh_transport *t, unsigned peer, bool on)
{
	struct port *p = (struct port *)t;
	struct lh_mux *m = p->mux;
	if (p->expects[peer] == on)
		return;
	p->expects[peer] = on;
	m->expecting[peer] += on ? 1u : -1u;
	m->t->ops->expect(m->t, peer, m->expecting[peer] > 0);
}

static const struct lh_transport_ops ops = { .wake = wake, .expect = expect };

int lh_mux_new(struct lh_transport *t, unsigned npeers, unsigned n, struct lh_mux **ret, struct lh_err *err)
{
	struct lh_mux *m = calloc(1, sizeof *m);
	bool fine = m;
	if (m) {
		*m = (struct lh_mux){ .t = t, .npeers = npeers, .n = n };
		m->expecting = calloc(npeers, sizeof *m->expecting);
		m->ports = calloc(n, sizeof *m->ports);
		fine = m->expecting && m->ports;
	}
	for (unsigned i = 0; fine && i < n; i++) {
		m->ports[i] = (struct port){ .t = { .ops = &ops, .culprit = -1, .trace = t->trace }, .mux = m };
		fine = (m->ports[i].expects = calloc(npeers, sizeof(bool))) != NULL;
	}
	if (!fine) {
		lh_mux_free(m);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "exchanges");
	}
	t->user = &user;
	t->user_ctx = m;
	*ret = m;
	return 0;
}

struct lh_transport *lh_mux_port(struct lh_mux *m, unsigned number)
{
	return &m->ports[number].t;
}

void lh_mux_free(struct lh_mux *m)
{
	if (!m)
		return;
	if (m->t->user_ctx == m)
		m->t->user = NULL;
	for (unsigned i = 0; m->ports && i < m->n; i++)
		free(m->ports[i].expects);
	free(m->ports);
	free(m->expecting);
	free(m);
}
