/* cmd_exec.c - `longhaul exec FILE [--peer NAME|--all] -- CMD...`: any program on the emulated peers.
 *
 * The network is up and past the RTT gate before the first program starts. One peer: standard input, output and error
 * are the program's own. --all: input is empty, output comes line by line behind the peer's name. Each program is told
 * who and where it is (LONGHAUL_*, and the names that torchrun and MPI-like launchers read). The exit status is the
 * program's; with --all the first that was not 0. Signals are passed on.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe/probe.h"
#include "session.h"

enum {
	LINE_MAX_BYTES = 8192,      /* a longer line is printed in pieces */
	MASTER_PORT_NUMBER = 29500, /* torchrun's default */
	OWN_VARIABLES = 20,
};

struct stream { /* of a program with --all */
	int fd;
	FILE *to;
	size_t len;
	char line[LINE_MAX_BYTES];
};

struct program {
	unsigned peer;
	pid_t pid; /* 0: ended */
	int pidfd;
	int status; /* as a shell counts it */
	struct stream streams[2];
};

struct exec {
	struct lh_session *s;
	struct lh_net *net;
	struct program *programs;
	size_t n, running;
	int first_failure;
};

/* ---- what to run ---- */

static const char *variable(char *const *envp, const char *name)
{
	size_t len = strlen(name);
	for (; envp && *envp; envp++)
		if (!strncmp(*envp, name, len) && (*envp)[len] == '=')
			return *envp + len + 1;
	return NULL;
}

static bool runnable(const char *path)
{
	struct stat info;
	return !stat(path, &info) && S_ISREG(info.st_mode) && !access(path, X_OK);
}

/* As execvp would find it. */
static int find_program(const char *name, char *const *envp, char *ret, size_t size, struct lh_err *err)
{
	const char *path = variable(envp, "PATH");
	if (strchr(name, '/')) {
		snprintf(ret, size, "%s", name);
		return runnable(name)
			       ? 0
			       : lh_err_set(err, LH_EXIT_INPUT, -ENOENT, "program %s: no such executable file", name);
	}
	for (path = path && *path ? path : "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"; *path;
	     path += *path == ':') {
		size_t len = strcspn(path, ":");
		snprintf(ret, size, "%.*s/%s", (int)len, path, name);
		if (runnable(ret))
			return 0;
		path += len;
	}
	return lh_err_set(err, LH_EXIT_INPUT, -ENOENT, "program %s: not found in PATH", name);
}

/* ---- what it is told ---- */

static char *assignment(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *assignment(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	return text;
}

static char *all_addresses(const struct lh_topology *t)
{
	char *text = NULL, address[64];
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	fputs("LONGHAUL_ADDRESSES=", f);
	for (unsigned i = 0; i < t->npeers; i++)
		if (!lh_net_peer_address(t, i, t->ipv6, address, sizeof address))
			fprintf(f, "%s%s", i ? "," : "", address);
	return fclose(f) ? NULL : text;
}

static void strings_free(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
}

/* What a program is told, as NAME=value; 0 when there is no memory. */
static size_t own_variables(const struct lh_session *s, unsigned peer, char *ret[OWN_VARIABLES])
{
	const struct lh_topology *t = &s->exp.topology;
	char mine[64], master[64];
	size_t n = 0;
	if (lh_net_peer_address(t, peer, t->ipv6, mine, sizeof mine) ||
	    lh_net_peer_address(t, 0, t->ipv6, master, sizeof master))
		return 0;
	ret[n++] = assignment("LONGHAUL_RANK=%u", peer);
	ret[n++] = assignment("LONGHAUL_WORLD_SIZE=%u", t->npeers);
	ret[n++] = assignment("LONGHAUL_PEER=%s", t->peers[peer].name);
	ret[n++] = assignment("LONGHAUL_SITE=%s", t->sites[t->peers[peer].site].name);
	ret[n++] = assignment("LONGHAUL_ADDRESS=%s", mine);
	ret[n++] = all_addresses(t);
	ret[n++] = assignment("RANK=%u", peer);
	ret[n++] = assignment("WORLD_SIZE=%u", t->npeers);
	ret[n++] = assignment("LOCAL_RANK=0");
	ret[n++] = assignment("LOCAL_WORLD_SIZE=1");
	ret[n++] = assignment("MASTER_ADDR=%s", master);
	ret[n++] = assignment("MASTER_PORT=%d", MASTER_PORT_NUMBER);
	/* A peer's host name is in nobody's hosts file, so what guesses an interface by it would take the loopback. */
	ret[n++] = assignment("GLOO_SOCKET_IFNAME=" LH_IFNAME_PEER);
	ret[n++] = assignment("NCCL_SOCKET_IFNAME=" LH_IFNAME_PEER);
	/* AVX-512 state does not survive signals in a User-Mode Linux guest. */
	if (s->where == LH_NETEM_UML) {
		ret[n++] = assignment("OPENBLAS_CORETYPE=HASWELL");
		ret[n++] = assignment("ONEDNN_MAX_CPU_ISA=AVX2");
	}
	for (size_t i = 0; i < n; i++)
		if (!ret[i]) {
			strings_free(ret, n);
			return 0;
		}
	return n;
}

static bool same_name(const char *a, const char *b)
{
	size_t len = strcspn(a, "=");
	return !strncmp(a, b, len) && b[len] == '=';
}

/* The caller's environment without what ours replace, then ours. Only the array is allocated. */
static char **environment(char *const *theirs, char *const *own, size_t nown)
{
	size_t n = 0, count = 0;
	while (theirs && theirs[count])
		count++;
	char **envp = calloc(count + nown + 1, sizeof *envp);
	for (size_t i = 0; envp && i < count; i++) {
		bool replaced = false;
		for (size_t k = 0; k < nown; k++)
			replaced |= same_name(own[k], theirs[i]);
		if (!replaced)
			envp[n++] = theirs[i];
	}
	for (size_t k = 0; envp && k < nown; k++)
		envp[n++] = own[k];
	return envp;
}

/* ---- start ---- */

static int open_streams(struct program *p, int ret_child[2], struct lh_err *err)
{
	FILE *to[2] = { stdout, stderr };
	for (int i = 0; i < 2; i++) {
		int fds[2];
		if (pipe2(fds, O_CLOEXEC))
			return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "pipe");
		fcntl(fds[0], F_SETFL, O_NONBLOCK);
		p->streams[i] = (struct stream){ .fd = fds[0], .to = to[i] };
		ret_child[i] = fds[1];
	}
	return 0;
}

