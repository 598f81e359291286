/* See client.h. The lock guards everything but the socket, the cache and what is being received, which are the thread's alone,
 * and the bytes of places that are held, which are the owner's. */
#include "store/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "comm/auth.h"
#include "data/shard.h"
#include "hash.h"
#include "store/address.h"
#include "store/cache.h"
#include "store/wire.h"

#define RETRY_NS (100 * LH_NS_PER_MS)
enum { ASKED_MAX = 1024, PIECE = 65536, AHEAD_MAX = 65536 };
enum { STREAM_ORDER = 2 }; /* data/source.c's */

struct lh_store_client {
	const struct lh_peer_config *c;
	const struct lh_source *source;
	uint64_t sample_bytes, order;
	size_t kept;                /* bytes of each that are held */
	pthread_t thread;
	int changed_fd, kick_fd;    /* the thread tells the owner; the owner tells the thread */
	bool running;
	/* the thread's */
	int fd;
	struct lh_cache *cache;     /* NULL: none */
	struct { size_t place; uint64_t item; } asked[ASKED_MAX]; /* a ring: what has not come yet */
	size_t asked_at, nasked;
	uint8_t head[LH_STORE_HEADER + LH_STORE_SAMPLE_HEADER], *piece;
	uint64_t got;               /* of the frame that is being received, header included */
	struct lh_hash64_state hash;
	lh_ns byte_ns;              /* the last one came, or the first of what is outstanding was asked for */
	/* under the lock */
	pthread_mutex_t lock;
	struct lh_ahead *ahead;
	uint8_t *bytes;             /* [window][kept] */
	uint64_t *items;            /* [window] */
	struct lh_store_counts counts;
	bool joined, stop;
	int rc;
	struct lh_err err;
};

static void ring(int fd)
{
	(void)!write(fd, &(uint64_t){ 1 }, sizeof(uint64_t));
}

static void fail(struct lh_store_client *cl, int rc, const struct lh_err *why)
{
	pthread_mutex_lock(&cl->lock);
	cl->rc = rc;
	cl->err = *why;
	pthread_mutex_unlock(&cl->lock);
	ring(cl->changed_fd);
}

static bool is_stopped(struct lh_store_client *cl)
{
	pthread_mutex_lock(&cl->lock);
	const bool stop = cl->stop;
	pthread_mutex_unlock(&cl->lock);
	return stop;
}

/* Wait for the socket or a kick, until then. Takes kicks away. */
static void wait_for(struct lh_store_client *cl, short events, lh_ns until_ns)
{
	struct pollfd fds[] = { { .fd = cl->kick_fd, .events = POLLIN }, { .fd = cl->fd, .events = events } };
	lh_ns left = until_ns - lh_clock_ns();
	uint64_t kicks;
	left = left < 0 ? 0 : left;
	const struct timespec ts = { .tv_sec = left / LH_NS_PER_S, .tv_nsec = left % LH_NS_PER_S };
	if (ppoll(fds, cl->fd < 0 ? 1 : 2, &ts, NULL) > 0 && fds[0].revents)
		(void)!read(cl->kick_fd, &kicks, sizeof kicks);
}

static int lost(struct lh_store_client *cl, const char *why, struct lh_err *err)
{
	return lh_err_set(err, LH_EXIT_BROKE, -ECONNRESET, "store %s: %s", cl->c->store.name, why);
}

static int silent(struct lh_store_client *cl, struct lh_err *err)
{
	return lh_err_set(err, LH_EXIT_BROKE, -ETIMEDOUT, "store %s: no byte for %.3g s (deadline)", cl->c->store.name,
			  (double)cl->c->deadline_ns / 1e9);
}

/* ---- connecting ---- */

static int connect_once(struct lh_store_client *cl, lh_ns until_ns, struct lh_err *err)
{
	union lh_store_address a;
	const socklen_t len = lh_store_address_of(&cl->c->store, &a);
	cl->fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (cl->fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "socket");
	if (connect(cl->fd, &a.any, len) && errno != EINPROGRESS)
		return -errno;
	for (int error = 0;;) {
		struct pollfd p = { .fd = cl->fd, .events = POLLOUT };
		socklen_t size = sizeof error;
		wait_for(cl, POLLOUT, until_ns);
		if (is_stopped(cl) || lh_clock_ns() >= until_ns)
			return -ETIMEDOUT;
		if (poll(&p, 1, 0) <= 0)
			continue;
		if (getsockopt(cl->fd, SOL_SOCKET, SO_ERROR, &error, &size))
			return -errno;
		return -error;
	}
}

