/* How a pair becomes open: listen, connect, accept, greet, refuse.
 *
 * The higher rank connects. Its first connection tells the round-trip time and so, where that is not given, how many
 * there will be; then it opens the others. Each greets for itself: HELLO, WELCOME, PROOF (auth.h). An attempt has a
 * number; if one of its connections fails before all are open, all are closed and another attempt begins.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth.h"
#include "hash.h"
#include "tcp_internal.h"

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t address_of(const struct lh_peer_endpoint *e, union address *ret)
{
	memset(ret, 0, sizeof *ret);
	if (inet_pton(AF_INET, e->host, &ret->in.sin_addr) == 1) {
		ret->in.sin_family = AF_INET;
		ret->in.sin_port = htons(e->port);
		return sizeof ret->in;
	}
	inet_pton(AF_INET6, e->host, &ret->in6.sin6_addr); /* the configuration's reader has checked it */
	ret->in6.sin6_family = AF_INET6;
	ret->in6.sin6_port = htons(e->port);
	return sizeof ret->in6;
}

/* What all peers must agree on; where they are and what is tested on them may differ. */
static uint64_t fingerprint(const struct lh_peer_config *c)
{
	struct lh_hash64_state h;
	const struct lh_sync_options *s = &c->sync;
	const struct lh_optim_options o = c->optim.given ? c->optim : lh_optim_defaults(s->optimizer);
	uint64_t numbers[] = {
		c->size, c->engine, c->parameters, c->wire, c->algorithm, c->target_batch, c->epochs, c->seed,
		c->codec.powersgd_rank, c->codec.error_feedback, s->strategy, s->optimizer, s->every, s->fragments,
		s->overlap, s->staleness, (uint64_t)s->match_floor_ns, c->streams, c->sockets, c->part_bytes,
		c->membership, c->resume_round, c->data, c->data_samples,
		c->precision, c->deterministic, o.nesterov, o.warmup_updates, o.schedule, o.total_updates,
		c->vector_bytes, c->pace_byte_per_s, c->window_bytes,
	};
	double reals[] = {
		c->learning_rate, c->codec.topk_fraction, s->outer_learning_rate, s->outer_momentum, s->blend,
		o.momentum, o.beta1, o.beta2, o.epsilon, o.weight_decay, o.floor, o.clip_norm,
	};
	lh_hash64_init(&h, LH_PEER_PROTOCOL);
	lh_hash64_update(&h, numbers, sizeof numbers);
	lh_hash64_update(&h, c->model, strlen(c->model));
	lh_hash64_update(&h, reals, sizeof reals);
	for (unsigned i = 0; i < c->size; i++) {
		uint32_t group[] = { c->peers[i].site, c->peers[i].share, c->peers[i].absent };
		lh_hash64_update(&h, &c->peers[i].samples_per_s, sizeof c->peers[i].samples_per_s);
		lh_hash64_update(&h, group, sizeof group);
	}
	lh_hash64_update(&h, c->trees.weight, c->trees.n * sizeof *c->trees.weight);
	lh_hash64_update(&h, c->trees.root, c->trees.n * sizeof *c->trees.root);
	lh_hash64_update(&h, c->trees.up, (size_t)c->trees.n * c->trees.npeers * sizeof *c->trees.up);
	lh_hash64_update(&h, c->trees.down, (size_t)c->trees.n * c->trees.npeers * sizeof *c->trees.down);
	return lh_hash64_final(&h);
}

/* ---- listening ---- */

static int open_listener(struct tcp *t, struct lh_err *err)
{
	const struct lh_peer_endpoint *self = &t->c->peers[t->c->rank];
	union address a;
	socklen_t len = address_of(self, &a);
	t->listen_fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t->listen_fd >= 0)
		tcp_option_listener(t, t->listen_fd);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
	if (t->listen_fd < 0 || bind(t->listen_fd, &a.sa, len) || listen(t->listen_fd, 4096) ||
	    epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, t->listen_fd, &ev))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "peer %s: listen on %s port %u", self->name, self->host,
				  self->port);
	return 0;
}

static unsigned pending_max(const struct lh_peer_config *c)
{
	uint64_t streams = c->streams ? c->streams + 1 : LH_STREAMS_AUTO_MAX + 1, n = 128 + c->size * streams;
	return (unsigned)(n < LH_TCP_PENDING_MAX ? n : LH_TCP_PENDING_MAX);
}

