#include "store/server.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

#include "comm/auth.h"
#include "data/source.h"
#include "engine.h"
#include "hash.h"
#include "store/address.h"
#include "store/wire.h"

enum { GREETING_S = 10 };

struct server {
	const struct lh_peer_config *c;
	struct lh_source *source; /* NULL: samples without content */
	uint64_t sample_bytes, items;
	unsigned connections_max;
	int fd;
	_Atomic unsigned connections;
	/* Who is still there when the server ends is shut down. */
	pthread_mutex_t lock;
	struct conn *first;
};

struct conn {
	struct server *s;
	struct conn *next;
	int fd;
	uint8_t *sample; /* [sample_bytes], behind it the source's scratch */
	uint8_t hello[LH_HELLO_BYTES], welcome[LH_HELLO_BYTES];
};

/* ---- bytes ---- */

/* false: it is gone, or silent. */
static bool receive_all(const struct conn *c, void *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = recv(c->fd, (uint8_t *)bytes + done, len - done, 0);
		if (n <= 0 && !(n < 0 && errno == EINTR))
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool send_all(const struct conn *c, const void *bytes, size_t len, int flags)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = send(c->fd, (const uint8_t *)bytes + done, len - done, MSG_NOSIGNAL | flags);
		if (n <= 0 && !(n < 0 && errno == EINTR))
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool send_frame(const struct conn *c, enum lh_store_type type, const void *payload, size_t len)
{
	uint8_t header[LH_STORE_HEADER];
	lh_store_frame_print(type, (uint32_t)len, header);
	return send_all(c, header, sizeof header, MSG_MORE) && send_all(c, payload, len, 0);
}

static bool refuse(const struct conn *c, const char *why)
{
	size_t len = strlen(why);
	send_frame(c, LH_STORE_REFUSE, why, len < LH_STORE_TEXT_MAX ? len : LH_STORE_TEXT_MAX);
	return false;
}

/* A frame of that type, its payload into `to`, which has room for the largest of it. false: refused, or gone. */
static bool receive_frame(const struct conn *c, enum lh_store_type wanted, uint8_t *to, uint32_t *ret_len)
{
	uint8_t header[LH_STORE_HEADER];
	struct lh_err why = LH_ERR_INIT;
	enum lh_store_type type;
	if (!receive_all(c, header, sizeof header))
		return false;
	if (lh_store_frame_parse(header, c->s->sample_bytes, &type, ret_len, &why))
		return refuse(c, why.text);
	if (type != wanted)
		return refuse(c, "that frame does not belong here");
	return receive_all(c, to, *ret_len);
}

/* ---- greeting ---- */

static int check_claim(const struct server *s, const uint8_t hello[LH_HELLO_BYTES], struct lh_err *why)
{
	struct lh_hello h;
	int rc = lh_hello_parse(hello, LH_HELLO_BYTES, &h, why);
	if (rc)
		return rc;
	if (h.size != s->c->size || h.rank >= s->c->size)
		return lh_err_set(why, LH_EXIT_BROKE, -EINVAL, "rank %u of %u peers; this run has %u", h.rank, h.size, s->c->size);
	if (h.fingerprint != lh_store_fingerprint(s->c, s->sample_bytes))
		return lh_err_set(why, LH_EXIT_BROKE, -EINVAL, "other samples (model, data, seed or bytes of a sample differ)");
	return 0;
}

static bool greet(struct conn *c)
{
	struct lh_hello ours = { .rank = c->s->c->size, .size = c->s->c->size, .streams = 1,
				 .fingerprint = lh_store_fingerprint(c->s->c, c->s->sample_bytes) };
	struct lh_err why = LH_ERR_INIT;
	uint8_t proof[LH_PROOF_BYTES], expected[LH_PROOF_BYTES];
	uint32_t len;
	if (!receive_frame(c, LH_STORE_HELLO, c->hello, &len))
		return false;
	if (check_claim(c->s, c->hello, &why))
		return refuse(c, why.text);
	if (getrandom(ours.nonce, sizeof ours.nonce, 0) != sizeof ours.nonce)
		return refuse(c, "no random numbers");
	lh_hello_print(&ours, c->welcome);
	lh_auth_welcome(c->s->c->secret, c->hello, c->welcome, c->welcome + LH_HELLO_BYTES - LH_PROOF_BYTES);
	if (!send_frame(c, LH_STORE_WELCOME, c->welcome, LH_HELLO_BYTES) || !receive_frame(c, LH_STORE_PROOF, proof, &len))
		return false;
	lh_auth_proof(c->s->c->secret, c->hello, c->welcome, expected);
	return lh_auth_equal(expected, proof) || refuse(c, "another run (the secrets differ)");
}

/* ---- samples ---- */

/* Behind the larger of what is made and what is sent. */
static size_t scratch_at(const struct server *s)
{
	const uint64_t stored = s->source ? s->source->stored_bytes : 0;
	return ((size_t)(stored > s->sample_bytes ? stored : s->sample_bytes) + 63) / 64 * 64;
}

/* What is sent and not the sample's is 0. */
static void make_sample(struct conn *c, uint64_t item)
{
	const struct server *s = c->s;
	if (s->source)
		lh_source_stored(s->source, item, c->sample, c->sample + scratch_at(s));
	else
		for (unsigned i = 0; i < 8 && i < s->sample_bytes; i++)
			c->sample[i] = (uint8_t)(lh_mix64(item) >> 8 * i);
}

static bool serve(struct conn *c)
{
	uint8_t wish[8 * LH_STORE_WANT_MAX], head[LH_STORE_HEADER + LH_STORE_SAMPLE_HEADER];
	uint64_t items[LH_STORE_WANT_MAX];
	const uint64_t bytes = c->s->sample_bytes;
	struct lh_err why = LH_ERR_INIT;
	uint32_t len;
	size_t n;
	if (!receive_frame(c, LH_STORE_WANT, wish, &len))
		return false;
	if (lh_store_want_parse(wish, len, c->s->items, items, &n, &why))
		return refuse(c, why.text);
	for (size_t i = 0; i < n; i++) {
		make_sample(c, items[i]);
		lh_store_frame_print(LH_STORE_SAMPLE, (uint32_t)(LH_STORE_SAMPLE_HEADER + bytes), head);
		lh_store_sample_print(items[i], lh_store_hash(items[i], c->sample, (size_t)bytes), head + LH_STORE_HEADER);
		if (!send_all(c, head, sizeof head, MSG_MORE) || !send_all(c, c->sample, (size_t)bytes, i + 1 < n ? MSG_MORE : 0))
			return false;
	}
	return true;
}

static void *conn_main(void *arg)
{
	struct conn *c = arg, **at;
	struct server *s = c->s;
	const struct timeval greeting = { .tv_sec = GREETING_S }, none = { 0 };
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &greeting, sizeof greeting);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	bool good = greet(c);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
	while (good)
		good = serve(c);
	pthread_mutex_lock(&s->lock);
	for (at = &s->first; *at != c; at = &(*at)->next)
		;
	*at = c->next;
	pthread_mutex_unlock(&s->lock);
	close(c->fd);
	free(c->sample);
	free(c);
	s->connections--;
	return NULL;
}

