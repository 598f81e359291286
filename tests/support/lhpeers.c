#include "lhpeers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhtest.h"

void lhpeers_init(struct lhpeers *g, unsigned n)
{
	static unsigned groups;
	memset(g, 0, sizeof *g);
	g->config = (struct lh_peer_config){
		.protocol = LH_PEER_PROTOCOL, .size = n, .peers = g->endpoints, .engine = LH_ENGINE_CPU, .model = "digits",
		.secret = "00112233445566778899aabbccddeeff", .wire = LH_WIRE_FP32, .target_batch = 64, .microbatch = 8,
		.epochs = 4, .learning_rate = 0.002, .seed = 1, .deadline_ns = 10 * LH_NS_PER_S,
	};
	snprintf(g->config.data_dir, sizeof g->config.data_dir, "%s", lh_test_path("../trainer/data/files"));
	unsigned id = (unsigned)getpid() * 8 + groups++ % 8;
	for (unsigned i = 0; i < n; i++) {
		struct lh_peer_endpoint *e = &g->endpoints[i];
		snprintf(e->name, sizeof e->name, "peer-%u", i);
		snprintf(e->host, sizeof e->host, "127.%u.%u.%u", 1 + id / 250 % 250, 1 + id % 250, 1 + i);
		e->port = 7000;
		e->samples_per_s = 200;
	}
}

/* The text as a descriptor at its beginning. */
static int memory_file(const char *text)
{
	int fd = memfd_create("config", 0);
	size_t len = strlen(text);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET))
		return -1;
	return fd;
}

