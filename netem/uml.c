/* uml.c - the host's side of User-Mode Linux: boot, run one command, pass everything through, leave nothing.
 *
 * Theory of operation. lh_uml_run() makes a cell (cell.h) that keeps the caller's network. Its worker is the
 * supervisor: it makes a job directory (uml_internal.h) on a private tmpfs, starts linux.uml as a child pinned to one
 * CPU, and then copies the command's output as it grows, hands signals in, and watches the clock until linux.uml has
 * ended. Exit status, output and signals all travel as files, since UML's consoles lose data under pressure; the one
 * thing that needs an event in the guest is a signal, and UML's management console can cause that (Ctrl-Alt-Del).
 *
 * The guest's memory is an unlinked file that linux.uml makes in $TMPDIR and maps executable, so that place must be
 * of the right size and not noexec: the private tmpfs, or, where mounts are refused, a scratch directory that the
 * cell's reaper removes.
 *
 * Pinning matters: each system call of the guest is two ptrace switches, 8 us on one CPU and 80 us across two.
 */
#include "longhaul/cell.h"
#include "cell_internal.h"
#include "uml_internal.h"
#include "uml_xstate_so.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define MEMORY_DEFAULT (1024 * MIB)
#define MEMORY_MIN (64 * MIB)
#define SCRATCH_EXTRA (256 * MIB) /* job files, and UML's own pages beside the guest's memory */

enum {
	XSTATE_KNOWN = 2696, /* bytes of vector state that UML keeps; see uml_xstate.c */
	POLL_MS = 20,        /* where inotify is refused */
	GRACE_MS = 5000,     /* between SIGTERM and the end, after the time limit */
};

/* Written by the supervisor, read by lh_uml_run(): shared memory. */
struct outcome {
	int status;
	struct lh_err err;
};

struct uml {
	const struct lh_uml_options *opt;
	struct lh_uml_caps caps;
	struct outcome *outcome;
	char self[PATH_MAX], cwd[PATH_MAX], input[PATH_MAX];
	const char *tmpfs_dir; /* NULL: none to be had */
	lh_bytes memory_bytes;
	int cpu;
	/* supervisor */
	char job[LH_SCRATCH_MAX];
	pid_t pid;
	int watch_fd, signal_fd;
	struct lh_uml_stream out[2];
	bool ended, timed_out;
	lh_ns deadline_ns; /* 0: none */
};

/* --- job directory --- */

static int job_open(const struct uml *u, const char *name, int flags)
{
	char path[LH_SCRATCH_MAX + 32];
	snprintf(path, sizeof path, "%s/%s", u->job, name);
	return open(path, flags | O_CLOEXEC, 0600);
}

static size_t job_read(const struct uml *u, const char *name, char *buf, size_t size, off_t from_end)
{
	struct stat st;
	int fd = job_open(u, name, O_RDONLY);
	ssize_t n = -1;
	if (fd >= 0 && !fstat(fd, &st))
		n = pread(fd, buf, size - 1, from_end && st.st_size > from_end ? st.st_size - from_end : 0);
	if (fd >= 0)
		close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

static bool below(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	return !strncmp(path, dir, len) && (path[len] == '/' || path[len] == 0);
}

/* The guest's own tmpfs hides these; what the command needs from there is mounted again. */
static bool hidden(const char *path)
{
	return below(path, "/run") || below(path, "/var/run") || below(path, "/dev/shm");
}

static void record(FILE *f, enum lh_uml_record kind, const char *text)
{
	fprintf(f, "%c%s%c", kind, text, 0);
}

static void record_parent(FILE *f, const char *path)
{
	char dir[PATH_MAX];
	snprintf(dir, sizeof dir, "%s", path);
	char *end = strrchr(dir, '/');
	if (!hidden(path) || !end)
		return;
	*end = 0;
	record(f, LH_UML_READABLE, dir);
}

static int job_write(const struct uml *u, struct lh_err *err)
{
	int fd = job_open(u, "job", O_WRONLY | O_CREAT | O_EXCL);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "User-Mode Linux: %s/job", u->job);
	if (hidden(u->cwd))
		record(f, LH_UML_READABLE, u->cwd);
	record_parent(f, u->opt->argv[0]);
	if (u->input[0]) {
		record_parent(f, u->input);
		record(f, LH_UML_STDIN, u->input);
	}
	for (const char *const *w = u->opt->writable; w && *w; w++) {
		char real[PATH_MAX];
		record(f, LH_UML_WRITABLE, realpath(*w, real) ? real : *w);
	}
	for (char **e = environ; e && *e; e++)
		record(f, LH_UML_ENVIRONMENT, *e);
	record(f, LH_UML_CWD, u->cwd);
	for (char *const *a = u->opt->argv; *a; a++)
		record(f, LH_UML_ARGUMENT, *a);
	return fclose(f) ? lh_err_sys(err, LH_EXIT_MACHINE, -errno, "User-Mode Linux: %s/job", u->job) : 0;
}

