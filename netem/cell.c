/* cell.c - a worker in private namespaces that cannot outlive its caller.
 *
 * Theory of operation. The normal cell is one process: a child made by clone() with new pid, mount, ipc and (where
 * asked) net namespaces, inside a new user namespace unless we are root and do not need one. It is pid 1 there, so
 * its death is the death of everything inside. It gets PR_SET_PDEATHSIG against the death of the caller; the pipe
 * `life` closes the gap between clone() and that prctl(): an end of file there means that the caller was gone before.
 *
 * Some machines refuse pid namespaces (a container's seccomp filter, AppArmor, sysctl). There a reaper stands between
 * caller and worker: reaper.c.
 *
 * Order in the worker matters: id maps first (everything after needs the capabilities), PDEATHSIG after them (a
 * change of credentials would clear it), mounts made private before any is added (else they would reach the host).
 *
 * Signals: the worker is a session of its own, so that a terminal's Ctrl-C reaches it once, through the caller. It
 * starts with the passed-on signals blocked; pid 1 of a namespace would otherwise ignore them by default.
 */
#include "cell_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What this process is; set once, in the worker. */
static struct {
	bool tmpfs;
	int scratch_fd; /* to the reaper; -1: none */
	pid_t caller;
} here = { .scratch_fd = -1 };

int lh_wait_status(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

pid_t lh_cell_clone(int flags)
{
	fflush(NULL); /* or both processes would print what is buffered */
	long pid = syscall(SYS_clone, (unsigned long)flags | SIGCHLD, NULL, NULL, NULL, 0);
	return pid < 0 ? -errno : (pid_t)pid;
}

static int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
	close(fd);
	return rc;
}

/* The caller's own ids become root's inside; no other id exists there. */
static int map_ids(uid_t uid, gid_t gid, const char **what)
{
	char line[64];
	*what = "write setgroups";
	int rc = file_write("/proc/self/setgroups", "deny");
	if (rc && rc != -ENOENT)
		return rc;
	*what = "write uid_map";
	snprintf(line, sizeof line, "0 %u 1", uid);
	if ((rc = file_write("/proc/self/uid_map", line)))
		return rc;
	*what = "write gid_map";
	snprintf(line, sizeof line, "0 %u 1", gid);
	return file_write("/proc/self/gid_map", line);
}

static int private_mounts(const struct lh_cell_start *start, const char **what)
{
	const struct lh_cell_options *opt = start->opt;
	*what = "make mounts private";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	/* A container's masked /proc may not be mounted anew; the old one then shows the outer pids, which we can live with. */
	if (start->clone_flags & CLONE_NEWPID && mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) &&
	    errno != EPERM && errno != EACCES && errno != EBUSY)
		return *what = "mount proc", -errno;
	if (!opt->tmpfs_dir)
		return 0;
	char options[64];
	snprintf(options, sizeof options, "mode=0700,size=%llu", (unsigned long long)opt->tmpfs_bytes);
	*what = "mount tmpfs";
	if (mount("longhaul", opt->tmpfs_dir, "tmpfs", MS_NOSUID | MS_NODEV, options))
		return -errno;
	here.tmpfs = true;
	return 0;
}

/* The caller is gone already: PDEATHSIG came too late to be told. */
static bool orphaned(const struct lh_cell_start *start)
{
	if (start->reaper)
		return getppid() != start->reaper_pid;
	struct pollfd p = { .fd = start->life[0], .events = POLLIN };
	return poll(&p, 1, 0) != 0 && !(p.revents & POLLIN);
}

void lh_cell_tell(const struct lh_cell_start *start, int code, const char *what)
{
	struct lh_cell_report r = { .code = code };
	snprintf(r.text, sizeof r.text, "%s", what);
	if (write(start->report[1], &r, sizeof r) != sizeof r)
		_exit(127); /* nobody there */
}

static int worker_setup(struct lh_cell_start *start, const char **what)
{
	sigset_t child; /* blocked by the caller, for its own watch */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &child, NULL);
	int rc = start->clone_flags & CLONE_NEWUSER ? map_ids(start->uid, start->gid, what) : 0;
	if (rc)
		return rc;
	*what = "prctl";
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	if (orphaned(start))
		_exit(127);
	setsid();
	return start->clone_flags & CLONE_NEWNS ? private_mounts(start, what) : 0;
}

