/* tcp_nodes.c - see tcp_nodes.h. */
#include "tcp_nodes.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lhtest.h"

struct node nodes[NODES];
unsigned nnodes;
void (*after_turn)(void);

void set_up(unsigned n, uint32_t streams, enum lh_membership membership)
{
	static unsigned groups;
	unsigned id = (unsigned)getpid() * 8 + groups++ % 8;
	memset(nodes, 0, sizeof nodes);
	nnodes = n;
	for (unsigned i = 0; i < n; i++) {
		struct node *v = &nodes[i];
		v->c = (struct lh_peer_config){
			.protocol = LH_PEER_PROTOCOL, .rank = i, .size = n, .peers = v->peers, .model = "digits",
			.secret = "00112233445566778899aabbccddeeff", .streams = streams, .membership = membership,
			.deadline_ns = 20 * LH_NS_PER_S,
		};
		for (unsigned k = 0; k < n; k++) {
			struct lh_peer_endpoint *e = &v->peers[k];
			snprintf(e->name, sizeof e->name, "peer-%u", k);
			snprintf(e->host, sizeof e->host, "127.%u.%u.%u", 1 + id / 250 % 250, 1 + id % 250, 101 + k);
			e->port = 7100;
			e->samples_per_s = 1;
		}
	}
}

static void say(struct node *v, char kind, unsigned peer, uint32_t number, const char *text, size_t len)
{
	CU_ASSERT_TRUE_FATAL(v->nlog < LOG_MAX);
	struct said *s = &v->log[v->nlog++];
	*s = (struct said){ .kind = kind, .peer = peer, .number = number };
	memcpy(s->text, text, len < sizeof s->text - 1 ? len : sizeof s->text - 1);
}

static void found(void *ctx, unsigned peer, uint32_t incarnation)
{
	say(ctx, 'f', peer, incarnation, "", 0);
}

static void lost(void *ctx, unsigned peer, const char *reason)
{
	say(ctx, 'l', peer, 0, reason, strlen(reason));
}

static int message(void *ctx, unsigned peer, const struct lh_frame *f, const uint8_t *payload, struct lh_err *err)
{
	bool state = f->type == LH_FRAME_STATE;
	say(ctx, state ? 's' : 'm', peer, state ? f->part : f->length, (const char *)payload, f->length);
	return 0;
}

static int state_next(void *ctx, unsigned peer, struct lh_frame *ret, const void **ret_payload, struct lh_err *err)
{
	struct node *v = ctx;
	if (!v->states_left)
		return 0;
	*ret = (struct lh_frame){ .type = LH_FRAME_STATE, .part = v->states_left--, .length = sizeof v->payload };
	*ret_payload = v->payload;
	return 1;
}

static void state_sent(void *ctx, unsigned peer, const struct lh_frame *f, const void *payload) { }

static const struct lh_transport_member member = {
	.found = found, .lost = lost, .message = message, .state_next = state_next, .state_sent = state_sent,
};

void start(struct node *v)
{
	struct lh_err err = LH_ERR_INIT;
	v->nlog = v->received = 0;
	int rc = lh_tcp_listen(&v->c, &v->t, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	if (v->c.membership == LH_MEMBERSHIP_ELASTIC) {
		v->t->member = &member;
		v->t->member_ctx = v;
	}
	lh_tcp_join(v->t);
}

void stop(struct node *v)
{
	v->t->ops->close(v->t);
	v->t = NULL;
}

void turn(void)
{
	struct pollfd fds[NODES];
	struct lh_err err = LH_ERR_INIT;
	unsigned n = 0;
	lh_ns timer = INT64_MAX, now = lh_clock_ns();
	for (unsigned i = 0; i < nnodes; i++)
		if (nodes[i].t) {
			lh_ns at = nodes[i].t->ops->timer(nodes[i].t);
			timer = at < timer ? at : timer;
			fds[n++] = (struct pollfd){ .fd = nodes[i].t->ops->fd(nodes[i].t), .events = POLLIN };
		}
	poll(fds, n, timer > now ? 1 : 0);
	for (unsigned i = 0; i < nnodes; i++) {
		int rc = nodes[i].t ? nodes[i].t->ops->progress(nodes[i].t, &err) : 0;
		if (rc)
			printf("# rank %u: %s\n", i, err.text);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
	}
	if (after_turn)
		after_turn();
}

/* Until `over` says so; false after ten seconds. */
bool run_until(bool (*over)(void))
{
	lh_ns until = lh_clock_ns() + 10 * LH_NS_PER_S;
	while (!over())
		if (lh_clock_ns() > until)
			return false;
		else
			turn();
	return true;
}

void run_for(lh_ns ns)
{
	for (lh_ns until = lh_clock_ns() + ns; lh_clock_ns() < until;)
		turn();
}

bool all_joined(void)
{
	for (unsigned i = 0; i < nnodes; i++)
		if (nodes[i].t && !lh_tcp_joined(nodes[i].t))
			return false;
	return true;
}

void stop_all(void)
{
	for (unsigned i = 0; i < nnodes; i++) {
		lh_allreduce_free(nodes[i].a);
		if (nodes[i].t)
			stop(&nodes[i]);
		free(nodes[i].vector);
	}
}
