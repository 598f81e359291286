/* Peers that read their samples from a store, as processes on the loopback: the same bits as without, bytes by formula, and
 * what becomes of them when the store is another run's, dies, or falls silent.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "comm/frame.h"
#include "lhpeers.h"
#include "lhtest.h"
#include "store/wire.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define PATIENCE 4
#else
#define PATIENCE 1
#endif

static struct lhpeers g, plain;

struct store { pid_t pid; int control_fd, event_fd; };

/* A store for the group: beside its first peer. */
static void use_store(struct lhpeers *of)
{
	struct lh_store_config *s = &of->config.store;
	*s = (struct lh_store_config){ .name = "b2-store", .port = 7001, .prefetch = 2 };
	memcpy(s->host, of->endpoints[0].host, sizeof s->host);
}

static void start_store(const struct lh_peer_config *c, struct store *ret)
{
	char *text = NULL, a[16], b[16], d[16];
	int events[2], control[2];
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_print(c, &text, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(pipe2(events, O_CLOEXEC) | pipe2(control, O_CLOEXEC), 0);
	int config = memfd_create("config", 0);
	CU_ASSERT_EQUAL_FATAL(write(config, text, strlen(text)), (ssize_t)strlen(text));
	lseek(config, 0, SEEK_SET);
	free(text);
	snprintf(a, sizeof a, "%d", config);
	snprintf(b, sizeof b, "%d", events[1]);
	snprintf(d, sizeof d, "%d", control[0]);
	ret->pid = fork();
	if (ret->pid == 0) {
		fcntl(events[1], F_SETFD, 0);
		fcntl(control[0], F_SETFD, 0);
		if (freopen("/dev/null", "w", stderr))
			execl(LH_PEER_PATH, "longhaul-peer", "store", "--config-fd", a, "--event-fd", b, "--control-fd", d,
			      (char *)NULL);
		_exit(127);
	}
	CU_ASSERT_TRUE_FATAL(ret->pid > 0);
	close(config);
	close(events[1]);
	close(control[0]);
	ret->control_fd = control[1];
	ret->event_fd = events[0];
}

/* Told to stop, it ends as it should. */
static void stop_store(struct store *s)
{
	int status = 0;
	CU_ASSERT_EQUAL(write(s->control_fd, "s", 1), 1);
	CU_ASSERT_EQUAL(waitpid(s->pid, &status, 0), s->pid);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(s->control_fd);
	close(s->event_fd);
}

static void kill_store(struct store *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	close(s->control_fd);
	close(s->event_fd);
}

static void run(struct lhpeers *of)
{
	lhpeers_start_all(of);
	lhpeers_go(of);
	lhpeers_wait_all(of);
	for (unsigned i = 0; i < of->config.size; i++)
		CU_ASSERT_TRUE(of->peer[i].status == 0 && of->peer[i].has_finished);
	lhpeers_done(of);
}

static void run_with_store(struct lhpeers *of)
{
	struct store s;
	start_store(&of->config, &s);
	run(of);
	stop_store(&s);
}

/* Each sample was read or cached once, and what was read has its bytes: with the WELCOME, to the last one. */
static void check_bytes(const struct lhpeers *of, uint64_t sample_bytes)
{
	for (unsigned i = 0; i < of->config.size; i++) {
		uint64_t samples = 0, read = 0, cached = 0, bytes = 0;
		for (unsigned e = 0; e < of->peer[i].nepochs; e++) {
			samples += of->peer[i].epochs[e].samples;
			read += of->peer[i].epochs[e].data_samples;
			cached += of->peer[i].epochs[e].data_cached;
			bytes += of->peer[i].epochs[e].data_bytes;
		}
		CU_ASSERT_EQUAL(read + cached, samples);
		CU_ASSERT_EQUAL(bytes, read * LH_STORE_SAMPLE_WIRE(sample_bytes) + LH_STORE_HEADER + LH_HELLO_BYTES);
	}
}

static void same_results(const struct lhpeers *a, const struct lhpeers *b)
{
	for (unsigned i = 0; i < a->config.size; i++) {
		CU_ASSERT_EQUAL(a->peer[i].nepochs, a->config.epochs);
		CU_ASSERT_EQUAL(b->peer[i].nepochs, a->config.epochs);
		for (unsigned e = 0; e < a->peer[i].nepochs; e++) {
			CU_ASSERT_EQUAL(memcmp(&a->peer[i].epochs[e].loss_sum, &b->peer[i].epochs[e].loss_sum, sizeof(double)), 0);
			CU_ASSERT_EQUAL(a->peer[i].epochs[e].state_hash, b->peer[i].epochs[e].state_hash);
		}
	}
}

/* ---- the same bits ---- */

static void same_bits(void)
{
	/* stored: the form's bytes. digits: more than a pass, so that the cache hits */
	static const struct {
		const char *model;
		enum lh_data data;
		uint64_t batch, stored, asked, cache;
		uint32_t epochs, prefetch;
		enum lh_strategy_kind strategy;
	} cases[] = {
		{ "digits", LH_DATA_AUTO, 1000, 65, 0, LH_CACHE_ALL, 4, 4, LH_STRATEGY_EXACT },
		{ "digits", LH_DATA_AUTO, 64, 65, 0, 0, 3, 0, LH_STRATEGY_EXACT },
		{ "digits", LH_DATA_AUTO, 64, 65, 1000, 20000, 3, 2, LH_STRATEGY_DELAYED }, /* padded */
		{ "digits", LH_DATA_AUTO, 64, 65, 10, LH_CACHE_ALL, 3, 2, LH_STRATEGY_EXACT }, /* as though compressed */
		{ "text", LH_DATA_AUTO, 16, 128, 0, 0, 2, 2, LH_STRATEGY_EXACT },
		{ "resnet-lab", LH_DATA_AUTO, 16, 27652, 0, 0, 2, 2, LH_STRATEGY_EXACT },
		{ "resnet-lab", LH_DATA_DIGITS, 16, 65, 0, 0, 2, 2, LH_STRATEGY_EXACT },
		{ "roberta-text-lab", LH_DATA_TEXT, 16, 60, 0, 0, 2, 2, LH_STRATEGY_EXACT },
		{ "whisper-lab", LH_DATA_TONES, 16, 20544, 0, 0, 2, 2, LH_STRATEGY_EXACT },
	};
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		struct lhpeers *both[] = { &plain, &g };
		for (unsigned i = 0; i < 2; i++) {
			lhpeers_init(both[i], 2);
			strcpy(both[i]->config.model, cases[k].model);
			both[i]->config.data = cases[k].data;
			both[i]->config.target_batch = cases[k].batch;
			both[i]->config.epochs = cases[k].epochs;
			both[i]->config.sync.strategy = cases[k].strategy;
			for (unsigned p = 0; p < 2; p++)
				both[i]->endpoints[p].samples_per_s = 100000;
		}
		use_store(&g);
		g.config.store.sample_bytes = cases[k].asked;
		g.config.store.cache_bytes = cases[k].cache;
		g.config.store.prefetch = cases[k].prefetch;
		run(&plain);
		run_with_store(&g);
		same_results(&plain, &g);
		check_bytes(&g, cases[k].asked ? cases[k].asked : cases[k].stored);
		CU_ASSERT_TRUE(!plain.peer[0].epochs[0].data_bytes && g.peer[0].epochs[0].data_bytes);
	}
}