void lh_cell_worker(struct lh_cell_start *start)
{
	const char *what = "";
	close(start->life[1]);
	close(start->report[0]);
	int rc = worker_setup(start, &what);
	close(start->life[0]);
	here.caller = start->caller;
	here.scratch_fd = start->reaper ? start->scratch[1] : -1;
	lh_cell_tell(start, rc, what);
	close(start->report[1]);
	rc = rc ? 127 : start->fn(start->ctx);
	fflush(NULL);
	_exit(rc & 255);
}

bool lh_cell_has_tmpfs(void) { return here.tmpfs; }

int lh_cell_scratch_make(const char *parent, char *ret_path, size_t size, struct lh_err *err)
{
	unsigned long long id;
	if (getrandom(&id, sizeof id, 0) != sizeof id)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "scratch directory: getrandom");
	char path[LH_SCRATCH_MAX];
	int len = snprintf(path, sizeof path, "%s/longhaul-%d-%016llx", parent, here.caller, id);
	if (len >= (int)sizeof path || (size_t)len >= size)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENAMETOOLONG, "scratch directory in %s", parent);
	/* Told before it is made: the reaper must know it whenever we die. */
	if (here.scratch_fd >= 0 && send(here.scratch_fd, path, (size_t)len + 1, MSG_NOSIGNAL) < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "scratch directory %s: tell the reaper", path);
	if (mkdir(path, 0700))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "scratch directory %s", path);
	memcpy(ret_path, path, (size_t)len + 1);
	return 0;
}

/* --- caller's side --- */

static void start_close(struct lh_cell_start *start)
{
	int *ends[] = { start->life, start->report, start->scratch };
	for (size_t i = 0; i < 6; i++) {
		int *fd = &ends[i / 2][i % 2];
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
}

static int start_open(struct lh_cell_start *start)
{
	for (int i = 0; i < 2; i++)
		start->life[i] = start->report[i] = start->scratch[i] = -1;
	if (pipe2(start->life, O_CLOEXEC) || pipe2(start->report, O_CLOEXEC) ||
	    (start->reaper && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, start->scratch))) {
		int rc = -errno;
		start_close(start);
		return rc;
	}
	return 0;
}

static pid_t reap(pid_t pid, int flags, int *ret_status)
{
	pid_t got;
	do
		got = waitpid(pid, ret_status, flags);
	while (got < 0 && errno == EINTR);
	return got;
}

pid_t lh_cell_attempt(struct lh_cell_start *start, struct lh_err *err)
{
	int rc = start_open(start);
	if (rc)
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "cell: pipe");
	start->caller = getpid();
	start->uid = geteuid();
	start->gid = getegid();
	pid_t pid = lh_cell_clone(start->reaper ? 0 : start->clone_flags);
	if (pid == 0 && start->reaper)
		_exit(lh_reaper_main(start));
	if (pid == 0)
		lh_cell_worker(start);
	if (pid < 0) {
		start_close(start);
		return lh_err_sys(err, LH_EXIT_MACHINE, pid, "cell: clone");
	}
	close(start->life[0]);
	close(start->report[1]);
	start->life[0] = start->report[1] = -1;
	struct lh_cell_report report = { .code = -ECHILD, .text = "the worker died at its start" };
	if (read(start->report[0], &report, sizeof report) == sizeof report && report.code == 0)
		return pid;
	reap(pid, 0, NULL);
	start_close(start);
	return lh_err_sys(err, LH_EXIT_MACHINE, report.code, "cell: %s", report.text);
}

int lh_cell_end(struct lh_cell_start *start, pid_t pid)
{
	int status = 0;
	pid_t got = reap(pid, 0, &status);
	start_close(start);
	return got == pid && status == 0 ? 0 : -ECHILD;
}

struct watch {
	sigset_t old;
	struct sigaction old_child;
	int fd; /* signalfd */
};

