/* session.c - from a command line to a process that may build a network (the order is the contract of session.h).
 *
 *   file -> plan -> which kernel? -> run directory -> cell (this kernel) or User-Mode Linux -> body
 *
 * Everything up to "which kernel?" touches nothing that outlives it: input errors leave no trace. What this kernel
 * can do is found by trying it in a cell that is thrown away. Inside User-Mode Linux the same command line runs
 * once more, with --internal-inside-uml naming the run directory that was made outside, so the file is read twice
 * and no state has to be carried across; that second process never boots a third kernel.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "longhaul/cell.h"
#include "gpu.h"
#include "machine.h"
#include "meminfo.h"

#define MIB ((lh_bytes)1 << 20)

/* Guest memory: the kernel and this process, and for each peer a process with its model (a touch above what the
 * cpu engine's models take) or just a namespace. Guest RAM is a sparse file: what is not used costs nothing. */
#define GUEST_BASE_BYTES (384 * MIB)
#define GUEST_TRAINING_PEER_BYTES (96 * MIB)
#define GUEST_IDLE_PEER_BYTES (1 * MIB)
/* A paced peer holds its pseudo-gradient and the sum, as floats. */
#define PACED_COPIES 3

enum { DEFAULT_DIR_TRIES = 8 };

struct session_state {
	struct lh_session s;
	const struct lh_session_options *opt;
	int (*body)(struct lh_session *s);
	bool *ended;              /* shared with the cell: the status is the body's own */
	struct lh_plan *plan;
	char out_dir[PATH_MAX];
};

/* ---- where this program's other parts are ---- */

static bool first_existing(const char *const *candidates, char *ret, size_t size)
{
	char full[PATH_MAX];
	for (; *candidates; candidates++)
		if (realpath(*candidates, full) && strlen(full) < size) {
			strcpy(ret, full);
			return true;
		}
	return false;
}

int lh_session_peer_program(const struct lh_invocation *inv, char *ret, size_t size, struct lh_err *err)
{
	char self[PATH_MAX], beside[PATH_MAX + 64], build[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "/proc/self/exe");
	self[n] = 0;
	int dir = (int)(strrchr(self, '/') - self);
	snprintf(beside, sizeof beside, "%.*s/longhaul-peer", dir, self);
	snprintf(build, sizeof build, "%.*s/../trainer/longhaul-peer", dir, self);
	const char *given = inv->peer_program;
	const char *const peer[] = { given ? given : beside, given ? NULL : build, LH_LIBEXECDIR "/longhaul-peer",
				     NULL };
	if (first_existing(peer, ret, size))
		return 0;
	if (given)
		return lh_err_sys(err, LH_EXIT_INPUT, -ENOENT, "LONGHAUL_PEER_PROGRAM=%s", given);
	ret[0] = 0; /* a command that needs it says so */
	return 0;
}

int lh_session_data_dir(const struct lh_invocation *inv, char *ret, size_t size, struct lh_err *err)
{
	char self[PATH_MAX], build[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "/proc/self/exe");
	self[n] = 0;
	snprintf(build, sizeof build, "%.*s/../trainer/data", (int)(strrchr(self, '/') - self), self);
	const char *given = inv->data_dir;
	const char *const data[] = { given ? given : build, given ? NULL : LH_DATADIR "/data", NULL };
	ret[0] = 0;
	if (!first_existing(data, ret, size) && given)
		return lh_err_sys(err, LH_EXIT_INPUT, -ENOENT, "LONGHAUL_DATA=%s", given);
	return 0;
}

static int find_parts(struct lh_session *s, struct lh_err *err)
{
	ssize_t n = readlink("/proc/self/exe", s->self_path, sizeof s->self_path - 1);
	if (n < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "/proc/self/exe");
	s->self_path[n] = 0;
	int rc = lh_session_peer_program(s->inv, s->peer_path, sizeof s->peer_path, err);
	return rc ? rc : lh_session_data_dir(s->inv, s->data_dir, sizeof s->data_dir, err);
}

/* Before anything is touched, since no run would come of it. */
static int parts_check(const struct lh_session *s, struct lh_err *err)
{
	if (!s->peer_path[0])
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOENT,
				  "longhaul-peer: neither beside %s nor in %s; install it there, or "
				  "name it with LONGHAUL_PEER_PROGRAM",
				  s->self_path, LH_LIBEXECDIR);
	if (access(s->peer_path, X_OK))
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "peer program %s", s->peer_path);
	if (!s->data_dir[0])
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOENT,
				  "data sets: not in %s; install them there, or name their folder with LONGHAUL_DATA",
				  LH_DATADIR "/data");
	if (access(s->data_dir, R_OK | X_OK))
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "data sets in %s", s->data_dir);
	return 0;
}

