/* peers.c - see peers.h. */
#include "peers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "turn.h"

enum watch { WATCH_EVENTS, WATCH_EXIT, WATCH_WAKE }; /* upper half of epoll_event.data */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int watch(struct lh_peers *ps, int fd, enum watch what, unsigned peer)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = (uint64_t)what << 32 | peer };

	return epoll_ctl(ps->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* The configuration as a file in memory, positioned at its start. */
static int config_fd(const struct lh_peer_config *config, int *ret_fd, struct lh_err *err)
{
	char *text;
	int rc = lh_peer_config_print(config, &text, err);

	if (rc < 0)
		return rc;
	int fd = memfd_create("peer-config", MFD_CLOEXEC);
	size_t len = strlen(text), done = 0;
	rc = fd < 0 ? -errno : 0;
	while (rc == 0 && done < len) {
		ssize_t w = write(fd, text + done, len - done);
		if (w < 0)
			rc = -errno;
		else
			done += (size_t)w;
	}
	if (rc == 0 && lseek(fd, 0, SEEK_SET) < 0)
		rc = -errno;
	free(text);
	if (rc < 0) {
		close_fd(&fd);
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "configuration of a peer");
	}
	*ret_fd = fd;
	return 0;
}

/* What this peer alone is told. */
static int personal(const struct lh_peer_config *config, unsigned peer, struct lh_peer_config *ret, struct lh_err *err)
{
	*ret = *config;
	ret->rank = peer < config->size ? peer : 0;
	if (!*config->checkpoint_dir || peer >= config->size)
		return 0;
	int len = snprintf(ret->checkpoint_dir, sizeof ret->checkpoint_dir, "%s/%s", config->checkpoint_dir,
			   config->peers[peer].name);
	if (len >= (int)sizeof ret->checkpoint_dir)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENAMETOOLONG, "checkpoints in %s: path longer than %zu "
				  "characters", config->checkpoint_dir, sizeof ret->checkpoint_dir - 1);
	if (mkdir(ret->checkpoint_dir, 0777) < 0 && errno != EEXIST)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "%s", ret->checkpoint_dir);
	return 0;
}

static int start_one(struct lh_peers *ps, const struct lh_peer_config *config, unsigned peer, struct lh_err *err)
{
	const char *const peer_argv[] = { ps->program, "--config-fd", "3", "--event-fd", "4", "--control-fd", "5",
					  ps->turns_fd >= 0 ? "--turns-fd" : NULL, "6", NULL };
	const char *const store_argv[] = { ps->program, "store", "--config-fd", "3", "--event-fd", "4", "--control-fd", "5", NULL };
	const bool is_store = peer == ps->n;
	struct lh_peer_proc *p = &ps->procs[peer];
	int config_in = -1, events[2] = { -1, -1 }, control[2] = { -1, -1 };

	int rc = config_fd(config, &config_in, err);
	if (rc < 0)
		return rc;
	if (pipe2(events, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0) {
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -errno, "pipes of a peer");
	} else {
		/* Only our end must not block: file status flags belong to each end of a pipe alone. */
		fcntl(events[0], F_SETFL, O_NONBLOCK);
		const int fds[] = { config_in, events[1], control[1], ps->turns_fd };
		const struct lh_spawn spawn = {
		    .argv = (char *const *)(uintptr_t)(is_store ? store_argv : peer_argv),
		    .stdin_fd = -1,
		    .stdout_fd = ps->stderr_fd,
		    .stderr_fd = ps->stderr_fd,
		    .pass_fds = fds,
		    .npass_fds = ps->turns_fd >= 0 && !is_store ? 4 : 3,
		};
		rc = lh_net_spawn(ps->net, is_store ? ps->store : peer, &spawn, &p->pid, &p->pidfd, err);
	}
	if (rc == 0) {
		ps->running += !is_store;
		p->event_fd = events[0];
		p->control_fd = control[0];
		events[0] = control[0] = -1;
		rc = watch(ps, p->event_fd, WATCH_EVENTS, peer);
		if (rc == 0)
			rc = watch(ps, p->pidfd, WATCH_EXIT, peer);
		if (rc < 0)
			rc = lh_err_sys(err, LH_EXIT_MACHINE, rc, "watching a peer");
	} else {
		p->pid = -1;
		p->pidfd = -1;
	}
	close_fd(&config_in);
	close_fd(&events[0]);
	close_fd(&events[1]);
	close_fd(&control[0]);
	close_fd(&control[1]);
	return rc;
}