/* It may not be there yet. */
static int connect_store(struct lh_store_client *cl, struct lh_err *err)
{
	const lh_ns until = lh_clock_ns() + cl->c->deadline_ns;
	int rc, last = -ETIMEDOUT;
	while ((rc = connect_once(cl, until, err)) < 0 && lh_clock_ns() < until && !is_stopped(cl)) {
		if (cl->fd >= 0)
			close(cl->fd);
		cl->fd = -1;
		last = rc == -ETIMEDOUT ? last : rc;
		wait_for(cl, 0, lh_clock_ns() + RETRY_NS);
	}
	if (rc)
		return lh_err_sys(err, LH_EXIT_BROKE, rc == -ETIMEDOUT ? last : rc, "store %s at %s", cl->c->store.name,
				  cl->c->store.host);
	setsockopt(cl->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	return 0;
}

static int send_all(struct lh_store_client *cl, const void *bytes, size_t len, struct lh_err *err)
{
	const lh_ns until = lh_clock_ns() + cl->c->deadline_ns;
	for (size_t done = 0; done < len;) {
		ssize_t n = send(cl->fd, (const uint8_t *)bytes + done, len - done, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return lh_err_sys(err, LH_EXIT_BROKE, -errno, "store %s", cl->c->store.name);
		done += n > 0 ? (size_t)n : 0;
		if (n < 0 && lh_clock_ns() > until)
			return silent(cl, err);
		if (n < 0)
			wait_for(cl, POLLOUT, until);
		if (is_stopped(cl))
			return -ECANCELED;
	}
	pthread_mutex_lock(&cl->lock);
	cl->counts.bytes_sent += len;
	pthread_mutex_unlock(&cl->lock);
	return 0;
}

/* What there is, at most `len`; 0: nothing now. */
static ssize_t receive(struct lh_store_client *cl, void *bytes, size_t len, struct lh_err *err)
{
	ssize_t n = recv(cl->fd, bytes, len, 0);
	if (n == 0)
		return lost(cl, "it closed the connection", err);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return lh_err_sys(err, LH_EXIT_BROKE, -errno, "store %s", cl->c->store.name);
	if (n < 0)
		return 0;
	cl->byte_ns = lh_clock_ns();
	pthread_mutex_lock(&cl->lock);
	cl->counts.bytes_received += (uint64_t)n;
	pthread_mutex_unlock(&cl->lock);
	return n;
}

static int receive_all(struct lh_store_client *cl, void *bytes, size_t len, struct lh_err *err)
{
	cl->byte_ns = lh_clock_ns();
	for (size_t done = 0; done < len;) {
		ssize_t n = receive(cl, (uint8_t *)bytes + done, len - done, err);
		if (n < 0)
			return (int)n;
		done += (size_t)n;
		if (!n && lh_clock_ns() - cl->byte_ns > cl->c->deadline_ns)
			return silent(cl, err);
		if (!n)
			wait_for(cl, POLLIN, cl->byte_ns + cl->c->deadline_ns);
		if (is_stopped(cl))
			return -ECANCELED;
	}
	return 0;
}

static int send_frame(struct lh_store_client *cl, enum lh_store_type type, const void *payload, size_t len, struct lh_err *err)
{
	uint8_t frame[LH_STORE_HEADER + 8 * LH_STORE_WANT_MAX];
	lh_store_frame_print(type, (uint32_t)len, frame);
	memcpy(frame + LH_STORE_HEADER, payload, len);
	return send_all(cl, frame, LH_STORE_HEADER + len, err);
}

/* The answer to a HELLO. */
static int receive_welcome(struct lh_store_client *cl, uint8_t welcome[LH_HELLO_BYTES], struct lh_err *err)
{
	uint8_t header[LH_STORE_HEADER], payload[LH_STORE_TEXT_MAX];
	char text[LH_STORE_TEXT_MAX + 1];
	enum lh_store_type type;
	uint32_t len;
	int rc = receive_all(cl, header, sizeof header, err);
	if (!rc)
		rc = lh_store_frame_parse(header, cl->sample_bytes, &type, &len, err);
	if (!rc && type != LH_STORE_WELCOME && type != LH_STORE_REFUSE)
		rc = lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "a frame of type %d came as greeting", (int)type);
	if (!rc)
		rc = receive_all(cl, payload, len, err);
	if (rc)
		return rc;
	if (type == LH_STORE_WELCOME) {
		memcpy(welcome, payload, LH_HELLO_BYTES);
		return 0;
	}
	lh_text_parse(payload, len, text);
	return lh_err_set(err, LH_EXIT_BROKE, -EACCES, "it refuses: %s", text);
}

static int greet(struct lh_store_client *cl, struct lh_err *err)
{
	struct lh_hello h = { .rank = cl->c->rank, .size = cl->c->size, .incarnation = cl->c->incarnation, .streams = 1,
			      .fingerprint = lh_store_fingerprint(cl->c, cl->sample_bytes) };
	uint8_t hello[LH_HELLO_BYTES], welcome[LH_HELLO_BYTES], proof[LH_PROOF_BYTES];
	if (getrandom(h.nonce, sizeof h.nonce, 0) != sizeof h.nonce)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "random numbers");
	lh_hello_print(&h, hello);
	int rc = send_frame(cl, LH_STORE_HELLO, hello, sizeof hello, err);
	if (!rc)
		rc = receive_welcome(cl, welcome, err);
	if (rc)
		return rc;
	lh_auth_welcome(cl->c->secret, hello, welcome, proof);
	if (!lh_auth_equal(proof, welcome + LH_HELLO_BYTES - LH_PROOF_BYTES))
		return lh_err_set(err, LH_EXIT_BROKE, -EACCES, "it is another run's (the secrets differ)");
	lh_auth_proof(cl->c->secret, hello, welcome, proof);
	return send_frame(cl, LH_STORE_PROOF, proof, sizeof proof, err);
}