static int job_make(struct uml *u, struct lh_err *err)
{
	static const char *const names[] = { "out", "err" };
	const char *tmp = getenv("TMPDIR"); /* as for any program; it belongs to the environment that the guest gets */
	const char *const candidates[] = { "/dev/shm", tmp && *tmp ? tmp : "/tmp", "/tmp", "/var/tmp", NULL };
	const char *base = lh_cell_has_tmpfs() ? u->tmpfs_dir : lh_uml_scratch_dir(candidates, u->memory_bytes);
	if (!base)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOSPC,
				  "User-Mode Linux: none of /dev/shm, $TMPDIR, /tmp and /var/tmp has %llu MiB and allows "
				  "execution: set TMPDIR to a directory that does",
				  (unsigned long long)(u->memory_bytes / MIB));
	int rc = lh_cell_scratch_make(base, u->job, sizeof u->job, err);
	for (int i = 0; i < 2 && !rc; i++) {
		u->out[i] = (struct lh_uml_stream){ .to = i + 1, .file = job_open(u, names[i], O_RDWR | O_CREAT | O_EXCL) };
		if (u->out[i].file < 0)
			rc = lh_err_sys(err, LH_EXIT_MACHINE, -errno, "User-Mode Linux: %s", u->job);
	}
	return rc ? rc : job_write(u, err);
}

/* --- linux.uml --- */

/* A host with AMX has more vector state than UML can set without help. */
static bool needs_xstate_help(void)
{
	unsigned a, size, c, d;
	return __get_cpuid_count(0xd, 0, &a, &size, &c, &d) && size > XSTATE_KNOWN;
}

static int xstate_help(const struct uml *u)
{
	char path[LH_SCRATCH_MAX + 32];
	int fd = job_open(u, "xstate.so", O_WRONLY | O_CREAT | O_EXCL);
	ssize_t n = fd < 0 ? -1 : write(fd, lh_uml_xstate_so, sizeof lh_uml_xstate_so);
	if (fd >= 0)
		close(fd);
	snprintf(path, sizeof path, "%s/xstate.so", u->job);
	return n == sizeof lh_uml_xstate_so && !setenv("LD_PRELOAD", path, 1) ? 0 : -EIO;
}