/* Made-up samples have passes when they are told so, with a store or without. */
static void passes_of_made_samples(void)
{
	struct lhpeers *both[] = { &plain, &g };
	for (unsigned i = 0; i < 2; i++) {
		lhpeers_init(both[i], 1);
		strcpy(both[i]->config.model, "resnet-lab");
		both[i]->config.target_batch = both[i]->config.data_samples = 16;
		both[i]->config.epochs = 3;
		both[i]->endpoints[0].samples_per_s = 100000;
	}
	use_store(&g);
	g.config.store.cache_bytes = LH_CACHE_ALL;
	g.config.store.prefetch = 0; /* what is read ahead may be wanted again before it has come */
	run(&plain);
	run_with_store(&g);
	same_results(&plain, &g);
	CU_ASSERT_EQUAL(g.peer[0].epochs[0].data_samples, 16);
	for (unsigned e = 1; e < 3; e++)
		CU_ASSERT_TRUE(!g.peer[0].epochs[e].data_samples && !g.peer[0].epochs[e].data_bytes &&
			       g.peer[0].epochs[e].data_cached == 16);
}

static void paced(void)
{
	lhpeers_init(&g, 2);
	g.config.engine = LH_ENGINE_PACED;
	g.config.parameters = 1000;
	g.config.data_samples = 100;
	use_store(&g);
	g.config.store.sample_bytes = 3000000; /* more than is hashed */
	g.config.store.cache_bytes = 30 * 3000000ull;
	g.config.target_batch = 50;
	for (unsigned i = 0; i < 2; i++)
		g.endpoints[i].samples_per_s = 1000;
	run_with_store(&g);
	check_bytes(&g, 3000000);
	uint64_t cached = 0;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned e = 2; e < g.config.epochs; e++)
			cached += g.peer[i].epochs[e].data_cached;
	CU_ASSERT_TRUE(cached > 0);
}