/* Whoever cannot be served is sent away. */
static void admit(struct server *s)
{
	struct conn *c = calloc(1, sizeof *c);
	pthread_attr_t attr;
	pthread_t thread;
	const int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
	uint8_t *sample = fd >= 0 && c && s->connections < s->connections_max ? calloc(1, scratch_at(s) + (s->source ? s->source->scratch_bytes : 0)) : NULL;
	if (!sample) {
		if (fd >= 0)
			close(fd);
		free(c);
		return;
	}
	*c = (struct conn){ .s = s, .fd = fd, .sample = sample };
	pthread_mutex_lock(&s->lock);
	c->next = s->first;
	s->first = c;
	pthread_mutex_unlock(&s->lock);
	s->connections++;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, conn_main, c)) {
		pthread_mutex_lock(&s->lock);
		s->first = c->next; /* nobody else adds any */
		pthread_mutex_unlock(&s->lock);
		s->connections--;
		close(fd);
		free(sample);
		free(c);
	}
	pthread_attr_destroy(&attr);
}

/* ---- the process ---- */

static int tell(const struct lh_train_io *io, struct lh_event *e, struct lh_err *err)
{
	char line[LH_EVENT_LINE_MAX];
	e->t_ns = lh_clock_ns();
	int len = lh_event_print(e, line, sizeof line);
	if (len < 0 || write(io->event_fd, line, (size_t)len) != len)
		return lh_err_sys(err, LH_EXIT_BROKE, len < 0 ? len : -errno, "write an event");
	return 0;
}