/* ---- the run directory ---- */

static int out_dir_make(const char *path, char *ret_full, struct lh_err *err)
{
	if (mkdir(path, 0777))
		return errno == EEXIST ? lh_err_set(err, LH_EXIT_INPUT, -EEXIST,
						    "run directory %s exists; nothing is overwritten: "
						    "remove it or name another",
						    path)
				       : lh_err_sys(err, LH_EXIT_INPUT, -errno, "run directory %s", path);
	if (!realpath(path, ret_full))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "run directory %s", path);
	return 0;
}

/* longhaul-runs/<UTC>-<name>-<id>; the clock is only a name here. */
static int out_dir_make_default(const char *name, char *ret_full, struct lh_err *err)
{
	char path[256], stamp[32], plain[64];
	time_t now = time(NULL);
	struct tm tm;
	strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
	size_t n = 0;
	for (; name[n] && n < sizeof plain - 1; n++)
		plain[n] = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", name[n]) ? name[n]
													       : '_';
	plain[n] = 0;
	if (mkdir("longhaul-runs", 0777) && errno != EEXIST)
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "run directory longhaul-runs (name another with -o)");
	int rc = -EEXIST;
	for (int i = 0; i < DEFAULT_DIR_TRIES && rc == -EEXIST; i++) {
		unsigned short id;
		if (getrandom(&id, sizeof id, 0) != sizeof id)
			return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "getrandom");
		snprintf(path, sizeof path, "longhaul-runs/%s-%s-%04x", stamp, plain, id);
		rc = out_dir_make(path, ret_full, err);
	}
	return rc;
}

static int out_dir_prepare(struct session_state *st, struct lh_err *err)
{
	const struct lh_invocation *inv = st->s.inv;
	if (inv->inside_uml) {
		snprintf(st->out_dir, sizeof st->out_dir, "%s", inv->inside_uml);
	} else if (inv->resume_dir && !st->opt->resumes_apart) {
		if (!realpath(inv->resume_dir, st->out_dir))
			return lh_err_sys(err, LH_EXIT_INPUT, -errno, "--resume %s", inv->resume_dir);
	} else if (st->opt->uses_out_dir && inv->out_dir) {
		int rc = out_dir_make(inv->out_dir, st->out_dir, err);
		if (rc)
			return rc;
	} else if (st->opt->makes_out_dir) {
		int rc = out_dir_make_default(st->s.exp.topology.name, st->out_dir, err);
		if (rc)
			return rc;
	}
	st->s.out_dir = st->out_dir[0] ? st->out_dir : NULL;
	return 0;
}

/* Refuse early what out_dir_make would refuse, before a kernel is tried. */
static int out_dir_check(const struct session_state *st, struct lh_err *err)
{
	const char *path = st->s.inv->out_dir;
	char parent[PATH_MAX];
	struct stat info;
	if (!path || st->s.inv->inside_uml || !st->opt->uses_out_dir)
		return 0;
	if (!lstat(path, &info))
		return lh_err_set(err, LH_EXIT_INPUT, -EEXIST,
				  "run directory %s exists; nothing is overwritten: remove it or name another", path);
	if (errno != ENOENT || snprintf(parent, sizeof parent, "%s", path) >= (int)sizeof parent)
		return lh_err_sys(err, LH_EXIT_INPUT, errno == ENOENT ? -ENAMETOOLONG : -errno, "run directory %s",
				  path);
	if (access(dirname(parent), W_OK | X_OK))
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "run directory %s", path);
	return 0;
}

/* When nothing was written the directory goes again. */
static void out_dir_forget(const struct session_state *st)
{
	if (st->out_dir[0] && !st->s.inv->inside_uml && (!st->s.inv->resume_dir || st->opt->resumes_apart))
		rmdir(st->out_dir);
}

/* ---- what this kernel can do ---- */

/* Why the host kernel will not do, in *why; 0 when it will. */
static int host_kernel_refuses(bool needs_netem, char *why, size_t size)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_caps caps;
	if (lh_machine_try_kernel(&caps, &err))
		snprintf(why, size, "%s", err.text);
	else if (needs_netem && !caps.netem)
		snprintf(why, size, "this kernel has no sch_netem");
	else
		return 0;
	return 1;
}