static void uml_exec(const struct uml *u)
{
	char mem[32], dir[LH_SCRATCH_MAX + 32], init[PATH_MAX + 16], job[LH_SCRATCH_MAX + 32];
	struct rlimit no_core = { 0, 0 };
	cpu_set_t cpus;
	sigset_t none;
	CPU_ZERO(&cpus);
	CPU_SET(u->cpu, &cpus);
	sched_setaffinity(0, sizeof cpus, &cpus);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &no_core);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	int console = job_open(u, "console", O_WRONLY | O_CREAT | O_APPEND), in = open("/dev/null", O_RDONLY);
	setsid(); /* what UML does to its process group is its own affair */
	dup2(in, 0);
	dup2(console, 1);
	dup2(console, 2);
	setenv("TMPDIR", u->job, 1);
	unsetenv("LD_PRELOAD"); /* meant for programs of the user; the guest gets it */
	if (needs_xstate_help() && xstate_help(u))
		_exit(126);
	snprintf(mem, sizeof mem, "mem=%lluM", (unsigned long long)(u->memory_bytes / MIB));
	snprintf(dir, sizeof dir, "uml_dir=%s/", u->job);
	snprintf(init, sizeof init, strchr(u->self, ' ') ? "init=\"%s\"" : "init=%s", u->self);
	snprintf(job, sizeof job, LH_UML_VARIABLE "=%s", u->job);
	/* The two initcalls measure RAID algorithms, which is half of the time that a boot takes. */
	execl(u->caps.kernel_path, "linux.uml", mem, dir, "umid=u", "rootfstype=hostfs", "rootflags=/", "ro", "con=null",
	      "con0=null,fd:1", "ssl=null", "quiet", "loglevel=4", "panic=-1",
	      "initcall_blacklist=raid6_select_algo,calibrate_xor_blocks", init, job, (char *)NULL);
	dprintf(2, "exec %s: %s\n", u->caps.kernel_path, strerror(errno));
	_exit(127);
}

/* UML's management console: one datagram, magic number, version, length, text. */
static void console_command(const struct uml *u, const char *text)
{
	struct {
		uint32_t magic, version, len;
		char data[512];
	} m = { 0xcafebabe, 2, (uint32_t)strlen(text) + 1, "" };
	struct sockaddr_un to = { .sun_family = AF_UNIX }, from = { .sun_family = AF_UNIX };
	int n = snprintf(to.sun_path, sizeof to.sun_path, "%s/u/mconsole", u->job);
	int fd = n < (int)sizeof to.sun_path ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
	if (fd < 0)
		return;
	snprintf(m.data, sizeof m.data, "%s", text);
	(void)!bind(fd, (struct sockaddr *)&from, sizeof from.sun_family); /* any name, for the answer */
	(void)!sendto(fd, &m, sizeof m, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
	close(fd);
}

/* Give the command a signal. */
static void signal_send(const struct uml *u, int sig)
{
	unsigned char number = (unsigned char)sig;
	int fd = job_open(u, "signals", O_WRONLY | O_CREAT | O_APPEND);
	if (fd < 0)
		return;
	(void)!write(fd, &number, 1);
	close(fd);
	fd = job_open(u, "up", O_RDONLY);
	if (fd < 0)
		return; /* still booting; pid 1 will look into the file when it is up */
	close(fd);
	console_command(u, "cad");
}

/* --- the supervisor's loop --- */

static void children_reap(struct uml *u)
{
	struct signalfd_siginfo si;
	pid_t got;
	while (read(u->signal_fd, &si, sizeof si) == sizeof si)
		if (si.ssi_signo != SIGCHLD)
			signal_send(u, (int)si.ssi_signo);
	while ((got = waitpid(-1, NULL, WNOHANG)) > 0)
		u->ended |= got == u->pid;
}

static void clock_check(struct uml *u)
{
	lh_ns now = u->deadline_ns ? lh_clock_ns() : 0;
	if (!u->deadline_ns || now < u->deadline_ns)
		return;
	if (u->timed_out)
		kill(u->pid, SIGKILL);
	else
		signal_send(u, SIGTERM);
	u->timed_out = true;
	u->deadline_ns = now + GRACE_MS * LH_NS_PER_MS;
}

static int wait_ms(const struct uml *u)
{
	lh_ns left = u->deadline_ns ? u->deadline_ns - lh_clock_ns() : -1;
	int ms = !u->deadline_ns ? -1 : left <= 0 ? 0 : left > INT_MAX * LH_NS_PER_MS ? INT_MAX : (int)(left / LH_NS_PER_MS) + 1;
	return u->watch_fd < 0 && (ms < 0 || ms > POLL_MS) ? POLL_MS : ms;
}

/* One round: wait for something, pass it on. False: linux.uml has ended and all output is out. */
static bool follow_step(struct uml *u)
{
	char events[4096];
	struct pollfd p[4] = { { u->signal_fd, POLLIN, 0 }, { u->watch_fd, POLLIN, 0 } };
	bool ended = u->ended; /* before the sizes are read: nothing is written after it */
	bool pending = false;
	for (int i = 0; i < 2; i++) {
		bool some = lh_uml_stream_pending(&u->out[i]);
		p[2 + i] = (struct pollfd){ some ? u->out[i].to : -1, POLLOUT, 0 };
		pending |= some;
	}
	if (ended && !pending)
		return false;
	if (poll(p, 4, wait_ms(u)) < 0 && errno != EINTR)
		return false;
	if (p[1].revents)
		(void)!read(u->watch_fd, events, sizeof events);
	for (int i = 0; i < 2; i++)
		if (p[2 + i].revents && lh_uml_stream_pump(&u->out[i]) == -EPIPE)
			signal_send(u, SIGPIPE);
	if (p[0].revents)
		children_reap(u);
	clock_check(u);
	return true;
}

static int follow_open(struct uml *u)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	u->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	u->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (u->watch_fd >= 0 && inotify_add_watch(u->watch_fd, u->job, IN_MODIFY) < 0) {
		close(u->watch_fd);
		u->watch_fd = -1;
	}
	return u->signal_fd < 0 ? -errno : 0;
}