/* ---- asking ---- */

static uint64_t item_of(const struct lh_store_client *cl, uint64_t id)
{
	if (cl->source)
		return lh_source_item_of(cl->source, id);
	return cl->c->data_samples ? lh_shard_item(cl->order, cl->c->data_samples, id) : id;
}

/* Everything that fits into the window: from the cache at once, the rest is listed. */
static size_t choose(struct lh_store_client *cl, uint64_t *items)
{
	size_t n = 0, place, cached = 0;
	const void *bytes;
	uint64_t id;
	pthread_mutex_lock(&cl->lock);
	while (n < LH_STORE_WANT_MAX && cl->nasked < ASKED_MAX && lh_ahead_next(cl->ahead, &id, &place)) {
		const uint64_t item = cl->items[place] = item_of(cl, id);
		if (cl->cache && lh_cache_find(cl->cache, item, &bytes)) {
			if (cl->kept)
				memcpy(cl->bytes + place * cl->kept, bytes, cl->kept);
			lh_ahead_here(cl->ahead, place);
			cached++;
			continue;
		}
		const size_t at = (cl->asked_at + cl->nasked++) % ASKED_MAX;
		cl->asked[at].place = place;
		cl->asked[at].item = items[n++] = item;
	}
	cl->counts.cached += cached;
	pthread_mutex_unlock(&cl->lock);
	if (cached)
		ring(cl->changed_fd);
	return n;
}

static int ask(struct lh_store_client *cl, struct lh_err *err)
{
	uint64_t items[LH_STORE_WANT_MAX];
	uint8_t payload[8 * LH_STORE_WANT_MAX];
	int rc = 0;
	for (size_t n; !rc && (n = choose(cl, items));) {
		if (cl->nasked == n)
			cl->byte_ns = lh_clock_ns();
		rc = send_frame(cl, LH_STORE_WANT, payload, lh_store_want_print(items, n, payload), err);
	}
	return rc;
}

/* ---- receiving ---- */

enum { HEAD = LH_STORE_HEADER + LH_STORE_SAMPLE_HEADER };

static int head_came(struct lh_store_client *cl, struct lh_err *err)
{
	enum lh_store_type type;
	uint32_t len;
	uint64_t item, hash;
	int rc = lh_store_frame_parse(cl->head, cl->sample_bytes, &type, &len, err);
	if (rc)
		return rc;
	lh_store_sample_parse(cl->head + LH_STORE_HEADER, &item, &hash);
	if (type != LH_STORE_SAMPLE || !cl->nasked || item != cl->asked[cl->asked_at].item)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "what came was not asked for");
	lh_hash64_init(&cl->hash, item);
	return 0;
}

