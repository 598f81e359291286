/* Cells: exit codes, signals, what they hide from us, and that nothing is left of them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhdeny.h"
#include "lhleft.h"
#include "lhtest.h"
#include "longhaul/cell.h"

enum { KILLS = 100, KILL_WITHIN_US = 60000, LEFT_LIMIT_MS = 5000, TWICE_MS = 200 };

static const struct lh_cell_options with_net = { .need_net = true };
static const struct lh_cell_options with_reaper = { .allow_reaper = true };

static void need_cell(void)
{
	struct lh_cell_caps caps;
	CU_ASSERT_EQUAL_FATAL(lh_cell_probe(&caps, NULL), 0);
	if (!caps.pid_ns || !caps.net_ns || !caps.mount_ns)
		lh_test_skip("netns", "%s", caps.why);
}

static int run(const struct lh_cell_options *opt, int (*fn)(void *), void *ctx)
{
	int status = -1;
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_cell_run(opt, fn, ctx, &status, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL(rc, 0);
	return status;
}

/* --- bodies --- */

static int body_exit(void *ctx) { return (int)(intptr_t)ctx; }

static int body_killed(void *ctx)
{
	(void)ctx;
	pid_t child = fork();
	if (child == 0) {
		raise(SIGKILL);
		_exit(0);
	}
	int status = 0;
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 42 : 1;
}

static int body_alone(void *ctx)
{
	char line[64] = "";
	(void)ctx;
	/* pid 1, root, in a network that has nothing but lo */
	FILE *f = fopen("/proc/net/dev", "re");
	int n = 0;
	char text[512];
	while (f && fgets(text, sizeof text, f))
		n++;
	if (f)
		fclose(f);
	ssize_t len = readlink("/proc/self", line, sizeof line - 1);
	return getpid() == 1 && geteuid() == 0 && n == 3 && len == 1 && line[0] == '1' && getsid(0) == 1 ? 0 : 1;
}

static int body_tmpfs(void *ctx)
{
	char path[300];
	snprintf(path, sizeof path, "%s/file", (const char *)ctx);
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	static char block[1 << 20];
	ssize_t a = write(fd, block, sizeof block), b = write(fd, block, sizeof block);
	return fd >= 0 && a == sizeof block && b < (ssize_t)sizeof block ? 0 : 1;
}

/* Wait for a signal on a signalfd; the exit status is its number, or 99 when it comes twice. */
static int body_signal(void *ctx)
{
	sigset_t set;
	struct signalfd_siginfo si;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	(void)!write(1, "ready\n", 6);
	for (bool stubborn = ctx != NULL;; (void)!write(1, "again\n", 6))
		if (read(fd, &si, sizeof si) == sizeof si && !stubborn)
			break;
	struct pollfd more = { .fd = fd, .events = POLLIN };
	return poll(&more, 1, TWICE_MS) ? 99 : (int)si.ssi_signo;
}

static int stay_ms = 40;

