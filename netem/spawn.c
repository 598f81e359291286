/* spawn.c - processes inside a peer: its network, a host name of its own, nothing else of ours.
 *
 * Order in the child. Should: ask for the parent-death signal first, then look whether the parent is still there;
 * enter the namespace before any fd is closed. Mustn't: open anything that outlives exec; leave a disposition or mask behind.
 * What fails before exec is told through a pipe that exec closes; so the caller gets one errno, not an exit status to guess at.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net.h"

static char *const short_environment[] = {
	(char *)(uintptr_t)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	(char *)(uintptr_t)"HOME=/", (char *)(uintptr_t)"LANG=C.UTF-8", NULL,
};

enum stage { STAGE_PARENT, STAGE_NETNS, STAGE_UTSNS, STAGE_FILES, STAGE_CWD, STAGE_EXEC };

static const char *const stage_texts[] = {
	"parent", "enter network namespace", "host name", "file descriptors", "change directory", "execute",
};

struct failure {
	int stage, code;
};

struct child {
	const struct lh_net *net;
	unsigned peer;
	pid_t parent;
	int report_fd; /* write end */
};

static void signals_reset(void)
{
	sigset_t none;
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL); /* refused for SIGKILL, SIGSTOP and libc's own two */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

__attribute__((noreturn))
static void fail(const struct child *c, enum stage stage)
{
	struct failure f = { stage, errno };
	if (write(c->report_fd, &f, sizeof f) != sizeof f)
		_exit(127);
	_exit(126);
}

/* From here on the process is in the peer. */
static void become(const struct child *c)
{
	const struct lh_net *net = c->net;
	const char *name = net->topology->peers[c->peer].name;
	signals_reset();
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != c->parent)
		fail(c, STAGE_PARENT);
	if (setns(net->netns[net->plan->peer_netns[c->peer]].fd, CLONE_NEWNET))
		fail(c, STAGE_NETNS);
	if (unshare(CLONE_NEWUTS) || sethostname(name, strlen(name)))
		fail(c, STAGE_UTSNS);
	struct rlimit limit;
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = net->files_soft;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* A /sys of the peer's own network, in a mount namespace that ends with the program. Control groups are carried over, since
 * programs read their limits there. A kernel or container that forbids it leaves the caller's /sys in place. */