void lhpeers_start(struct lhpeers *g, unsigned rank)
{
	struct lhpeer *p = &g->peer[rank];
	struct lh_err err = LH_ERR_INIT;
	char *text = NULL;
	int events[2], control[2];
	g->config.rank = rank;
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_print(&g->config, &text, &err), 0);
	CU_ASSERT_EQUAL_FATAL(pipe2(events, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL_FATAL(pipe2(control, O_CLOEXEC), 0);
	int config = memory_file(text);
	free(text);
	CU_ASSERT_TRUE_FATAL(config >= 0);
	p->pid = fork();
	if (p->pid == 0) {
		char a[16], b[16], c[16];
		snprintf(a, sizeof a, "%d", config);
		snprintf(b, sizeof b, "%d", events[1]);
		snprintf(c, sizeof c, "%d", control[0]);
		fcntl(events[1], F_SETFD, 0);
		fcntl(control[0], F_SETFD, 0);
		if (freopen("/dev/null", "w", stderr))
			execl(LH_PEER_PATH, "longhaul-peer", "--config-fd", a, "--event-fd", b, "--control-fd", c,
			      (char *)NULL);
		_exit(127);
	}
	CU_ASSERT_TRUE_FATAL(p->pid > 0);
	close(config);
	close(events[1]);
	close(control[0]);
	p->control_fd = control[1];
	fcntl(events[0], F_SETPIPE_SZ, 1 << 20); /* one peer is read after the other, and none may wait for that */
	p->events = fdopen(events[0], "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(p->events);
}

void lhpeers_start_all(struct lhpeers *g)
{
	for (unsigned i = 0; i < g->config.size; i++)
		lhpeers_start(g, i);
}

static void take(struct lhpeer *p, const struct lh_event *e)
{
	p->last = *e;
	switch (e->kind) {
	case LH_EVENT_LISTENING: break;
	case LH_EVENT_JOINED: p->joined = *e; p->has_joined = true; break;
	case LH_EVENT_SAMPLES:
		p->ntold += (size_t)snprintf(p->told + p->ntold, sizeof p->told - p->ntold, "%s,", e->ranges);
		CU_ASSERT_TRUE_FATAL(p->ntold < sizeof p->told);
		p->nmore++;
		break;
	case LH_EVENT_EPOCH:
		snprintf(p->told + p->ntold, sizeof p->told - p->ntold, "%s", e->ranges);
		p->ntold = 0;
		if (p->nepochs < LHPEERS_EVENTS)
			p->epochs[p->nepochs++] = *e;
		break;
	case LH_EVENT_EVAL: p->eval = *e; p->has_eval = true; break;
	case LH_EVENT_BENCH: break;
	case LH_EVENT_VIEW:
		if (p->nviews < LHPEERS_VIEWS)
			p->views[p->nviews++] = *e;
		break;
	case LH_EVENT_SYNCED: p->synced = *e; p->has_synced = true; break;
	case LH_EVENT_CHECKPOINT: p->checkpoint = *e; p->ncheckpoints++; break;
	case LH_EVENT_LEFT: p->has_left = true; break;
	case LH_EVENT_FINISHED: p->has_finished = true; break;
	case LH_EVENT_FAILED: p->failed = *e; p->has_failed = true; break;
	}
}

/* Each follows its epoch and says the same of it. */
static void take_spans(struct lhpeer *p, const char *line, size_t len)
{
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_spans_parse(line, len, &p->spans, &err);
	if (rc)
		printf("# %s: %s\n", line, err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	CU_ASSERT_EQUAL(p->spans.rank, p->last.rank);
	CU_ASSERT_EQUAL(p->spans.epoch, p->last.epoch);
	CU_ASSERT_EQUAL(p->spans.begin_ns, p->last.begin_ns);
	CU_ASSERT_EQUAL(p->spans.end_ns, p->last.commit_ns);
	lh_ns comm = 0;
	for (unsigned k = 0; k < LH_SPAN_KINDS; k++)
		comm += p->spans.comm_ns[k];
	CU_ASSERT_EQUAL(comm, p->last.commit_ns - p->last.calc_end_ns);
	p->nspans++;
}

bool lhpeers_read_until(struct lhpeers *g, unsigned rank, enum lh_event_kind kind)
{
	struct lhpeer *p = &g->peer[rank];
	char line[LH_EVENT_LINE_MAX];
	while (p->events && fgets(line, sizeof line, p->events)) {
		struct lh_event e;
		struct lh_err err = LH_ERR_INIT;
		size_t len = strlen(line);
		if (lh_spans_is_line(line, len)) {
			take_spans(p, line, len - 1);
			continue;
		}
		int rc = len ? lh_event_parse(line, len - 1, &e, &err) : -EINVAL;
		if (rc)
			printf("# %s: %s\n", line, err.text);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
		CU_ASSERT_EQUAL(e.rank, rank);
		take(p, &e);
		if (e.kind == kind)
			return true;
	}
	return false;
}

void lhpeers_command(struct lhpeers *g, unsigned rank, char command)
{
	CU_ASSERT_EQUAL(write(g->peer[rank].control_fd, &command, 1), 1);
}

void lhpeers_go(struct lhpeers *g)
{
	for (unsigned i = 0; i < g->config.size; i++) {
		bool joined = lhpeers_read_until(g, i, LH_EVENT_JOINED);
		if (!joined)
			printf("# rank %u: %s\n", i, g->peer[i].failed.reason);
		CU_ASSERT_TRUE_FATAL(joined);
	}
	for (unsigned i = 0; i < g->config.size; i++)
		lhpeers_command(g, i, LH_CONTROL_GO);
}

void lhpeers_wait(struct lhpeers *g, unsigned rank)
{
	struct lhpeer *p = &g->peer[rank];
	int status = 0;
	if (!p->pid)
		return;
	while (lhpeers_read_until(g, rank, LH_EVENT_FINISHED))
		;
	CU_ASSERT_EQUAL(waitpid(p->pid, &status, 0), p->pid);
	p->pid = 0;
	p->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (p->has_failed)
		printf("# rank %u: culprit %d: %s\n", rank, p->failed.culprit, p->failed.reason);
}

void lhpeers_wait_all(struct lhpeers *g)
{
	for (unsigned i = 0; i < g->config.size; i++)
		lhpeers_wait(g, i);
}

void lhpeers_done(struct lhpeers *g)
{
	for (unsigned i = 0; i < g->config.size; i++) {
		struct lhpeer *p = &g->peer[i];
		if (p->pid) {
			kill(p->pid, SIGKILL);
			waitpid(p->pid, NULL, 0);
			p->pid = 0;
		}
		if (p->events)
			fclose(p->events);
		if (p->control_fd > 0)
			close(p->control_fd);
		p->events = NULL;
		p->control_fd = -1;
	}
}