int lh_tcp_listen(const struct lh_peer_config *config, struct lh_transport **ret, struct lh_err *err)
{
	struct tcp *t = calloc(1, sizeof *t);
	if (!t)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "transport");
	t->base.ops = &lh_tcp_ops;
	t->base.culprit = -1;
	t->c = config;
	t->elastic = config->membership == LH_MEMBERSHIP_ELASTIC;
	t->listen_fd = t->restless_fd = -1;
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	t->pairs = calloc(config->size, sizeof *t->pairs);
	t->unknown_max = pending_max(config);
	t->hello = (struct lh_hello){
		.rank = config->rank, .size = config->size, .fingerprint = fingerprint(config),
		.incarnation = config->incarnation,
		.streams = (uint16_t)(config->streams ? config->streams + t->elastic : 0),
	};
	for (unsigned i = 0; t->pairs && i < config->size; i++) {
		t->pairs[i].rank = i;
		t->pairs[i].messages_end = &t->pairs[i].messages;
	}
	int rc = 0;
	if (!t->pairs || t->epoll_fd < 0)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, t->pairs ? -errno : -ENOMEM, "transport");
	if (!rc)
		rc = tcp_pace_init(t, err);
	if (!rc)
		rc = open_listener(t, err);
	if (rc) {
		t->base.ops->close(&t->base);
		return rc;
	}
	*ret = &t->base;
	return 0;
}

void lh_tcp_join(struct lh_transport *base)
{
	struct tcp *t = (struct tcp *)base;
	t->joining = t->c->size > 1;
	t->progress_ns = lh_clock_ns();
	t->timer_ns = 0;
}

/* The peers of the first group, where that may change. */
static bool is_needed(const struct tcp *t, unsigned rank)
{
	return rank != t->c->rank && !(t->elastic && t->c->peers[rank].absent);
}

static bool is_ready(const struct tcp_pair *p)
{
	return p->open && !p->cold;
}

bool lh_tcp_joined(const struct lh_transport *base)
{
	const struct tcp *t = (const struct tcp *)base;
	for (unsigned i = 0; i < t->c->size; i++)
		if (is_needed(t, i) && !is_ready(&t->pairs[i]))
			return false;
	return true;
}

void tcp_join_look(struct tcp *t)
{
	if (!t->joining || !lh_tcp_joined(&t->base))
		return;
	struct lh_tcp_round join;
	t->joining = false;
	for (unsigned i = 0; i < t->c->size; i++) /* what TCP said so far is no round's */
		lh_tcp_round_info(&t->base, i, &join);
	if (t->elastic)
		return;
	/* Nobody else is awaited. Strangers are dropped by the timer, never amid a batch of events. */
	close(t->listen_fd);
	t->listen_fd = -1;
}

/* A stream of a pair is open; perhaps the last one. */
static int opened(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	struct tcp_pair *p = c->pair;
	c->state = TCP_OPEN;
	if (++p->nopen < p->nstreams)
		return tcp_conn_poll(t, c, false, c->polls_out, false);
	int rc = tcp_pair_opened(t, p, err);
	if (!rc)
		tcp_join_look(t);
	return rc;
}

/* ---- connecting ---- */

/* Not there yet, or not any more: its process may be starting. The join deadline bounds the attempts. */
int tcp_retry(struct tcp *t, struct tcp_pair *p)
{
	tcp_pair_reset(t, p, 0);
	if (t->elastic && !t->joining)
		p->backoff_ns = p->backoff_ns ? 2 * p->backoff_ns : LH_TCP_RETRY_NS;
	else
		p->backoff_ns = LH_TCP_RETRY_NS;
	if (p->backoff_ns > LH_TCP_RETRY_MAX_NS)
		p->backoff_ns = LH_TCP_RETRY_MAX_NS;
	p->retry_ns = lh_clock_ns() + p->backoff_ns;
	return 0;
}

static int draw(void *at, size_t bytes, struct lh_err *err)
{
	if (getrandom(at, bytes, 0) != (ssize_t)bytes)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "random numbers");
	return 0;
}

/* Our half of a greeting into `payload`, which is sent as it is. */
static int greet(struct tcp *t, struct tcp_conn *c, enum lh_frame_type type, struct lh_hello h, uint8_t *payload,
		 struct lh_err *err)
{
	int rc = draw(h.nonce, sizeof h.nonce, err);
	if (rc)
		return rc;
	lh_hello_print(&h, payload);
	if (type == LH_FRAME_WELCOME)
		lh_auth_welcome(t->c->secret, c->hello, payload, payload + LH_HELLO_BYTES - LH_PROOF_BYTES);
	tcp_conn_queue(c, &(struct lh_frame){ .type = type, .length = LH_HELLO_BYTES }, payload);
	return tcp_conn_write(t, c, err);
}