/* The most telling line of what the guest left: its own complaint, the panic, or the console's last line. */
static void last_words(const struct uml *u, char *buf, size_t size)
{
	char text[8192];
	size_t n = job_read(u, "why", text, sizeof text, 0);
	char *line = text;
	if (!n) {
		n = job_read(u, "console", text, sizeof text, sizeof text - 1);
		while (n && text[n - 1] == '\n')
			text[--n] = 0;
		char *panic = strstr(text, "Kernel panic"), *last = strrchr(text, '\n');
		line = panic ? panic : last ? last + 1 : text;
	}
	snprintf(buf, size, "%.*s", (int)strcspn(line, "\n"), line);
}

static void conclude(struct uml *u)
{
	char text[256];
	struct lh_err *err = &u->outcome->err;
	if (u->timed_out) {
		char limit[32];
		lh_err_set(err, LH_EXIT_BROKE, -ETIMEDOUT, "%s: not ended after %s in User-Mode Linux", u->opt->argv[0],
			   lh_ns_print(u->opt->timeout_ns, limit, sizeof limit));
	} else if (job_read(u, "rc", text, sizeof text, 0)) {
		u->outcome->status = atoi(text);
	} else {
		last_words(u, text, sizeof text);
		lh_err_set(err, LH_EXIT_MACHINE, -EIO, "User-Mode Linux (%s) ended without leaving a status: %s",
			   u->caps.kernel_path, *text ? text : "it said nothing");
	}
}

static int supervisor(void *ctx)
{
	struct uml *u = ctx;
	struct lh_err *err = &u->outcome->err;
	int rc = lh_cell_has_tmpfs() ? lh_uml_confine(u->opt->writable, u->tmpfs_dir) : 0;
	if (rc)
		lh_err_sys(err, LH_EXIT_MACHINE, rc, "User-Mode Linux: make the host read-only");
	else
		rc = job_make(u, err);
	if (!rc && (rc = follow_open(u)))
		lh_err_sys(err, LH_EXIT_MACHINE, rc, "User-Mode Linux: signalfd");
	if (rc)
		return LH_EXIT_MACHINE;
	u->deadline_ns = u->opt->timeout_ns ? lh_clock_ns() + u->opt->timeout_ns : 0;
	u->pid = fork();
	if (u->pid == 0)
		uml_exec(u);
	if (u->pid < 0) {
		lh_err_sys(err, LH_EXIT_MACHINE, -errno, "User-Mode Linux: fork");
		return LH_EXIT_MACHINE;
	}
	while (follow_step(u))
		;
	conclude(u);
	return u->outcome->status;
}