static int start(struct exec *x, struct program *p, char *const *argv, struct lh_err *err)
{
	const struct lh_invocation *inv = x->s->inv;
	int child[2] = { STDOUT_FILENO, STDERR_FILENO };
	char *own[OWN_VARIABLES];
	size_t nown = own_variables(x->s, p->peer, own);
	char **envp = nown ? environment(inv->envp, own, nown) : NULL;
	int rc = envp ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "environment");
	p->streams[0].fd = p->streams[1].fd = -1;
	if (!rc && inv->all) {
		child[0] = child[1] = -1;
		rc = open_streams(p, child, err);
	}
	if (!rc) {
		struct lh_spawn spawn = {
			.argv = argv,
			.envp = envp,
			.stdin_fd = inv->all ? -1 : STDIN_FILENO,
			.stdout_fd = child[0],
			.stderr_fd = child[1],
			.own_sysfs = true,
		};
		rc = lh_net_spawn(x->net, p->peer, &spawn, &p->pid, &p->pidfd, err);
	}
	for (int i = 0; i < 2 && inv->all; i++)
		if (child[i] >= 0)
			close(child[i]);
	free(envp);
	strings_free(own, nown);
	x->running += !rc;
	if (rc)
		p->pid = 0;
	return rc;
}

/* ---- while they run ---- */

static void put_line(const struct exec *x, const struct program *p, struct stream *st, size_t len)
{
	fprintf(st->to, "%s: %.*s\n", x->s->exp.topology.peers[p->peer].name, (int)len, st->line);
}

static void stream_read(const struct exec *x, const struct program *p, struct stream *st)
{
	ssize_t n;
	while (st->fd >= 0 && (n = read(st->fd, st->line + st->len, sizeof st->line - st->len)) != 0) {
		if (n < 0) {
			if (errno == EAGAIN || errno == EINTR)
				break;
			n = 0;
		}
		st->len += (size_t)n;
		for (char *nl; (nl = memchr(st->line, '\n', st->len));) {
			size_t len = (size_t)(nl - st->line);
			put_line(x, p, st, len);
			st->len -= len + 1;
			memmove(st->line, nl + 1, st->len);
		}
		if (st->len == sizeof st->line) {
			put_line(x, p, st, st->len);
			st->len = 0;
		}
		if (!n)
			break;
	}
	fflush(st->to);
}

static void stream_end(const struct exec *x, const struct program *p, struct stream *st)
{
	stream_read(x, p, st);
	if (st->len)
		put_line(x, p, st, st->len);
	if (st->fd >= 0)
		close(st->fd);
	st->fd = -1;
	st->len = 0;
}

static void program_end(struct exec *x, struct program *p)
{
	int status = 0;
	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		;
	p->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	p->pid = 0;
	close(p->pidfd);
	x->running--;
	if (x->first_failure == 0)
		x->first_failure = p->status;
	for (int i = 0; i < 2; i++)
		stream_end(x, p, &p->streams[i]);
}

static void signal_all(struct exec *x, int sig)
{
	for (size_t i = 0; i < x->n; i++)
		if (x->programs[i].pid > 0)
			kill(x->programs[i].pid, sig);
}