/* Descendants that try to stay: another session, an orphan, one that ignores signals. */
static int body_family(void *ctx)
{
	const char *dir = ctx;
	char path[300];
	for (int i = 0; i < 3; i++) {
		pid_t child = fork();
		if (child)
			continue;
		setsid();
		signal(SIGTERM, SIG_IGN);
		signal(SIGINT, SIG_IGN);
		for (int k = 0; i && k < 2; k++)
			if (fork() == 0)
				break;
		for (;;)
			pause();
	}
	if (dir) {
		snprintf(path, sizeof path, "%s/file", dir);
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	(void)!write(1, "ready\n", 6);
	poll(NULL, 0, stay_ms);
	return 0;
}

/* --- victims: this program again, with a mark --- */

static int victim_main(char **argv)
{
	static struct lh_cell_options opt = { .need_net = true, .tmpfs_bytes = 1 << 20 };
	const char *mode = argv[2], *dir = argv[3];
	int status = 99;
	struct lh_err err = LH_ERR_INIT;
	if (strstr(mode, "stay"))
		stay_ms = 60000; /* far beyond every limit here: ends only by being ended */
	if (strstr(mode, "denied")) {
		if (lh_deny_namespaces())
			return 98;
		opt = with_reaper;
	} else if (strstr(mode, "no-pid")) {
		if (lh_deny_clone(CLONE_NEWPID))
			return 98;
		opt.allow_reaper = true;
	} else if (dir) {
		opt.tmpfs_dir = dir;
	}
	/* Whoever runs the tests may have been started by nohup; what these cases say holds for their own start. */
	signal(SIGHUP, strstr(mode, "nohup") ? SIG_IGN : SIG_DFL);
	int (*fn)(void *) = strstr(mode, "signal") || strstr(mode, "stubborn") ? body_signal : body_family;
	void *ctx = strstr(mode, "stubborn") ? (void *)1 : fn == body_family ? argv[3] : NULL;
	if (lh_cell_run(&opt, fn, ctx, &status, &err)) {
		fprintf(stderr, "# %s\n", err.text);
		return 97;
	}
	return status;
}

static pid_t victim(const char *mark, const char *mode, const char *dir, int *ret_out)
{
	char *argv[] = { (char *)"test_cell", (char *)"--victim", (char *)mode, (char *)dir, NULL };
	int out[2];
	CU_ASSERT_EQUAL_FATAL(pipe2(out, O_CLOEXEC), 0);
	pid_t pid = lh_mark_spawn(mark, argv, out[1], -1);
	close(out[1]);
	*ret_out = out[0];
	return pid;
}

static int victim_wait(pid_t pid)
{
	int status = 0;
	return waitpid(pid, &status, 0) == pid ? WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status) : -1;
}

static bool said(int fd, const char *word)
{
	char text[64] = "";
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return poll(&p, 1, 10000) == 1 && read(fd, text, sizeof text - 1) > 0 && strstr(text, word);
}

/* --- tests --- */

static void test_exit_status(void)
{
	need_cell();
	CU_ASSERT_EQUAL(run(&with_net, body_exit, (void *)0), 0);
	CU_ASSERT_EQUAL(run(&with_net, body_exit, (void *)37), 37);
	CU_ASSERT_EQUAL(run(&with_net, body_exit, (void *)255), 255);
	CU_ASSERT_EQUAL(run(&with_net, body_killed, NULL), 42);
}

static void test_alone(void)
{
	need_cell();
	CU_ASSERT_EQUAL(run(&with_net, body_alone, NULL), 0);
}

static void test_rootless(void)
{
	need_cell();
	if (geteuid() == 0) {
		CU_ASSERT_EQUAL_FATAL(setgid(65534), 0);
		CU_ASSERT_EQUAL_FATAL(setuid(65534), 0);
		prctl(PR_SET_DUMPABLE, 1); /* as after an exec; /proc/self belongs to root otherwise */
	}
	struct lh_cell_caps caps;
	lh_cell_probe(&caps, NULL);
	if (!caps.user_ns)
		lh_test_skip("netns", "%s", caps.why);
	CU_ASSERT_EQUAL(run(&with_net, body_alone, NULL), 0);
	CU_ASSERT_EQUAL(run(&with_net, body_exit, (void *)7), 7);
}

static void test_tmpfs(void)
{
	char dir[] = "/tmp/lhtest-XXXXXX", path[64];
	need_cell();
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	struct lh_cell_options opt = { .tmpfs_dir = dir, .tmpfs_bytes = 3 << 19 };
	CU_ASSERT_EQUAL(run(&opt, body_tmpfs, dir), 0);
	snprintf(path, sizeof path, "%s/file", dir);
	CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
	CU_ASSERT_EQUAL(rmdir(dir), 0);
}

static void test_denied(void)
{
	struct lh_cell_caps caps;
	struct lh_err err = LH_ERR_INIT;
	int status = -1;
	CU_ASSERT_EQUAL_FATAL(lh_deny_namespaces(), 0);
	CU_ASSERT_EQUAL(lh_cell_probe(&caps, NULL), 0);
	CU_ASSERT(!caps.user_ns && !caps.pid_ns && !caps.net_ns && !caps.mount_ns);
	CU_ASSERT_PTR_NOT_NULL(strstr(caps.why, "seccomp"));
	CU_ASSERT_EQUAL(lh_cell_run(&with_net, body_exit, NULL, &status, &err), -EPERM);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_MACHINE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "Operation not permitted"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "seccomp"));
	CU_ASSERT_EQUAL(run(&with_reaper, body_exit, (void *)37), 37);
	CU_ASSERT_EQUAL(run(&with_reaper, body_killed, NULL), 42);
}