static int watch_open(struct watch *w)
{
	static const int pass[] = { SIGINT, SIGTERM, SIGHUP };
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < sizeof pass / sizeof *pass; i++) {
		struct sigaction sa;
		/* nohup ignores SIGHUP on purpose; blocked, it would come through. (Shells without job control ignore
		 * SIGINT for background jobs; there an explicit kill -INT is meant all the same.) */
		if (pass[i] != SIGHUP || (!sigaction(SIGHUP, NULL, &sa) && sa.sa_handler != SIG_IGN))
			sigaddset(&set, pass[i]);
	}
	w->fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (w->fd < 0)
		return -errno;
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigaction(SIGCHLD, &dfl, &w->old_child);
	sigprocmask(SIG_BLOCK, &set, &w->old);
	return 0;
}

static void watch_close(struct watch *w)
{
	close(w->fd);
	sigaction(SIGCHLD, &w->old_child, NULL);
	sigprocmask(SIG_SETMASK, &w->old, NULL);
}

/* Wait for the cell's end and pass signals on. Returns the exit status. */
static int supervise(struct lh_cell_start *start, const struct watch *w, pid_t pid)
{
	int asked[NSIG] = { 0 }, ended_by = 0, status = 0;
	for (;;) {
		pid_t got = reap(pid, WNOHANG, &status);
		if (got)
			return ended_by ? 128 + ended_by : got == pid ? lh_wait_status(status) : 127;
		struct signalfd_siginfo si;
		if (read(w->fd, &si, sizeof si) != sizeof si || si.ssi_signo == SIGCHLD)
			continue;
		int sig = (int)si.ssi_signo;
		if (++asked[sig] > 1 && sig != SIGHUP) {
			ended_by = sig;
			if (start->reaper && start->life[1] >= 0) { /* as if we had died */
				close(start->life[1]);
				start->life[1] = -1;
			} else if (!start->reaper) {
				kill(pid, SIGKILL);
			}
		} else if (!start->reaper) {
			kill(pid, sig);
		} else if (start->life[1] >= 0) {
			unsigned char byte = (unsigned char)sig;
			(void)!write(start->life[1], &byte, 1);
		}
	}
}

/* The ways to make a cell, best first. Returns how many there are for this caller. */
struct variant {
	int flags;
	bool reaper;
};
enum { NVARIANTS = 5 };

static size_t variants(const struct lh_cell_options *opt, struct variant list[NVARIANTS])
{
	int mine = CLONE_NEWNS | CLONE_NEWIPC | (opt->need_net ? CLONE_NEWNET : 0);
	size_t n = 0;
	if (geteuid() == 0)
		list[n++] = (struct variant){ mine | CLONE_NEWPID, false };
	list[n++] = (struct variant){ mine | CLONE_NEWPID | CLONE_NEWUSER, false };
	if (!opt->allow_reaper)
		return n;
	if (geteuid() == 0)
		list[n++] = (struct variant){ mine, true };
	list[n++] = (struct variant){ mine | CLONE_NEWUSER, true };
	if (!opt->need_net)
		list[n++] = (struct variant){ 0, true };
	return n;
}

int lh_cell_run(const struct lh_cell_options *opt, int (*fn)(void *ctx), void *ctx, int *ret_status, struct lh_err *err)
{
	struct variant list[NVARIANTS];
	struct watch w;
	struct lh_cell_start start = { .opt = opt, .fn = fn, .ctx = ctx };
	size_t n = variants(opt, list);
	int rc = watch_open(&w);
	if (rc)
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "cell: signalfd");
	struct lh_err first = LH_ERR_INIT;
	pid_t pid = -1;
	for (size_t i = 0; i < n && pid < 0; i++) {
		struct lh_err e = LH_ERR_INIT;
		start.clone_flags = list[i].flags;
		start.reaper = list[i].reaper;
		pid = lh_cell_attempt(&start, &e);
		/* The refusal that a remedy exists for is the one of user namespaces, not root's first try. */
		if (pid < 0 && (!first.code || list[i].flags & CLONE_NEWUSER) && !list[i].reaper)
			first = e;
	}
	if (pid >= 0) {
		*ret_status = supervise(&start, &w, pid);
		start_close(&start);
	}
	watch_close(&w);
	if (pid >= 0)
		return 0;
	const char *remedy = lh_cell_remedy();
	return lh_err_set(err, LH_EXIT_MACHINE, first.code, "%s%s%s", first.text, *remedy ? "; " : "", remedy);
}