/* ---- memory ---- */

static int memory_check(const struct lh_experiment *exp, const struct lh_plan *plan, struct lh_err *err)
{
	lh_bytes need = lh_plan_memory_bytes(plan), have = lh_memory_available();
	bool tuned = exp->training.given && exp->training.sockets == LH_SOCKETS_TUNED;
	char a[32], b[32];
	if (!have || need <= have)
		return 0;
	return lh_err_set(err, LH_EXIT_MACHINE, -ENOMEM,
			  "network %s: packets in flight and full queues can take %s of kernel memory, %s are free; %s",
			  exp->topology.name, lh_bytes_print(need / MIB * MIB, a, sizeof a),
			  lh_bytes_print(have / MIB * MIB, b, sizeof b),
			  tuned ? "sockets: tuned makes buffers for each path's rate, 10 Gbit/s where there is none: give "
				  "rates, or use fewer peers or sockets: study" :
				  "lower a rate, an RTT or a queue, or use fewer peers");
}

static const struct lh_experiment *largest(const struct session_state *st)
{
	return st->opt->largest ? st->opt->largest : &st->s.exp;
}

/* What the sockets of all peers can hold: on a receive buffer's way every segment is still in its sender's, too. The
 * guest's TCP may use half of its memory (netem/uml_init.c); if that ran short it would drop segments that no link did. */
static lh_bytes socket_memory(const struct lh_experiment *exp)
{
	const struct lh_topology *t = &exp->topology;
	lh_bytes streams = lh_experiment_streams(exp), sum = 0, have = lh_memory_available();

	streams = exp->probe.streams > streams ? exp->probe.streams : streams;
	for (unsigned i = 0; i < t->npeers; i++)
		sum += ((lh_bytes)t->peers[i].tcp.rmem[2] + t->peers[i].tcp.wmem[2]) * streams * (t->npeers - 1);
	for (unsigned i = 0; i < t->npeers && exp->training.store; i++) /* one stream between each peer and the store */
		sum += (lh_bytes)t->peers[i].tcp.rmem[2] + t->peers[exp->training.store].tcp.wmem[2];
	sum *= 2;
	return have && sum > have / 2 ? have / 2 : sum;
}

static lh_bytes guest_memory(const struct session_state *st)
{
	const struct lh_experiment *exp = largest(st);
	lh_bytes peer = exp->training.given ? GUEST_TRAINING_PEER_BYTES : GUEST_IDLE_PEER_BYTES;
	if (exp->training.given && exp->training.engine == LH_ENGINE_PACED)
		for (unsigned i = 0; i < exp->topology.npeers; i++) {
			const struct lh_catalogue_entry *e =
				lh_catalogue_find(exp->training.model, exp->topology.peers[i].device);
			lh_bytes bytes =
				e ? (GUEST_TRAINING_PEER_BYTES / 4 + e->parameters * sizeof(float) * PACED_COPIES) : 0;
			peer = bytes > peer ? bytes : peer;
		}
	if (st->s.memory.known && st->s.memory.host > peer)
		peer = st->s.memory.host;
	peer = st->opt->peer_bytes ? st->opt->peer_bytes : peer;
	return (GUEST_BASE_BYTES + lh_plan_memory_bytes(st->plan) + socket_memory(exp) + peer * exp->topology.npeers + MIB -
		1) / MIB * MIB;
}

/* ---- entering ---- */

/* First thing in the cell: from here on signals arrive as data. */
static int body_in_cell(void *ctx)
{
	struct session_state *st = ctx;
	struct lh_err err = LH_ERR_INIT;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	st->s.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (st->s.signal_fd < 0) {
		lh_err_sys(&err, LH_EXIT_MACHINE, -errno, "signalfd");
		return lh_fail(&err);
	}
	if (lh_caps_probe(&st->s.caps, &err))
		return lh_fail(&err);
	st->s.where = st->s.inv->inside_uml ? LH_NETEM_UML : st->s.caps.netem ? LH_NETEM_HOST : LH_NETEM_NONE;
	int status = st->body(&st->s);
	errno = 0;
	if ((fflush(stdout) || ferror(stdout)) && status == LH_EXIT_OK) {
		lh_err_sys(&err, LH_EXIT_MACHINE, errno ? -errno : -EIO, "standard output");
		status = lh_fail(&err);
	}
	if (st->ended)
		*st->ended = true;
	return status;
}