static int sample_came(struct lh_store_client *cl, struct lh_err *err)
{
	const size_t place = cl->asked[cl->asked_at].place;
	uint64_t item, hash;
	lh_store_sample_parse(cl->head + LH_STORE_HEADER, &item, &hash);
	if (lh_hash64_final(&cl->hash) != hash)
		return lh_err_set(err, LH_EXIT_BROKE, -EBADMSG, "item %llu is not what its hash says", (unsigned long long)item);
	if (cl->cache)
		lh_cache_add(cl->cache, item, cl->bytes + place * cl->kept);
	cl->asked_at = (cl->asked_at + 1) % ASKED_MAX;
	cl->nasked--;
	cl->got = 0;
	pthread_mutex_lock(&cl->lock);
	lh_ahead_here(cl->ahead, place);
	cl->counts.samples++;
	pthread_mutex_unlock(&cl->lock);
	ring(cl->changed_fd);
	return 0;
}

/* Where the next byte of a sample goes, and how many of them. */
static uint8_t *target(struct lh_store_client *cl, size_t *ret_len)
{
	const uint64_t at = cl->got - HEAD, left = cl->sample_bytes - at;
	if (at < cl->kept) {
		*ret_len = cl->kept - (size_t)at;
		return cl->bytes + cl->asked[cl->asked_at].place * cl->kept + at;
	}
	*ret_len = left < PIECE ? (size_t)left : PIECE;
	return cl->piece;
}

/* One read, and what follows of it. 0: nothing was there. */
static int advance(struct lh_store_client *cl, struct lh_err *err)
{
	const bool in_head = cl->got < HEAD;
	size_t len = in_head ? (size_t)(HEAD - cl->got) : 0;
	uint8_t *to = in_head ? cl->head + cl->got : target(cl, &len);
	ssize_t n = receive(cl, to, len, err);
	if (n <= 0)
		return (int)n;
	if (!in_head && cl->got - HEAD < LH_STORE_HASHED_MAX) {
		const uint64_t room = LH_STORE_HASHED_MAX - (cl->got - HEAD);
		lh_hash64_update(&cl->hash, to, (uint64_t)n < room ? (size_t)n : (size_t)room);
	}
	cl->got += (uint64_t)n;
	int rc = in_head && cl->got == HEAD ? head_came(cl, err) : 0;
	if (!rc && cl->got == HEAD + cl->sample_bytes)
		rc = sample_came(cl, err);
	return rc ? rc : 1;
}

static int talk(struct lh_store_client *cl, struct lh_err *err)
{
	int rc = 0;
	while (!rc && !is_stopped(cl)) {
		rc = ask(cl, err);
		if (rc)
			break;
		const lh_ns until = cl->nasked ? cl->byte_ns + cl->c->deadline_ns : INT64_MAX / 2;
		wait_for(cl, POLLIN, until);
		/* Places that became free are asked for again between two samples, not when all have come. */
		do
			rc = advance(cl, err);
		while (rc > 0 && cl->got);
		rc = rc > 0 ? 0 : rc;
		if (!rc && cl->nasked && lh_clock_ns() - cl->byte_ns > cl->c->deadline_ns)
			rc = silent(cl, err);
	}
	return rc;
}

static void *thread_main(void *arg)
{
	struct lh_store_client *cl = arg;
	struct lh_err err = LH_ERR_INIT;
	char prefix[48];
	int rc = connect_store(cl, &err);
	if (!rc)
		rc = greet(cl, &err);
	if (!rc) {
		pthread_mutex_lock(&cl->lock);
		cl->joined = true;
		pthread_mutex_unlock(&cl->lock);
		ring(cl->changed_fd);
		rc = talk(cl, &err);
	}
	if (rc && !is_stopped(cl)) {
		snprintf(prefix, sizeof prefix, "store %s", cl->c->store.name);
		if (strncmp(err.text, prefix, strlen(prefix)) != 0)
			lh_err_wrap(&err, "%s", prefix);
		fail(cl, rc, &err);
	}
	return NULL;
}

/* ---- the owner's side ---- */

void lh_store_client_close(struct lh_store_client *cl)
{
	if (!cl)
		return;
	if (cl->running) {
		pthread_mutex_lock(&cl->lock);
		cl->stop = true;
		pthread_mutex_unlock(&cl->lock);
		ring(cl->kick_fd);
		pthread_join(cl->thread, NULL);
	}
	if (cl->fd >= 0)
		close(cl->fd);
	if (cl->changed_fd >= 0)
		close(cl->changed_fd);
	if (cl->kick_fd >= 0)
		close(cl->kick_fd);
	pthread_mutex_destroy(&cl->lock);
	lh_ahead_free(cl->ahead);
	lh_cache_free(cl->cache);
	free(cl->bytes);
	free(cl->items);
	free(cl->piece);
	free(cl);
}