static int open_listener(struct server *s, struct lh_err *err)
{
	union lh_store_address a;
	const socklen_t len = lh_store_address_of(&s->c->store, &a);
	s->fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "socket");
	setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(s->fd, &a.any, len) || listen(s->fd, 128))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "store %s: %s, port %u", s->c->store.name, s->c->store.host,
				  s->c->store.port);
	return 0;
}

/* 1: the end was asked for. */
static int turn(struct server *s, const struct lh_train_io *io, int *ret_signal, struct lh_err *err)
{
	struct pollfd fds[] = {
		{ .fd = s->fd, .events = POLLIN }, { .fd = io->control_fd, .events = POLLIN },
		{ .fd = io->signal_fd, .events = POLLIN },
	};
	struct signalfd_siginfo info;
	char command;
	if (poll(fds, sizeof fds / sizeof *fds, -1) < 0 && errno != EINTR)
		return lh_err_sys(err, LH_EXIT_BROKE, -errno, "poll");
	if (fds[0].revents)
		admit(s);
	if (fds[2].revents && read(io->signal_fd, &info, sizeof info) == sizeof info) {
		*ret_signal = (int)info.ssi_signo;
		return lh_err_set(err, LH_EXIT_BROKE, -EINTR, "store %s: stopped by SIG%s", s->c->store.name,
				  sigabbrev_np(*ret_signal));
	}
	if (fds[1].revents)
		return read(io->control_fd, &command, 1) <= 0 || command == LH_CONTROL_STOP;
	return 0;
}

/* Their threads use what goes then. */
static void dismiss(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	for (struct conn *c = s->first; c; c = c->next)
		shutdown(c->fd, SHUT_RDWR);
	pthread_mutex_unlock(&s->lock);
	while (s->connections)
		poll(NULL, 0, 1);
}

static int open_server(struct server *s, const struct lh_engine_ops *engine, struct lh_err *err)
{
	int rc = 0;
	if (!*s->c->store.host)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "the configuration has no store");
	if (engine->open_source)
		rc = engine->open_source(s->c, &s->source, err);
	if (rc)
		return rc;
	s->sample_bytes = s->c->store.sample_bytes ? s->c->store.sample_bytes : s->source->stored_bytes;
	s->items = s->source ? s->source->items : s->c->data_samples;
	return open_listener(s, err);
}

int lh_store_serve(const struct lh_peer_config *c, const struct lh_engine_ops *engine, const struct lh_train_io *io,
		   int *ret_signal, struct lh_err *err)
{
	struct server s = { .c = c, .fd = -1, .connections_max = 2 * c->size + 16, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct lh_err own = LH_ERR_INIT;
	int rc = open_server(&s, engine, &own);
	if (!rc)
		rc = tell(io, &(struct lh_event){ .kind = LH_EVENT_LISTENING }, &own);
	while (!rc)
		rc = turn(&s, io, ret_signal, &own);
	dismiss(&s);
	if (rc > 0) {
		rc = tell(io, &(struct lh_event){ .kind = LH_EVENT_FINISHED }, &own);
	} else {
		struct lh_event e = { .kind = LH_EVENT_FAILED, .culprit = -1 };
		memcpy(e.reason, own.text, strnlen(own.text, sizeof e.reason - 1));
		tell(io, &e, NULL);
	}
	if (rc && err)
		*err = own;
	if (s.fd >= 0)
		close(s.fd);
	lh_source_close(s.source);
	return rc;
}