static int start_connecting(struct tcp *t, struct tcp_pair *p, unsigned stream, struct lh_err *err)
{
	const struct lh_peer_endpoint *to = &t->c->peers[p->rank];
	union address a;
	socklen_t len = address_of(to, &a);
	int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "peer %s: socket", to->name);
	struct tcp_conn *c = tcp_conn_new(t, TCP_CONNECTING, fd);
	if (!c) {
		close(fd);
		return tcp_retry(t, p);
	}
	c->pair = p;
	c->stream = stream;
	p->conns[stream] = c;
	tcp_option_set(t, fd);
	if ((connect(fd, &a.sa, len) && errno != EINPROGRESS) || tcp_conn_poll(t, c, true, true, true))
		return tcp_retry(t, p);
	return 0;
}

static int start_pair(struct tcp *t, struct tcp_pair *p, struct lh_err *err)
{
	if (tcp_pair_reset(t, p, 1))
		return tcp_retry(t, p);
	int rc = draw(&p->id, sizeof p->id, err);
	return rc ? rc : start_connecting(t, p, 0, err);
}

/* The first connection stands: now we know how many there will be. */
static int start_others(struct tcp *t, struct tcp_pair *p, struct lh_err *err)
{
	unsigned n = tcp_option_streams(t, p->conns[0]->fd) + t->elastic;
	struct tcp_conn **conns = realloc(p->conns, n * sizeof *conns);
	if (!conns)
		return tcp_retry(t, p);
	p->conns = conns;
	memset(conns + 1, 0, (n - 1) * sizeof *conns);
	p->nstreams = n;
	int rc = 0;
	for (unsigned i = 1; !rc && i < p->nstreams; i++)
		rc = start_connecting(t, p, i, err);
	return rc;
}

int tcp_connected(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	struct tcp_pair *p = c->pair;
	int code = 0, rc = 0;
	socklen_t len = sizeof code;
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &code, &len) || code)
		return tcp_retry(t, p);
	c->state = TCP_GREETING;
	if (!c->stream)
		rc = start_others(t, p, err);
	if (rc || c->state == TCP_GONE)
		return rc;
	struct lh_hello h = t->hello;
	h.stream = (uint16_t)c->stream;
	h.streams = (uint16_t)p->nstreams;
	h.pair = p->id;
	return greet(t, c, LH_FRAME_HELLO, h, c->hello, err);
}

/* ---- accepting ---- */

static void take_off_list(struct tcp *t, struct tcp_conn *c)
{
	for (struct tcp_conn **at = &t->unknown; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			c->next = NULL;
			t->nunknown--;
			return;
		}
}

void tcp_forget_unknown(struct tcp *t, struct tcp_conn *c)
{
	take_off_list(t, c);
	tcp_conn_discard(t, c);
}

void tcp_accept(struct tcp *t)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(t->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct tcp_conn *c = t->nunknown < t->unknown_max ? tcp_conn_new(t, TCP_ACCEPTED, fd) : NULL;
		if (!c) {
			close(fd); /* a flood; a true peer comes again */
			continue;
		}
		tcp_option_set(t, fd);
		c->next = t->unknown;
		t->unknown = c;
		t->nunknown++;
		if (tcp_conn_poll(t, c, true, false, true))
			tcp_forget_unknown(t, c);
	}
}