/* Rounds that end early, and that are dealt anew. */
static void rounds_that_change(void)
{
	lhpeers_init(&g, 2);
	use_store(&g);
	g.config.sync.strategy = LH_STRATEGY_ETA;
	run_with_store(&g);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned e = 0; e < g.config.epochs; e++)
			CU_ASSERT_TRUE(g.peer[i].epochs[e].data_bytes > 0);
}

static void elastic(void)
{
	struct store s;
	lhpeers_init(&g, 3);
	use_store(&g);
	g.config.membership = LH_MEMBERSHIP_ELASTIC;
	g.config.epochs = 6;
	g.config.deadline_ns = 3 * PATIENCE * LH_NS_PER_S;
	g.config.streams = 2;
	start_store(&g.config, &s);
	lhpeers_start_all(&g);
	lhpeers_go(&g);
	CU_ASSERT_TRUE(lhpeers_read_until(&g, 2, LH_EVENT_EPOCH));
	kill(g.peer[2].pid, SIGKILL);
	lhpeers_wait_all(&g);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_TRUE(g.peer[i].status == 0 && g.peer[i].nepochs == 6);
		CU_ASSERT_EQUAL(g.peer[i].epochs[5].state_hash, g.peer[0].epochs[5].state_hash);
	}
	stop_store(&s);
	lhpeers_done(&g);
}

/* ---- what goes wrong ---- */

static void all_blame(const char *what)
{
	lhpeers_wait_all(&g);
	for (unsigned i = 0; i < g.config.size; i++) {
		CU_ASSERT_TRUE(g.peer[i].has_failed && !strncmp(g.peer[i].failed.reason, "store b2-store: ", 16));
		CU_ASSERT_PTR_NOT_NULL(strstr(g.peer[i].failed.reason, what));
		CU_ASSERT_EQUAL(g.peer[i].status, LH_EXIT_BROKE);
	}
	lhpeers_done(&g);
}

static void other_runs(void)
{
	static const char *const reasons[] = { "secrets differ", "other samples" };
	for (unsigned k = 0; k < 2; k++) {
		struct store s;
		lhpeers_init(&g, 1);
		use_store(&g);
		struct lh_peer_config other = g.config;
		if (k == 0)
			other.secret[0] = 'f';
		else
			other.seed++;
		start_store(&other, &s);
		lhpeers_start_all(&g);
		all_blame(reasons[k]);
		CU_ASSERT_FALSE(g.peer[0].has_joined);
		stop_store(&s);
	}
}

static void nobody_there(void)
{
	lhpeers_init(&g, 1);
	use_store(&g);
	g.config.deadline_ns = LH_NS_PER_S;
	lhpeers_start_all(&g);
	lhpeers_wait_all(&g);
	CU_ASSERT_TRUE(g.peer[0].has_failed && !strncmp(g.peer[0].failed.reason, "store b2-store at ", 18));
	CU_ASSERT_EQUAL(g.peer[0].status, LH_EXIT_BROKE);
	lhpeers_done(&g);
}