/* The first line says whom it is about. */
static int start_named(struct lh_peers *ps, const struct lh_peer_config *config, unsigned peer, struct lh_err *err)
{
	struct lh_peer_config own;
	char prefix[LH_NAME_MAX + 8];
	const bool is_store = peer == ps->n;
	int rc = personal(config, peer, &own, err);

	if (rc == 0)
		rc = start_one(ps, &own, peer, err);
	const char *name = is_store ? config->store.name : config->peers[peer].name;
	/* The network knows it as one of its peers. */
	snprintf(prefix, sizeof prefix, "peer %s: ", name);
	if (rc < 0 && strncmp(err->text, prefix, strlen(prefix)))
		lh_err_wrap(err, "%s %s", is_store ? "store" : "peer", name);
	return rc;
}

int lh_peers_start(struct lh_peers *ps, struct lh_net *net, const char *peer_path,
		   const struct lh_peer_config *config, unsigned store, int stderr_fd, int wake_fd, struct lh_err *err)
{
	int rc = 0;

	*ps = (struct lh_peers){
		.n = config->size, .epoll_fd = epoll_create1(EPOLL_CLOEXEC), .net = net, .program = peer_path,
		.stderr_fd = stderr_fd, .turns_fd = -1, .store = store,
	};
	if (config->takes_turns)
		rc = lh_turn_create(config->size, &ps->turns_fd, err);
	ps->procs = calloc(ps->n + 1u, sizeof *ps->procs);
	if (!rc && (ps->epoll_fd < 0 || !ps->procs)) {
		rc = lh_err_sys(err, LH_EXIT_MACHINE, ps->procs ? -errno : -ENOMEM, "starting %u peers", ps->n);
		ps->n = ps->procs ? ps->n : 0;
	}
	for (unsigned i = 0; ps->procs && i <= ps->n; i++)
		ps->procs[i] = (struct lh_peer_proc){ .pid = -1, .pidfd = -1, .event_fd = -1, .control_fd = -1 };
	if (rc == 0 && wake_fd >= 0) {
		rc = watch(ps, wake_fd, WATCH_WAKE, 0);
		if (rc < 0)
			rc = lh_err_sys(err, LH_EXIT_MACHINE, rc, "watching signals");
	}
	if (rc == 0 && store)
		rc = start_named(ps, config, ps->n, err);
	for (unsigned i = 0; rc == 0 && i < ps->n; i++)
		if (!config->peers[i].absent)
			rc = start_named(ps, config, i, err);
	if (rc < 0)
		lh_peers_done(ps);
	return rc;
}

struct line_ctx {
	const struct lh_peers_handler *h;
	unsigned peer;
};

static int hand_line(void *ctx, const char *line, size_t len, struct lh_err *err)
{
	struct line_ctx *c = ctx;

	return c->h->line(c->h->ctx, c->peer, line, len, err);
}