void tcp_refuse(struct tcp *t, struct tcp_conn *c, const char *why)
{
	size_t len = strnlen(why, LH_FRAME_TEXT_MAX);
	c->control_len = c->control_off = 0;
	tcp_conn_queue(c, &(struct lh_frame){ .type = LH_FRAME_REFUSE, .length = (uint32_t)len }, why);
	/* Best effort, at once: an empty send buffer takes 279 bytes or the connection is no good. */
	if (send(c->fd, c->control, c->control_len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		c->control_len = 0;
	c->control_len = 0;
	shutdown(c->fd, SHUT_WR);
	c->state = TCP_REFUSED;
	c->since_ns = lh_clock_ns();
}

/* May this stranger, if it is who it says, be that stream? */
static int check_claim(const struct tcp *t, const struct lh_hello *h, struct lh_err *why)
{
	int rc = lh_hello_check(h, &t->hello, why);
	if (rc)
		return rc;
	const struct tcp_pair *p = &t->pairs[h->rank];
	if (h->rank < t->c->rank)
		return lh_err_set(why, LH_EXIT_BROKE, -EINVAL, "rank %u waits for connections of rank %u", h->rank,
				  t->c->rank);
	if (t->elastic && h->incarnation < p->incarnation)
		return lh_err_set(why, LH_EXIT_BROKE, -ESTALE, "rank %u was started again since", h->rank);
	if (p->nstreams && p->id == h->pair &&
	    (h->streams != p->nstreams || p->conns[h->stream] || h->incarnation != p->incarnation))
		return lh_err_set(why, LH_EXIT_BROKE, -EEXIST, "stream %u of rank %u is connected already", h->stream,
				  h->rank);
	if (!t->elastic && p->open)
		return lh_err_set(why, LH_EXIT_BROKE, -EEXIST, "rank %u is connected already", h->rank);
	return 0;
}

/* A HELLO came in: ask for the proof. */
static int challenge(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	struct lh_hello theirs, ours = t->hello;
	struct lh_err why = LH_ERR_INIT;
	int rc = lh_hello_parse(c->small, c->reader.frame.length, &theirs, &why);
	if (!rc)
		rc = check_claim(t, &theirs, &why);
	if (rc) {
		tcp_refuse(t, c, why.text);
		return 0;
	}
	memcpy(c->hello, c->small, LH_HELLO_BYTES);
	ours.stream = theirs.stream;
	ours.streams = theirs.streams;
	ours.pair = theirs.pair;
	c->state = TCP_CHALLENGED;
	return greet(t, c, LH_FRAME_WELCOME, ours, c->welcome, err);
}

/* The first stream of an attempt: what was before it with this peer is over. */
static int adopt_pair(struct tcp *t, struct tcp_pair *p, const struct lh_hello *h, struct lh_err *err)
{
	if (p->open) {
		int rc = tcp_pair_fail(t, p, err, -ECONNRESET, h->incarnation > p->incarnation ?
				       "it was started again" : "it connected again");
		if (rc)
			return rc;
	}
	if (tcp_pair_reset(t, p, h->streams))
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "streams");
	p->id = h->pair;
	p->incarnation = h->incarnation;
	p->gone = false;
	return 0;
}

/* PROOF came in. */
static int admit(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	struct lh_hello h;
	struct lh_err why = LH_ERR_INIT;
	uint8_t expected[LH_PROOF_BYTES];
	lh_auth_proof(t->c->secret, c->hello, c->welcome, expected);
	int rc = lh_hello_parse(c->hello, LH_HELLO_BYTES, &h, &why);
	if (!rc && !lh_auth_equal(expected, c->small))
		rc = lh_err_set(&why, LH_EXIT_BROKE, -EACCES, "another run (the secrets differ)");
	if (!rc)
		rc = check_claim(t, &h, &why); /* others may have come since it was asked */
	if (rc) {
		tcp_refuse(t, c, why.text);
		return 0;
	}
	struct tcp_pair *p = &t->pairs[h.rank];
	if (!p->nstreams || p->id != h.pair)
		rc = adopt_pair(t, p, &h, err);
	if (rc)
		return rc;
	take_off_list(t, c);
	c->pair = p;
	c->stream = h.stream;
	p->conns[h.stream] = c;
	return opened(t, c, err);
}

/* ---- being welcomed ---- */

static int check_welcome(struct tcp *t, struct tcp_conn *c, struct lh_err *why)
{
	struct lh_hello h;
	struct tcp_pair *p = c->pair;
	uint8_t expected[LH_PROOF_BYTES];
	int rc = lh_hello_parse(c->small, c->reader.frame.length, &h, why);
	if (rc)
		return rc;
	memcpy(c->welcome, c->small, LH_HELLO_BYTES);
	lh_auth_welcome(t->c->secret, c->hello, c->welcome, expected);
	if (!lh_auth_equal(expected, h.proof))
		return lh_err_set(why, LH_EXIT_BROKE, -EACCES, "another run (the secrets differ)");
	rc = lh_hello_check(&h, &t->hello, why);
	if (!rc && h.rank != p->rank)
		rc = lh_err_set(why, LH_EXIT_BROKE, -EINVAL, "rank %u answers at the address of rank %u", h.rank, p->rank);
	if (!rc && (h.pair != p->id || h.stream != c->stream || h.streams != p->nstreams))
		rc = lh_err_set(why, LH_EXIT_BROKE, -EPROTO, "the answer is to another greeting");
	if (!rc && p->nopen && h.incarnation != p->incarnation)
		rc = lh_err_set(why, LH_EXIT_BROKE, -EPROTO, "it was started again between two streams");
	if (!rc)
		p->incarnation = h.incarnation;
	return rc;
}

/* The peer is there and does not want us, or is not the one it should be: waiting does not help. */
static int unwelcome(struct tcp *t, struct tcp_pair *p, struct lh_err *err, int code, const char *why)
{
	t->base.culprit = (int)p->rank;
	return lh_err_set(err, LH_EXIT_BROKE, code, "peer %s: %s", t->c->peers[p->rank].name, why);
}

/* WELCOME or REFUSE came back. */
static int welcomed(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	struct tcp_pair *p = c->pair;
	struct lh_err why = LH_ERR_INIT;
	char text[LH_FRAME_TEXT_MAX + 1], all[LH_FRAME_TEXT_MAX + 32];
	uint8_t proof[LH_PROOF_BYTES];
	if (c->reader.frame.type == LH_FRAME_REFUSE) {
		lh_text_parse(c->small, c->reader.frame.length, text);
		snprintf(all, sizeof all, "refused this peer: %s", text);
		return unwelcome(t, p, err, -ECONNREFUSED, all);
	}
	int rc = check_welcome(t, c, &why);
	if (rc)
		return unwelcome(t, p, err, rc, why.text);
	lh_auth_proof(t->c->secret, c->hello, c->welcome, proof);
	tcp_conn_queue(c, &(struct lh_frame){ .type = LH_FRAME_PROOF, .length = sizeof proof }, proof);
	rc = tcp_conn_write(t, c, err);
	return rc ? rc : opened(t, c, err);
}

int tcp_join_frame(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	enum lh_frame_type type = c->reader.frame.type;
	if (c->state == TCP_ACCEPTED && type == LH_FRAME_HELLO)
		return challenge(t, c, err);
	if (c->state == TCP_CHALLENGED && type == LH_FRAME_PROOF)
		return admit(t, c, err);
	if ((c->state == TCP_GREETING && type == LH_FRAME_WELCOME) ||
	    ((c->state == TCP_GREETING || c->state == TCP_OPEN) && type == LH_FRAME_REFUSE))
		return welcomed(t, c, err);
	if (c->state == TCP_LEFT)
		return 0;
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "frame of type %d before the greeting", (int)type);
}