/* A network of its own without a pid namespace: the reaper's way with need_net. */
static int body_network(void *ctx)
{
	char line[64] = "", text[512];
	(void)ctx;
	int n = 0;
	FILE *f = fopen("/proc/self/net/dev", "re");
	while (f && fgets(text, sizeof text, f))
		n++;
	if (f)
		fclose(f);
	ssize_t len = readlink("/proc/self", line, sizeof line - 1);
	return getpid() != 1 && geteuid() == 0 && n == 3 && len > 1 ? 0 : 1;
}

static void test_no_pid_namespace(void)
{
	static const struct lh_cell_options both = { .need_net = true, .allow_reaper = true };
	struct lh_err err = LH_ERR_INIT;
	int status = -1;
	need_cell();
	CU_ASSERT_EQUAL_FATAL(lh_deny_clone(CLONE_NEWPID), 0);
	CU_ASSERT_EQUAL(lh_cell_run(&with_net, body_exit, NULL, &status, &err), -EPERM);
	CU_ASSERT_EQUAL(run(&both, body_network, NULL), 0);
}

/* A terminal sends Ctrl-C to the whole foreground group; the worker must hear of it once. */
static void test_terminal(void)
{
	char mark[LH_MARK_SIZE], text[256] = "";
	int terminal;
	need_cell();
	lh_mark_make(mark);
	pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
	if (pid == 0) {
		char *argv[] = { (char *)"test_cell", (char *)"--victim", (char *)"signal", NULL };
		setenv(LH_MARK_VARIABLE, mark, 1);
		execv("/proc/self/exe", argv);
		_exit(126);
	}
	CU_ASSERT(said(terminal, "ready"));
	CU_ASSERT_EQUAL(write(terminal, "\003", 1), 1);
	CU_ASSERT_EQUAL(victim_wait(pid), SIGINT);
	(void)!read(terminal, text, sizeof text - 1);
	CU_ASSERT(lh_left_none(mark, LEFT_LIMIT_MS));
	close(terminal);
}

static void signal_case(const char *mode, int sig)
{
	char mark[LH_MARK_SIZE];
	int out;
	lh_mark_make(mark);
	pid_t pid = victim(mark, mode, NULL, &out);
	CU_ASSERT(said(out, "ready"));
	lh_left_note(mark);
	kill(pid, sig);
	if (strstr(mode, "stubborn")) {
		CU_ASSERT(said(out, "again"));
		kill(pid, sig);
		CU_ASSERT_EQUAL(victim_wait(pid), 128 + sig);
	} else {
		CU_ASSERT_EQUAL(victim_wait(pid), sig);
	}
	CU_ASSERT(lh_left_none(mark, LEFT_LIMIT_MS));
	close(out);
}

static void test_signals(void)
{
	need_cell();
	signal_case("signal", SIGINT);
	signal_case("signal", SIGTERM);
	signal_case("signal", SIGHUP);
	signal_case("stubborn", SIGINT);
}

/* nohup's wish holds for the worker, too: SIGHUP is not passed on, the next signal is. */
static void test_nohup(void)
{
	char mark[LH_MARK_SIZE];
	int out;
	need_cell();
	lh_mark_make(mark);
	pid_t pid = victim(mark, "nohup,signal", NULL, &out);
	CU_ASSERT(said(out, "ready"));
	kill(pid, SIGHUP);
	poll(NULL, 0, TWICE_MS);
	kill(pid, SIGTERM);
	CU_ASSERT_EQUAL(victim_wait(pid), SIGTERM);
	CU_ASSERT(lh_left_none(mark, LEFT_LIMIT_MS));
	close(out);
}

static void test_signals_denied(void)
{
	signal_case("denied,signal", SIGINT);
	signal_case("denied,signal", SIGTERM);
	signal_case("denied,stubborn", SIGINT);
}