/* A signal that is not the user's to us ended the process in which everything happens. */
static int worker_killed(int status)
{
	struct lh_err err = LH_ERR_INIT;
	int sig = status - 128;
	if (sig <= 0 || sig == SIGINT || sig == SIGTERM || sig == SIGHUP)
		return status;
	lh_err_set(&err, LH_EXIT_BROKE, -ECHILD,
		   "the process that holds the network was killed by signal %d (%s)%s; there is no result", sig,
		   strsignal(sig), sig == SIGKILL ? ", by hand or for want of memory" : "");
	return lh_fail(&err);
}

static int enter_host(struct session_state *st)
{
	struct lh_cell_options opt = { .need_net = true, .allow_reaper = true };
	struct lh_err err = LH_ERR_INIT;
	int status = 0;
	st->ended = mmap(NULL, sizeof *st->ended, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (st->ended == MAP_FAILED)
		st->ended = NULL; /* then the status must do */
	fflush(NULL);
	if (lh_cell_run(&opt, body_in_cell, st, &status, &err)) {
		out_dir_forget(st);
		status = lh_fail(&err);
	} else if (st->ended && !*st->ended) {
		status = worker_killed(status);
	}
	if (st->ended)
		munmap(st->ended, sizeof *st->ended);
	return status;
}

static int enter_uml(struct session_state *st)
{
	const struct lh_invocation *inv = st->s.inv;
	struct lh_err err = LH_ERR_INIT;
	char inside[PATH_MAX + 32], peer[PATH_MAX + 32], data[PATH_MAX + 32], catalogue[PATH_MAX + 32], cwd[PATH_MAX];
	char faults[256], animate[] = "--internal-animate";
	char **argv = calloc((size_t)inv->argc + 7, sizeof *argv);
	const char *writable[] = { st->s.out_dir, NULL };
	int n = 0, status = 0;
	if (!argv || !getcwd(cwd, sizeof cwd)) {
		lh_err_sys(&err, LH_EXIT_MACHINE, -errno, "current directory");
		free(argv);
		return lh_fail(&err);
	}
	snprintf(inside, sizeof inside, "--internal-inside-uml=%s", st->out_dir);
	snprintf(peer, sizeof peer, "--internal-peer-program=%s", st->s.peer_path);
	snprintf(data, sizeof data, "--internal-data-dir=%s", st->s.data_dir);
	snprintf(faults, sizeof faults, "--internal-faults=%s", inv->faults ? inv->faults : "");
	argv[n++] = st->s.self_path;
	argv[n++] = inv->argv[1];
	argv[n++] = inside;
	if (st->s.peer_path[0])
		argv[n++] = peer;
	if (st->s.data_dir[0])
		argv[n++] = data;
	if (inv->animate) /* the guest sees a file, not the terminal */
		argv[n++] = animate;
	if (inv->faults && inv->faults[0])
		argv[n++] = faults;
	if (inv->catalogue) {
		snprintf(catalogue, sizeof catalogue, "--internal-catalogue=%s", inv->catalogue);
		argv[n++] = catalogue;
	}
	for (int i = 2; i < inv->argc; i++)
		argv[n++] = inv->argv[i];
	struct lh_uml_options opt = {
		.argv = argv,
		.cwd = cwd,
		.writable = writable,
		.memory_bytes = guest_memory(st),
		.cpu = -1,
	};
	fflush(NULL);
	if (lh_uml_run(&opt, &status, &err)) {
		out_dir_forget(st);
		status = lh_fail(&err);
	}
	free(argv);
	return status;
}

static int no_kernel(const char *why, const char *uml_why, struct lh_err *err)
{
	return lh_err_set(err, LH_EXIT_MACHINE, -EOPNOTSUPP, "%s, and User-Mode Linux cannot stand in: %s", why,
			  uml_why);
}

/* What the schedule makes of a link later must be possible too (a cut is, without netem). */
static bool needs_netem(const struct session_state *st)
{
	const struct lh_experiment *exp = &st->s.exp;
	bool needs = st->opt->needs_netem || lh_plan_needs_netem(st->plan);
	for (size_t i = 0; i < exp->nchanges; i++)
		needs |= exp->changes[i].kind == LH_CHANGE_LINK && lh_impairment_needs_netem(&exp->changes[i].imp);
	return needs;
}

/* *ret_uml: enter User-Mode Linux. */
static int kernel_choose(const struct session_state *st, bool *ret_uml, struct lh_err *err)
{
	enum lh_kernel_choice choice = st->s.inv->kernel;
	struct lh_uml_caps uml = { 0 };
	char why[640] = "--kernel uml";
	*ret_uml = false;
	if (st->s.inv->inside_uml)
		return lh_uml_inside() ? 0
				       : lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
						    "--internal-inside-uml is not for use by hand");
	if (choice != LH_KERNEL_UML && !host_kernel_refuses(needs_netem(st), why, sizeof why))
		return 0;
	if (choice == LH_KERNEL_HOST)
		return lh_err_set(err, LH_EXIT_MACHINE, -EOPNOTSUPP,
				  "--kernel host: %s; try --kernel uml, or see 'longhaul doctor'", why);
	int rc = lh_uml_probe(&uml, err);
	if (rc)
		return rc;
	if (!uml.usable)
		return no_kernel(why, uml.why, err);
	*ret_uml = true;
	int major = 0, minor = 0;
	bool known = sscanf(uml.release, "%d.%d", &major, &minor) == 2;
	fprintf(stderr,
		known ? "longhaul: %s: running inside User-Mode Linux %d.%d\n"
		      : "longhaul: %s: running inside User-Mode Linux\n",
		why, major, minor);
	return 0;
}