/* ---- time ---- */

static int nobody_new(struct tcp *t, struct lh_err *err)
{
	unsigned missing = 0;
	while (!is_needed(t, missing) || is_ready(&t->pairs[missing]))
		missing++;
	char limit[32];
	t->base.culprit = (int)missing;
	return lh_err_set(err, LH_EXIT_BROKE, -ETIMEDOUT, "peer %s: not reached at %s port %u within %s",
			  t->c->peers[missing].name, t->c->peers[missing].host, t->c->peers[missing].port,
			  lh_ns_print(t->c->deadline_ns, limit, sizeof limit));
}

/* An attempt that hangs, since the other side is cut off or its process is stuck. */
static bool is_stuck(const struct tcp *t, const struct tcp_pair *p, lh_ns now_ns)
{
	return t->elastic && !p->open && p->nstreams && p->conns[0] &&
	       now_ns - p->conns[0]->since_ns > t->c->deadline_ns / 2;
}

int tcp_join_timer(struct tcp *t, lh_ns now_ns, struct lh_err *err)
{
	for (struct tcp_conn *c = t->unknown, *next; c; c = next) {
		next = c->next;
		lh_ns limit = c->state == TCP_REFUSED ? LH_TCP_REFUSED_NS :
			      t->joining || t->elastic ? t->c->deadline_ns : 0;
		if (now_ns - c->since_ns > limit)
			tcp_forget_unknown(t, c);
	}
	if (!t->joining && !t->elastic)
		return 0;
	/* Who comes to a group that is there already waits as long as its owner likes. */
	if (t->joining && !(t->elastic && (t->c->absent || t->c->incarnation)) && now_ns - t->progress_ns > t->c->deadline_ns)
		return nobody_new(t, err);
	int rc = 0;
	for (unsigned i = 0; !rc && !t->leaving && i < t->c->size; i++) {
		struct tcp_pair *p = &t->pairs[i];
		if (is_stuck(t, p, now_ns))
			tcp_retry(t, p);
		if (i < t->c->rank && !p->nstreams && !p->gone && p->retry_ns <= now_ns)
			rc = start_pair(t, p, err);
	}
	return rc;
}