/* The caller ends by itself while descendants would go on. */
static void test_family_ends(void)
{
	static const char *const modes[] = { "family", "denied,family" };
	need_cell();
	for (size_t i = 0; i < 2; i++) {
		char mark[LH_MARK_SIZE];
		int out;
		lh_mark_make(mark);
		pid_t pid = victim(mark, modes[i], NULL, &out);
		CU_ASSERT(said(out, "ready"));
		lh_left_note(mark);
		CU_ASSERT(lh_left_count(mark, false) >= 5);
		CU_ASSERT_EQUAL(victim_wait(pid), 0);
		CU_ASSERT(lh_left_none(mark, LEFT_LIMIT_MS));
		close(out);
	}
}

static void kill_at_random(const char *mode, bool with_dir)
{
	unsigned long long seed = lh_test_seed();
	for (int i = 0; i < KILLS; i++) {
		char mark[LH_MARK_SIZE], dir[80];
		int out;
		lh_mark_make(mark);
		snprintf(dir, sizeof dir, "/tmp/%s", mark);
		if (with_dir)
			mkdir(dir, 0700);
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		pid_t pid = victim(mark, mode, with_dir ? dir : NULL, &out);
		usleep((useconds_t)((seed >> 33) % KILL_WITHIN_US));
		lh_left_note(mark);
		kill(pid, SIGKILL);
		int status = victim_wait(pid);
		CU_ASSERT_EQUAL(status, 128 + SIGKILL);
		if (with_dir)
			CU_ASSERT_EQUAL(rmdir(dir), 0); /* empty for us */
		bool none = lh_left_none(mark, LEFT_LIMIT_MS);
		CU_ASSERT(none);
		close(out);
		if (!none)
			break;
	}
}

static void test_kill(void)
{
	need_cell();
	kill_at_random("family,stay", true);
}

static void test_kill_no_pid(void)
{
	need_cell();
	kill_at_random("no-pid,family,stay", false);
}

static void test_kill_denied(void)
{
	kill_at_random("denied,family,stay", false);
}

/* The instrument itself: it must see what is there. */
static void test_left_sees(void)
{
	char mark[LH_MARK_SIZE], path[80];
	int out;
	need_cell();
	lh_mark_make(mark);
	pid_t pid = victim(mark, "signal", NULL, &out);
	CU_ASSERT(said(out, "ready"));
	lh_left_note(mark);
	CU_ASSERT(lh_left_count(mark, false) >= 2);
	kill(pid, SIGTERM);
	CU_ASSERT_EQUAL(victim_wait(pid), SIGTERM);
	snprintf(path, sizeof path, "/dev/shm/%s", mark);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	CU_ASSERT(lh_left_count(mark, false) >= 1);
	unlink(path);
	CU_ASSERT(lh_left_none(mark, LEFT_LIMIT_MS));
	close(out);
}

static const struct lh_test tests[] = {
	{ "exit status", test_exit_status, LH_TEST_FORK },
	{ "alone", test_alone, LH_TEST_FORK },
	{ "rootless", test_rootless, LH_TEST_FORK },
	{ "private tmpfs", test_tmpfs, LH_TEST_FORK },
	{ "namespaces denied", test_denied, LH_TEST_FORK },
	{ "what is left is seen", test_left_sees, LH_TEST_FORK },
	{ "signals", test_signals, LH_TEST_FORK },
	{ "nohup", test_nohup, LH_TEST_FORK },
	{ "signals, namespaces denied", test_signals_denied, LH_TEST_FORK },
	{ "descendants end with the worker", test_family_ends, LH_TEST_FORK },
	{ "SIGKILL of the caller", test_kill, LH_TEST_FORK },
	{ "no pid namespace", test_no_pid_namespace, LH_TEST_FORK },
	{ "Ctrl-C of a terminal", test_terminal, LH_TEST_FORK },
	{ "SIGKILL of the caller, no pid namespace", test_kill_no_pid, LH_TEST_FORK },
	{ "SIGKILL of the caller, namespaces denied", test_kill_denied, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "--victim"))
		return victim_main(argv);
	return lh_test_main(argc, argv, "cell", tests, sizeof tests / sizeof *tests);
}