/* What the training takes, and whether that is there; a microbatch that the user left open is chosen by it. */
static int training_memory(struct session_state *st, struct lh_err *err)
{
	const struct lh_experiment *exp = largest(st);
	if (!st->opt->trains || !exp->training.given || st->opt->peer_bytes)
		return 0;
	int rc = lh_memory_plan(&st->s, exp, &st->s.memory, err);
	if (!rc)
		rc = lh_memory_check(&st->s.memory, exp, err);
	if (!rc && st->s.memory.chosen)
		st->s.exp.training.microbatch = st->s.memory.microbatch;
	return rc;
}

static int session_prepare(struct session_state *st, bool *ret_uml, struct lh_err *err)
{
	int rc = st->opt->check ? st->opt->check(st->s.inv, &st->s.exp, err) : 0;
	if (!rc)
		rc = out_dir_check(st, err);
	if (!rc)
		rc = find_parts(&st->s, err);
	if (!rc && st->opt->trains)
		rc = parts_check(&st->s, err);
	if (!rc)
		rc = lh_plan_new(&largest(st)->topology, NULL, &st->plan, err);
	if (rc && err->exit == LH_EXIT_OK)
		err->exit = LH_EXIT_INPUT;
	if (!rc)
		rc = memory_check(largest(st), st->plan, err);
	if (!rc)
		rc = kernel_choose(st, ret_uml, err);
	if (!rc && st->opt->trains)
		rc = lh_gpu_settle(&st->s, &st->s.exp.training, *ret_uml || st->s.inv->inside_uml, err);
	if (!rc)
		rc = training_memory(st, err);
	if (!rc)
		rc = out_dir_prepare(st, err);
	return rc;
}

int lh_session_main(const struct lh_invocation *inv, const struct lh_session_options *opt,
		    int (*body)(struct lh_session *s))
{
	struct session_state *st = calloc(1, sizeof *st);
	struct lh_err err = LH_ERR_INIT;
	bool uml = false;
	int status;
	if (!st) {
		lh_err_sys(&err, LH_EXIT_MACHINE, -ENOMEM, "session");
		return lh_fail(&err);
	}
	st->s.inv = inv;
	st->s.signal_fd = -1;
	st->opt = opt;
	st->body = body;
	if (lh_experiment_load(inv->file, inv->overrides, inv->noverrides, stderr, &st->s.exp, &err)) {
		free(st);
		return lh_fail(&err);
	}
	lh_experiment_dilate(&st->s.exp);
	if (session_prepare(st, &uml, &err)) {
		status = lh_fail(&err);
		if (status == LH_EXIT_MACHINE && opt->failed)
			opt->failed(&st->s, &err);
	} else {
		status = uml ? enter_uml(st) : enter_host(st);
	}
	lh_plan_free(st->plan);
	lh_experiment_done(&st->s.exp);
	free(st);
	return status;
}

int lh_session_interrupted(struct lh_session *s)
{
	struct signalfd_siginfo info;
	return read(s->signal_fd, &info, sizeof info) == sizeof info ? 128 + (int)info.ssi_signo : 0;
}