static void own_sysfs(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return;
	int cgroup = open_tree(AT_FDCWD, "/sys/fs/cgroup", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (!mount("sysfs", "/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) && cgroup >= 0)
		move_mount(cgroup, "", AT_FDCWD, "/sys/fs/cgroup", MOVE_MOUNT_F_EMPTY_PATH);
	if (cgroup >= 0)
		close(cgroup);
}

/* fd (or /dev/null for -1) to a number of at least `floor`, so that no later dup2() lands on it. */
static int raise_fd(int fd, int floor)
{
	if (fd >= 0)
		return fcntl(fd, F_DUPFD_CLOEXEC, floor);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int high = null < 0 ? -1 : fcntl(null, F_DUPFD_CLOEXEC, floor);
	if (null >= 0)
		close(null);
	return high;
}

static int place_files(struct child *c, const struct lh_spawn *s)
{
	int count = 3 + (int)s->npass_fds, *high = calloc((size_t)count, sizeof *high);
	if (!high)
		return -1;
	int report = fcntl(c->report_fd, F_DUPFD_CLOEXEC, count);
	if (report < 0)
		return -1;
	c->report_fd = report;
	for (int i = 0; i < count; i++) {
		int fd = i == 0 ? s->stdin_fd : i == 1 ? s->stdout_fd : i == 2 ? s->stderr_fd : s->pass_fds[i - 3];
		high[i] = raise_fd(i == 2 && fd < 0 ? STDERR_FILENO : fd, count);
		if (high[i] < 0)
			return -1;
	}
	for (int i = 0; i < count; i++)
		if (dup2(high[i], i) < 0)
			return -1;
	free(high);
	/* Last the report, just above what the program gets; exec closes it. */
	if (dup3(c->report_fd, count, O_CLOEXEC) < 0 && c->report_fd != count)
		return -1;
	c->report_fd = count;
	return close_range((unsigned)count + 1, ~0u, 0);
}

__attribute__((noreturn))
static void run_program(struct child *c, const struct lh_spawn *s)
{
	become(c);
	if (s->own_sysfs)
		own_sysfs();
	if (place_files(c, s))
		fail(c, STAGE_FILES);
	if (s->cwd && chdir(s->cwd))
		fail(c, STAGE_CWD);
	execve(s->argv[0], s->argv, s->envp ? s->envp : short_environment);
	fail(c, STAGE_EXEC);
}

static int check_peer(const struct lh_net *net, unsigned peer, struct lh_err *err)
{
	if (peer >= lh_topology_nodes(net->topology))
		return lh_err_sys(err, LH_EXIT_BROKE, -EINVAL, "peer number %u", peer);
	return 0;
}

/* Wait for the report: nothing (the pipe closed by exec or by the function's start), or what failed. */
static int collect(const struct lh_net *net, unsigned peer, int report, pid_t pid, const char *what, pid_t *ret_pid,
		   int *ret_pidfd, struct lh_err *err)
{
	const char *name = net->topology->peers[peer].name;
	struct failure f;
	ssize_t n;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), code = pidfd < 0 ? -errno : 0;
	do
		n = read(report, &f, sizeof f);
	while (n < 0 && errno == EINTR);
	if (n == sizeof f && f.stage >= STAGE_PARENT && f.stage <= STAGE_EXEC) {
		code = f.code ? -f.code : -ESRCH;
		const char *which = stage_texts[f.stage];
		lh_err_sys(err, LH_EXIT_BROKE, code, "peer %s: %s: %s", name, what, which);
	} else if (code) {
		kill(pid, SIGKILL);
		lh_err_sys(err, LH_EXIT_MACHINE, code, "peer %s: %s: pidfd", name, what);
	}
	if (code) {
		waitpid(pid, NULL, 0);
		if (pidfd >= 0)
			close(pidfd);
		return code;
	}
	*ret_pid = pid;
	if (ret_pidfd)
		*ret_pidfd = pidfd;
	else
		close(pidfd);
	return 0;
}

/* fork(), with the report pipe. In the child *ret_pid is 0. */
static int start(const struct lh_net *net, unsigned peer, struct child *c, int *ret_report, pid_t *ret_pid,
		 struct lh_err *err)
{
	const char *name = net->topology->peers[peer].name;
	int fds[2];
	if (pipe2(fds, O_CLOEXEC))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "peer %s: pipe", name);
	*c = (struct child){ net, peer, getpid(), fds[1] };
	fflush(NULL); /* or both processes would write what is buffered */
	pid_t pid = fork();
	if (pid < 0) {
		int code = -errno;
		close(fds[0]);
		close(fds[1]);
		return lh_err_sys(err, LH_EXIT_MACHINE, code, "peer %s: fork", name);
	}
	close(fds[pid ? 1 : 0]);
	*ret_report = fds[0];
	*ret_pid = pid;
	return 0;
}

int lh_net_spawn(struct lh_net *net, unsigned peer, const struct lh_spawn *spawn, pid_t *ret_pid, int *ret_pidfd,
		 struct lh_err *err)
{
	enum { PASS_FDS_MAX = 256 };
	struct child c;
	int report, rc = check_peer(net, peer, err);
	if (!rc && spawn->npass_fds > PASS_FDS_MAX)
		rc = lh_err_sys(err, LH_EXIT_BROKE, -E2BIG, "peer %s: passed fds", net->topology->peers[peer].name);
	pid_t pid = 0;
	if (!rc)
		rc = start(net, peer, &c, &report, &pid, err);
	if (rc)
		return rc;
	if (pid == 0)
		run_program(&c, spawn);
	rc = collect(net, peer, report, pid, spawn->argv[0], ret_pid, ret_pidfd, err);
	close(report);
	return rc;
}

int lh_net_fork(struct lh_net *net, unsigned peer, int (*fn)(void *ctx), void *ctx, pid_t *ret_pid, int *ret_pidfd,
		struct lh_err *err)
{
	struct child c;
	int report, rc = check_peer(net, peer, err);
	pid_t pid = 0;
	if (!rc)
		rc = start(net, peer, &c, &report, &pid, err);
	if (rc)
		return rc;
	if (pid == 0) {
		become(&c);
		close(c.report_fd);
		int status = fn(ctx);
		fflush(NULL);
		_exit(status);
	}
	rc = collect(net, peer, report, pid, "probe", ret_pid, ret_pidfd, err);
	close(report);
	return rc;
}