/* A group of two whose store is under way; every second microbatch of a round waits for it. */
static void begin(struct store *s)
{
	lhpeers_init(&g, 2);
	use_store(&g);
	g.config.store.prefetch = 1;
	g.config.deadline_ns = 2 * PATIENCE * LH_NS_PER_S;
	g.config.epochs = 50;
	start_store(&g.config, s);
	lhpeers_start_all(&g);
	lhpeers_go(&g);
	CU_ASSERT_TRUE(lhpeers_read_until(&g, 0, LH_EVENT_EPOCH));
}

static void killed(void)
{
	struct store s;
	begin(&s);
	kill_store(&s);
	all_blame("");
}

static void silent(void)
{
	struct store s;
	begin(&s);
	kill(s.pid, SIGSTOP);
	all_blame("no byte for");
	kill_store(&s);
}

/* Waiting is a state of its own, not lateness, and moves the pace's schedule. */
static void slow(void)
{
	struct store s;
	begin(&s);
	g.config.epochs = 50;
	kill(s.pid, SIGSTOP);
	usleep(700000);
	kill(s.pid, SIGCONT);
	lh_ns waited = 0, spans = 0;
	for (unsigned e = 0; e < 6; e++) {
		CU_ASSERT_TRUE(lhpeers_read_until(&g, 0, LH_EVENT_EPOCH));
		spans += g.peer[0].spans.total_ns[LH_SPAN_DATA];
		waited += g.peer[0].epochs[e].data_wait_ns;
		CU_ASSERT_TRUE(g.peer[0].epochs[e].late_ns < 200 * PATIENCE * LH_NS_PER_MS);
	}
	printf("# a store that stood still for 700 ms: %.0f ms of waiting, %.0f ms in spans\n", (double)waited / 1e6, (double)spans / 1e6);
	CU_ASSERT_TRUE(waited > 300 * LH_NS_PER_MS && spans > 300 * LH_NS_PER_MS);
	lhpeers_command(&g, 0, LH_CONTROL_STOP);
	lhpeers_command(&g, 1, LH_CONTROL_STOP);
	lhpeers_wait_all(&g);
	lhpeers_done(&g);
	stop_store(&s);
}

/* Whoever sends rubbish is sent away, and the run goes on. */
static void strangers(void)
{
	struct store s;
	uint8_t frame[LH_STORE_HEADER + 8 * LH_STORE_WANT_MAX] = { 0 }, answer[512];
	lhpeers_init(&g, 1);
	use_store(&g);
	g.endpoints[0].samples_per_s = 100000;
	start_store(&g.config, &s);
	char line[LH_EVENT_LINE_MAX];
	CU_ASSERT_TRUE(read(s.event_fd, line, sizeof line) > 0); /* it listens */
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(g.config.store.port) };
	inet_pton(AF_INET, g.config.store.host, &a.sin_addr);
	for (unsigned k = 0; k < 4; k++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct timeval limit = { .tv_sec = 5 };
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
		CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
		if (k == 1) /* wants without a greeting */
			lh_store_frame_print(LH_STORE_WANT, 8, frame);
		if (k == 2) /* a greeting of nobody */
			lh_store_frame_print(LH_STORE_HELLO, LH_HELLO_BYTES, frame);
		if (k < 3) {
			CU_ASSERT_TRUE(send(fd, frame, LH_STORE_HEADER + (k == 2 ? LH_HELLO_BYTES : k == 1 ? 8 : 0), MSG_NOSIGNAL) > 0);
			CU_ASSERT_TRUE(recv(fd, answer, sizeof answer, 0) > 0);
			CU_ASSERT_EQUAL(answer[4], LH_STORE_REFUSE);
		}
		close(fd);
	}
	run(&g);
	stop_store(&s);
}

static const struct lh_test tests[] = {
	{ "same_bits", same_bits, 0 },
	{ "passes_of_made_samples", passes_of_made_samples, 0 },
	{ "paced", paced, 0 },
	{ "rounds_that_change", rounds_that_change, 0 },
	{ "elastic", elastic, 0 },
	{ "other_runs", other_runs, 0 },
	{ "nobody_there", nobody_there, 0 },
	{ "killed", killed, 0 },
	{ "silent", silent, 0 },
	{ "slow", slow, 0 },
	{ "strangers", strangers, 0 },
};

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	return lh_test_main(argc, argv, "store-peers", tests, sizeof tests / sizeof *tests);
}