/* --- the caller --- */

static int cpu_choose(int wanted)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	if (wanted >= 0 || sched_getaffinity(0, sizeof set, &set) || !CPU_COUNT(&set))
		return wanted >= 0 ? wanted : 0;
	int skip = getpid() % CPU_COUNT(&set), cpu = 0;
	while (!CPU_ISSET(cpu, &set) || skip--)
		cpu++;
	return cpu;
}

/* A directory that the supervisor may cover with its tmpfs, since nothing that the command needs lies below it. */
static const char *tmpfs_dir_choose(const struct uml *u)
{
	static const char *const candidates[] = { "/dev/shm", "/mnt", "/media", "/srv", "/opt", "/var/tmp", "/tmp" };
	for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
		const char *c = candidates[i];
		struct stat st;
		bool used = below(u->cwd, c) || below(u->self, c) || below(u->input, c) || below(u->opt->argv[0], c);
		for (const char *const *w = u->opt->writable; w && *w && !used; w++)
			used = below(*w, c);
		if (!used && !stat(c, &st) && S_ISDIR(st.st_mode))
			return c;
	}
	return NULL;
}

static int options_check(struct uml *u, struct lh_err *err)
{
	char link[32];
	struct stat st;
	if (!u->opt->argv || !u->opt->argv[0] || u->opt->argv[0][0] != '/')
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "User-Mode Linux: the command needs an absolute path");
	if (!realpath(u->opt->cwd ? u->opt->cwd : ".", u->cwd))
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "%s", u->opt->cwd ? u->opt->cwd : ".");
	for (const char *const *w = u->opt->writable; w && *w; w++)
		if (stat(*w, &st) || !S_ISDIR(st.st_mode) || **w != '/' || !w[0][1])
			return lh_err_set(err, LH_EXIT_INPUT, -ENOTDIR, "%s: not a directory that the guest could write", *w);
	ssize_t n = readlink("/proc/self/exe", u->self, sizeof u->self - 1);
	if (n < 0 || access(u->self, X_OK))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "User-Mode Linux: this executable");
	/* Stdin can be passed as a file by its name; a pipe or a terminal cannot. */
	snprintf(link, sizeof link, "/proc/self/fd/0");
	if (fstat(0, &st) || !S_ISREG(st.st_mode) || (n = readlink(link, u->input, sizeof u->input - 1)) < 0 || access(u->input, R_OK))
		u->input[0] = 0;
	return 0;
}

int lh_uml_run(const struct lh_uml_options *opt, int *ret_status, struct lh_err *err)
{
	struct uml u = { .opt = opt, .memory_bytes = opt->memory_bytes ? opt->memory_bytes : MEMORY_DEFAULT };
	int rc = options_check(&u, err);
	if (!rc)
		rc = lh_uml_probe(&u.caps, err);
	if (rc)
		return rc;
	if (!u.caps.usable)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOENT, "User-Mode Linux: %s", u.caps.why);
	if (u.memory_bytes < MEMORY_MIN)
		u.memory_bytes = MEMORY_MIN;
	u.cpu = cpu_choose(opt->cpu);
	u.tmpfs_dir = tmpfs_dir_choose(&u);
	u.outcome = mmap(NULL, sizeof *u.outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (u.outcome == MAP_FAILED)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "User-Mode Linux: mmap");
	struct lh_cell_options cell = {
		.allow_reaper = true, .tmpfs_dir = u.tmpfs_dir, .tmpfs_bytes = u.memory_bytes + SCRATCH_EXTRA,
	};
	rc = lh_cell_run(&cell, supervisor, &u, ret_status, err);
	if (!rc && u.outcome->err.code) {
		rc = u.outcome->err.code;
		if (err)
			*err = u.outcome->err;
	}
	munmap(u.outcome, sizeof *u.outcome);
	return rc;
}