/* All that is in the pipe now. */
static int read_events(struct lh_peers *ps, unsigned peer, const struct lh_peers_handler *h, struct lh_err *err)
{
	struct lh_peer_proc *p = &ps->procs[peer];
	struct line_ctx c = { h, peer };
	char block[16384];

	while (p->event_fd >= 0) {
		ssize_t n = read(p->event_fd, block, sizeof block);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0) {
			close_fd(&p->event_fd); /* leaves the epoll set with it */
			return 0;
		}
		int rc = lh_lines_feed(&p->lines, block, (size_t)n, hand_line, &c, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The process was waited for. */
static int ended(struct lh_peers *ps, unsigned peer, const struct lh_peers_handler *h, struct lh_err *err)
{
	struct lh_peer_proc *p = &ps->procs[peer];

	p->exited = true;
	p->exited_ns = lh_clock_ns();
	ps->running -= peer < ps->n;
	close_fd(&p->pidfd);
	int rc = read_events(ps, peer, h, err); /* its last words before its end */
	if (rc < 0)
		return rc;
	return h->exited(h->ctx, peer, p->status, err);
}

static int reap(struct lh_peers *ps, unsigned peer, const struct lh_peers_handler *h, struct lh_err *err)
{
	struct lh_peer_proc *p = &ps->procs[peer];

	if (p->pid <= 0 || p->exited || waitpid(p->pid, &p->status, WNOHANG) != p->pid)
		return 0;
	return ended(ps, peer, h, err);
}

int lh_peers_restart(struct lh_peers *ps, const struct lh_peer_config *config, unsigned peer, uint32_t incarnation,
		     const struct lh_peers_handler *h, struct lh_err *err)
{
	struct lh_peer_proc *p = &ps->procs[peer];
	struct lh_peer_config again = *config;
	int rc = 0;

	if (p->pid > 0 && !p->exited) {
		lh_peers_kill(ps, peer);
		while (waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
			;
		rc = ended(ps, peer, h, err);
	}
	if (rc < 0)
		return rc;
	close_fd(&p->event_fd);
	close_fd(&p->control_fd);
	*p = (struct lh_peer_proc){ .pid = -1, .pidfd = -1, .event_fd = -1, .control_fd = -1 };
	again.absent = true;
	again.incarnation = incarnation;
	return start_named(ps, &again, peer, err);
}

int lh_peers_wait(struct lh_peers *ps, lh_ns until_ns, const struct lh_peers_handler *h, bool *ret_woken,
		  struct lh_err *err)
{
	struct epoll_event ready[64];
	lh_ns left = until_ns - lh_clock_ns();
	int timeout_ms = left <= 0                   ? 0
			 : left > 3600 * LH_NS_PER_S ? 3600 * 1000
						     : (int)((left + LH_NS_PER_MS - 1) / LH_NS_PER_MS);
	int n = epoll_wait(ps->epoll_fd, ready, 64, timeout_ms);

	*ret_woken = false;
	if (n < 0 && errno != EINTR)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "waiting for peers");
	for (int i = 0; i < n; i++) {
		unsigned peer = (unsigned)ready[i].data.u64;
		int rc = 0;
		switch ((enum watch)(ready[i].data.u64 >> 32)) {
		case WATCH_EVENTS:
			rc = read_events(ps, peer, h, err);
			break;
		case WATCH_EXIT:
			rc = reap(ps, peer, h, err);
			break;
		case WATCH_WAKE:
			*ret_woken = true;
			break;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

void lh_peers_tell(struct lh_peers *ps, unsigned peer, char command)
{
	const struct lh_peer_proc *p = &ps->procs[peer];

	if (p->pid > 0 && !p->exited)
		(void)!send(p->control_fd, &command, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void lh_peers_command(struct lh_peers *ps, char command)
{
	for (unsigned i = 0; i < ps->n; i++)
		lh_peers_tell(ps, i, command);
}

lh_ns lh_peers_cpu_ns(const struct lh_peers *ps)
{
	lh_ns sum = 0;

	for (unsigned i = 0; i < ps->n; i++) {
		struct timespec ts;
		clockid_t clock;
		if (ps->procs[i].pid > 0 && !ps->procs[i].exited &&
		    clock_getcpuclockid(ps->procs[i].pid, &clock) == 0 && clock_gettime(clock, &ts) == 0)
			sum += ts.tv_sec * LH_NS_PER_S + ts.tv_nsec;
	}
	return sum;
}

void lh_peers_kill(struct lh_peers *ps, unsigned peer)
{
	struct lh_peer_proc *p = &ps->procs[peer];

	if (p->pid > 0 && !p->exited)
		syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
}

void lh_peers_done(struct lh_peers *ps)
{
	if (!ps->procs)
		return;
	for (unsigned i = 0; i <= ps->n; i++)
		lh_peers_kill(ps, i);
	for (unsigned i = 0; i <= ps->n; i++) {
		struct lh_peer_proc *p = &ps->procs[i];
		if (p->pid > 0 && !p->exited)
			while (waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
				;
		close_fd(&p->pidfd);
		close_fd(&p->event_fd);
		close_fd(&p->control_fd);
	}
	close_fd(&ps->epoll_fd);
	close_fd(&ps->turns_fd);
	free(ps->procs);
	*ps = (struct lh_peers){ .epoll_fd = -1, .turns_fd = -1 };
}

char *lh_peer_status_text(int status, char *buf, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(buf, size, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(buf, size, "exited with status %d", WEXITSTATUS(status));
	return buf;
}