/* poll() takes part in three things of each program: its end and its two streams. */
static int attend(struct exec *x, struct lh_err *err)
{
	struct pollfd *fds = calloc(3 * x->n + 1, sizeof *fds);
	int signalled = 0;
	if (!fds)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "exec");
	while (x->running) {
		for (size_t i = 0; i < x->n; i++) {
			struct program *p = &x->programs[i];
			fds[3 * i] = (struct pollfd){ p->pid > 0 ? p->pidfd : -1, POLLIN, 0 };
			fds[3 * i + 1] = (struct pollfd){ p->streams[0].fd, POLLIN, 0 };
			fds[3 * i + 2] = (struct pollfd){ p->streams[1].fd, POLLIN, 0 };
		}
		fds[3 * x->n] = (struct pollfd){ x->s->signal_fd, POLLIN, 0 };
		if (poll(fds, 3 * x->n + 1, -1) < 0)
			continue;
		if (fds[3 * x->n].revents) {
			signalled = lh_session_interrupted(x->s);
			signal_all(x, signalled - 128);
		}
		for (size_t i = 0; i < x->n; i++) {
			struct program *p = &x->programs[i];
			for (int k = 0; k < 2; k++) {
				if (fds[3 * i + 1 + k].revents & POLLIN)
					stream_read(x, p, &p->streams[k]);
				else if (fds[3 * i + 1 + k].revents)
					stream_end(x, p, &p->streams[k]);
			}
			if (fds[3 * i].revents)
				program_end(x, p);
		}
	}
	free(fds);
	if (signalled)
		x->first_failure = signalled;
	return 0;
}

/* ---- the command ---- */

static int find_peer(const struct lh_topology *t, const char *name, const char *file, unsigned *ret, struct lh_err *err)
{
	const char *names[LH_PEERS_MAX + 1];
	for (unsigned i = 0; i < t->npeers; i++) {
		names[i] = t->peers[i].name;
		if (!strcmp(names[i], name)) {
			*ret = i;
			return 0;
		}
	}
	names[t->npeers] = NULL;
	const char *near = lh_cli_suggest(name, names);
	return lh_err_set(err, LH_EXIT_INPUT, -ENOENT, "--peer %s: %s has no such peer%s%s%s", name, file,
			  near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static int exec_check(const struct lh_invocation *inv, const struct lh_experiment *exp, struct lh_err *err)
{
	char path[PATH_MAX];
	unsigned peer;
	int rc = inv->peer ? find_peer(&exp->topology, inv->peer, inv->file, &peer, err) : 0;
	return rc ? rc : find_program(inv->rest[0], inv->envp, path, sizeof path, err);
}

static int choose_peers(struct exec *x, struct lh_err *err)
{
	const struct lh_topology *t = &x->s->exp.topology;
	unsigned first = 0;
	int rc = x->s->inv->peer ? find_peer(t, x->s->inv->peer, x->s->inv->file, &first, err) : 0;
	if (rc)
		return rc;
	x->n = x->s->inv->all ? t->npeers : 1;
	x->programs = calloc(x->n, sizeof *x->programs);
	if (!x->programs) {
		x->n = 0;
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "exec");
	}
	for (size_t i = 0; i < x->n; i++) {
		x->programs[i].peer = first + (unsigned)i;
		x->programs[i].streams[0].fd = x->programs[i].streams[1].fd = -1;
	}
	return 0;
}

static int exec_body(struct lh_session *s)
{
	struct exec x = { .s = s };
	struct lh_probe_report rep = { 0 };
	struct lh_err err = LH_ERR_INIT;
	char path[PATH_MAX];
	char **argv = calloc((size_t)s->inv->nrest + 1, sizeof *argv);
	int rc = argv ? choose_peers(&x, &err) : lh_err_sys(&err, LH_EXIT_MACHINE, -ENOMEM, "exec");
	if (!rc)
		rc = find_program(s->inv->rest[0], s->inv->envp, path, sizeof path, &err);
	if (!rc)
		rc = lh_probe_network_up(&s->exp, NULL, NULL, &x.net, &rep, &err);
	if (!rc) {
		memcpy(argv, s->inv->rest, (size_t)s->inv->nrest * sizeof *argv);
		argv[0] = path;
	}
	for (size_t i = 0; i < x.n && !rc; i++)
		rc = start(&x, &x.programs[i], argv, &err);
	if (rc)
		signal_all(&x, SIGKILL);
	if (x.running) {
		struct lh_err later = LH_ERR_INIT;
		int attended = attend(&x, rc ? &later : &err);
		rc = rc ? rc : attended;
	}
	if (x.net)
		lh_net_down(x.net, NULL);
	int signalled = rc == -EINTR ? lh_session_interrupted(s) : 0;
	lh_probe_report_done(&rep);
	free(x.programs);
	free(argv);
	return signalled ? signalled : rc ? lh_fail(&err) : x.first_failure;
}

int cmd_exec(const struct lh_invocation *inv)
{
	const struct lh_session_options opt = { .check = exec_check };
	return lh_session_main(inv, &opt, exec_body);
}