static int open_room(struct lh_store_client *cl, struct lh_err *err)
{
	const struct lh_peer_config *c = cl->c;
	const uint64_t ahead = (uint64_t)c->store.prefetch * c->microbatch;
	const size_t window = (size_t)(ahead < AHEAD_MAX ? ahead : AHEAD_MAX) + c->microbatch;
	int rc = lh_ahead_new(window, &cl->ahead, err);
	if (!rc && c->store.cache_bytes)
		rc = lh_cache_new(c->store.cache_bytes, cl->sample_bytes, cl->kept, &cl->cache, err);
	if (rc)
		return rc;
	cl->bytes = malloc(window * cl->kept + 1);
	cl->items = calloc(window, sizeof *cl->items);
	cl->piece = malloc(PIECE);
	if (!cl->bytes || !cl->items || !cl->piece)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "samples read ahead: %zu of %zu bytes", window, cl->kept);
	return 0;
}

int lh_store_client_open(const struct lh_peer_config *c, const struct lh_source *s, struct lh_store_client **ret,
			 struct lh_err *err)
{
	struct lh_store_client *cl = calloc(1, sizeof *cl);
	if (!cl)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "store %s", c->store.name);
	*cl = (struct lh_store_client){ .c = c, .source = s, .fd = -1,
					.order = lh_mix64(c->seed ^ lh_mix64(STREAM_ORDER)) };
	cl->sample_bytes = c->store.sample_bytes ? c->store.sample_bytes : s ? s->stored_bytes : 0;
	cl->kept = s && s->stored_bytes <= cl->sample_bytes ? s->stored_bytes : 0;
	pthread_mutex_init(&cl->lock, NULL);
	cl->changed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	cl->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = cl->changed_fd < 0 || cl->kick_fd < 0 ? lh_err_sys(err, LH_EXIT_MACHINE, -errno, "eventfd") : open_room(cl, err);
	if (!rc) {
		rc = -pthread_create(&cl->thread, NULL, thread_main, cl);
		cl->running = !rc;
		rc = rc ? lh_err_sys(err, LH_EXIT_MACHINE, rc, "thread that reads samples") : 0;
	}
	if (rc)
		lh_store_client_close(cl);
	else
		*ret = cl;
	return rc;
}

int lh_store_client_fd(const struct lh_store_client *cl) { return cl->changed_fd; }

bool lh_store_client_feeds(const struct lh_store_client *cl) { return cl->kept > 0; }

static int failed(struct lh_store_client *cl, struct lh_err *err)
{
	if (cl->rc && err)
		*err = cl->err;
	return cl->rc;
}

int lh_store_client_joined(struct lh_store_client *cl, struct lh_err *err)
{
	uint64_t rings;
	(void)!read(cl->changed_fd, &rings, sizeof rings);
	pthread_mutex_lock(&cl->lock);
	int rc = failed(cl, err);
	rc = rc ? rc : cl->joined;
	pthread_mutex_unlock(&cl->lock);
	return rc;
}

int lh_store_client_expect(struct lh_store_client *cl, const struct lh_id_range *ranges, size_t n, struct lh_err *err)
{
	pthread_mutex_lock(&cl->lock);
	int rc = lh_ahead_expect(cl->ahead, ranges, n, err);
	pthread_mutex_unlock(&cl->lock);
	ring(cl->kick_fd);
	return rc;
}

int lh_store_client_have(struct lh_store_client *cl, uint64_t first, size_t n, struct lh_err *err)
{
	uint64_t rings;
	(void)!read(cl->changed_fd, &rings, sizeof rings); /* before looking, so that no change is missed */
	pthread_mutex_lock(&cl->lock);
	int rc = lh_ahead_need(cl->ahead, first, n) ? 1 : failed(cl, err);
	pthread_mutex_unlock(&cl->lock);
	ring(cl->kick_fd); /* what was held makes room */
	return rc;
}

const void *lh_store_client_item(void *ctx, uint64_t item)
{
	const struct lh_store_client *cl = ctx;
	const size_t *places, n = lh_ahead_held(cl->ahead, &places);
	for (size_t i = 0; i < n; i++)
		if (cl->items[places[i]] == item)
			return cl->bytes + places[i] * cl->kept;
	return NULL;
}

void lh_store_client_counts(struct lh_store_client *cl, struct lh_store_counts *ret)
{
	pthread_mutex_lock(&cl->lock);
	*ret = cl->counts;
	pthread_mutex_unlock(&cl->lock);
}
