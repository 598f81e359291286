/* The launcher of User-Mode Linux: what goes in and comes out, and that nothing is left of it.
 * This program is also the guest's pid 1, the command inside (--guest) and the victim (--victim). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhdeny.h"
#include "lhleft.h"
#include "lhtest.h"
#include "longhaul/cell.h"

enum {
	KILLS = 30, KILLS_LONG = 200, KILL_WITHIN_MS = 2500, LEFT_LIMIT_MS = 10000, OUTPUT_BYTES = 300000,
};

static char self[4096];

/* --- inside the guest --- */

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
	__asm__ volatile("vpcmpeqd %%ymm0,%%ymm0,%%ymm0\n vpxor %%ymm15,%%ymm15,%%ymm15" ::: "memory");
}

/* glibc's own functions must not use AVX-512: bit 16 of its second word of leaf 7 that it holds for usable. */
static int guest_avx512(void)
{
	char line[256];
	unsigned usable = 0, found = 0;
	FILE *f = popen("/lib64/ld-linux-x86-64.so.2 --list-diagnostics", "r");
	while (f && fgets(line, sizeof line, f))
		found += sscanf(line, "x86.cpu_features.features[0x1].active[0x1]=0x%x", &usable) == 1;
	if (f)
		pclose(f);
	return !found ? 77 : usable & (1u << 16 | 1u << 30 | 1u << 31) ? 1 : 0;
}

/* AVX2 registers must live through signals that use them: 0 when they do. */
static int guest_avx(void)
{
	static unsigned char in[64] __attribute__((aligned(32))), out[64] __attribute__((aligned(32)));
	struct itimerval every = { { 0, 2000 }, { 0, 2000 } };
	if (!__builtin_cpu_supports("avx2"))
		return 77;
	for (size_t i = 0; i < sizeof in; i++)
		in[i] = (unsigned char)(i * 7 + 1);
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &every, NULL);
	while (alarms < 100) {
		memset(out, 0, sizeof out);
		__asm__ volatile("vmovdqa (%0),%%ymm0\n vmovdqa 32(%0),%%ymm15\n mov $400000,%%ecx\n"
				 "1: dec %%ecx\n jnz 1b\n vmovdqa %%ymm0,(%1)\n vmovdqa %%ymm15,32(%1)\n"
				 ::"r"(in), "r"(out) : "memory", "ecx", "xmm0", "xmm15");
		if (memcmp(in, out, sizeof in))
			return 1;
	}
	return 0;
}

/* All sockets of all machines may hold half of the memory before anything is dropped: 0 when they may. */
static int guest_socket_memory(void)
{
	long least = 0, pressure = 0, most = 0, pages = sysconf(_SC_PHYS_PAGES);
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_mem", "r");
	int n = f ? fscanf(f, "%ld %ld %ld", &least, &pressure, &most) : 0;
	if (f)
		fclose(f);
	return n == 3 && least >= pages / 4 && pressure >= pages * 2 / 5 && most > pressure && most < pages ? 0 : 1;
}

static int guest_files(const char *writable)
{
	char path[4200];
	snprintf(path, sizeof path, "%s/made", writable);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	bool made = fd >= 0 && write(fd, "yes", 3) == 3;
	close(fd);
	const char *tmp = getenv("TMPDIR");
	snprintf(path, sizeof path, "%s/file", tmp ? tmp : "");
	bool temporary = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0;
	bool refused = open("/tmp/longhaul-test-refused", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) < 0 && errno == EROFS;
	if (!made || !temporary || !refused || getuid())
		return 1;
	/* The guest's root may change its own mounts; the host refuses all the same. */
	if (mount(NULL, "/", NULL, MS_REMOUNT, NULL))
		return 2;
	return open("/tmp/longhaul-test-refused", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) < 0 ? 0 : 3;
}

static int guest_main(int argc, char **argv)
{
	const char *what = argv[2];
	if (!lh_uml_inside() || getpid() == 1)
		return 90;
	if (!strcmp(what, "exit"))
		return atoi(argv[3]);
	if (!strcmp(what, "die"))
		raise(SIGSEGV);
	if (!strcmp(what, "avx"))
		return guest_avx();
	if (!strcmp(what, "socket memory"))
		return guest_socket_memory();
	if (!strcmp(what, "avx512"))
		return guest_avx512();
	if (!strcmp(what, "files"))
		return guest_files(argv[3]);
	if (!strcmp(what, "output")) {
		for (int i = 0; i < OUTPUT_BYTES; i++)
			putchar('a' + i % 26);
		fprintf(stderr, "the other\n");
		return 0;
	}
	if (!strcmp(what, "progress")) {
		for (int i = 0; i < 3; i++) {
			printf("%d\r", i);
			fflush(stdout);
			usleep(300000);
		}
		return 0;
	}
	if (!strcmp(what, "environment")) {
		const char *v = getenv("LH_TEST_VALUE"), *t = getenv("GLIBC_TUNABLES"), *o = getenv("OPENBLAS_CORETYPE");
		char cwd[4096];
		return v && !strcmp(v, "a b\nc") && t && strstr(t, "-AVX512F") && o && !strcmp(o, "Haswell") &&
		       getcwd(cwd, sizeof cwd) && argc == 5 && !strcmp(cwd, argv[3]) && !strcmp(argv[4], "two words") ? 0 : 1;
	}
	if (!strcmp(what, "input")) {
		char text[64];
		return fgets(text, sizeof text, stdin) && !strcmp(text, "from a file\n") && !fgets(text, sizeof text, stdin) ? 0 : 1;
	}
	if (!strcmp(what, "signal")) {
		sigset_t set;
		int sig;
		sigemptyset(&set);
		sigaddset(&set, SIGINT);
		sigaddset(&set, SIGTERM);
		sigprocmask(SIG_BLOCK, &set, NULL);
		(void)!write(1, "# ready\n", 8);
		sigwait(&set, &sig);
		return sig;
	}
	if (!strcmp(what, "sleep")) {
		(void)!write(1, "# ready\n", 8);
		poll(NULL, 0, 60000);
		return 0;
	}
	return 91;
}

/* --- outside --- */

static int uml(struct lh_uml_options opt, struct lh_err *err, char *const *argv)
{
	int status = -1;
	opt.argv = argv;
	opt.memory_bytes = 256 << 20;
	opt.cpu = -1;
	int rc = lh_uml_run(&opt, &status, err);
	if (rc)
		printf("# %s\n", err->text);
	return rc ? rc : status;
}

#define GUEST(...) ((char *const[]){ self, (char *)"--guest", __VA_ARGS__, NULL })

static int in_guest(char *const *argv)
{
	struct lh_err err = LH_ERR_INIT;
	return uml((struct lh_uml_options){ 0 }, &err, argv);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static void need_uml(void)
{
	if (SANITIZED) /* its shadow memory does not fit into a guest's address space: init dies */
		lh_test_skip("kernel", "AddressSanitizer does not run inside User-Mode Linux");
	struct lh_uml_caps caps;
	CU_ASSERT_EQUAL_FATAL(lh_uml_probe(&caps, NULL), 0);
	if (!caps.usable)
		lh_test_skip("kernel", "%s", caps.why);
}

static int victim_main(char **argv)
{
	const char *mode = argv[2];
	if (strstr(mode, "denied") && lh_deny_namespaces())
		return 98;
	return in_guest(GUEST((char *)strrchr(mode, ',') + 1)) & 255;
}

static pid_t victim(const char *mark, const char *mode, int *ret_out)
{
	char *argv[] = { self, (char *)"--victim", (char *)mode, NULL };
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
	return poll(&p, 1, 30000) == 1 && read(fd, text, sizeof text - 1) > 0 && strstr(text, word);
}

static void test_status(void)
{
	need_uml();
	CU_ASSERT_EQUAL(in_guest(GUEST((char *)"exit", (char *)"0")), 0);
	CU_ASSERT_EQUAL(in_guest(GUEST((char *)"exit", (char *)"37")), 37);
	CU_ASSERT_EQUAL(in_guest(GUEST((char *)"die")), 128 + SIGSEGV);
}

static void test_no_program(void)
{
	need_uml();
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(in_guest((char *const[]){ (char *)"/nonexistent/program", NULL }), 127);
	CU_ASSERT_EQUAL(uml((struct lh_uml_options){ 0 }, &err, (char *const[]){ (char *)"program", NULL }), -EINVAL);
}

static void test_environment(void)
{
	char cwd[] = "/usr/share";
	need_uml();
	setenv("LH_TEST_VALUE", "a b\nc", 1);
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(uml((struct lh_uml_options){ .cwd = cwd }, &err,
			    GUEST((char *)"environment", cwd, (char *)"two words")), 0);
}

static void test_files(void)
{
	char dir[] = "/tmp/lhtest-XXXXXX", path[64];
	need_uml();
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	const char *writable[] = { dir, NULL };
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(uml((struct lh_uml_options){ .writable = writable }, &err, GUEST((char *)"files", dir)), 0);
	snprintf(path, sizeof path, "%s/made", dir);
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(rmdir(dir), 0);
}

static void test_input(void)
{
	char path[] = "/tmp/lhtest-XXXXXX";
	need_uml();
	int fd = mkstemp(path);
	CU_ASSERT_EQUAL(write(fd, "from a file\n", 12), 12);
	close(fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(freopen(path, "r", stdin));
	CU_ASSERT_EQUAL(in_guest(GUEST((char *)"input")), 0);
	unlink(path);
}

static void test_avx(void)
{
	need_uml();
	int rc = in_guest(GUEST((char *)"avx"));
	if (rc == 77)
		lh_test_skip("avx2", "no AVX2 here");
	CU_ASSERT_EQUAL(rc, 0);
}

static void test_avx512(void)
{
	need_uml();
	int rc = in_guest(GUEST((char *)"avx512"));
	if (rc == 77)
		lh_test_skip("avx512", "this glibc does not say what it uses");
	CU_ASSERT_EQUAL(rc, 0);
}

static void test_socket_memory(void)
{
	need_uml();
	CU_ASSERT_EQUAL(in_guest(GUEST((char *)"socket memory")), 0);
}

static void test_timeout(void)
{
	need_uml();
	struct lh_err err = LH_ERR_INIT;
	lh_ns before = lh_clock_ns();
	CU_ASSERT_EQUAL(uml((struct lh_uml_options){ .timeout_ns = 3 * LH_NS_PER_S }, &err, GUEST((char *)"sleep")), -ETIMEDOUT);
	CU_ASSERT(lh_clock_ns() - before < 9 * LH_NS_PER_S);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "3s"));
}

/* More output than a pipe holds, to a reader that does not hurry. */
static void test_output(void)
{
	static char text[OUTPUT_BYTES + 1];
	char mark[LH_MARK_SIZE];
	int out;
	size_t n = 0;
	bool same = true;
	need_uml();
	lh_mark_make(mark);
	pid_t pid = victim(mark, ",output", &out);
	poll(NULL, 0, 3000);
	for (ssize_t got; n < sizeof text && (got = read(out, text + n, 8192 < sizeof text - n ? 8192 : sizeof text - n)) > 0;)
		n += (size_t)got;
	CU_ASSERT_EQUAL(n, OUTPUT_BYTES);
	for (size_t i = 0; i < n; i++)
		same &= text[i] == (char)('a' + i % 26);
	CU_ASSERT(same);
	CU_ASSERT_EQUAL(victim_wait(pid), 0);
	close(out);
}

/* Partial lines come as they are written. */
static void test_progress(void)
{
	char mark[LH_MARK_SIZE], text[8];
	int out, pieces = 0;
	lh_ns first = 0, last = 0;
	need_uml();
	lh_mark_make(mark);
	pid_t pid = victim(mark, ",progress", &out);
	for (; read(out, text, 2) == 2; pieces++) {
		last = lh_clock_ns();
		first = first ? first : last;
	}
	CU_ASSERT_EQUAL(pieces, 3);
	CU_ASSERT(last - first > 400 * LH_NS_PER_MS);
	CU_ASSERT_EQUAL(victim_wait(pid), 0);
	close(out);
}

static void signal_case(const char *mode, int sig)
{
	char mark[LH_MARK_SIZE];
	int out;
	lh_mark_make(mark);
	pid_t pid = victim(mark, mode, &out);
	CU_ASSERT(said(out, "ready"));
	lh_left_note(mark);
	lh_ns before = lh_clock_ns();
	kill(pid, sig);
	CU_ASSERT_EQUAL(victim_wait(pid), sig);
	CU_ASSERT(lh_clock_ns() - before < 3 * LH_NS_PER_S);
	CU_ASSERT(lh_left_none(mark, LEFT_LIMIT_MS));
	close(out);
}

static void test_signals(void)
{
	need_uml();
	signal_case(",signal", SIGINT);
	signal_case(",signal", SIGTERM);
}

/* A signal that comes while the guest boots waits for the command. */
static void test_early_signal(void)
{
	char mark[LH_MARK_SIZE];
	int out;
	need_uml();
	lh_mark_make(mark);
	pid_t pid = victim(mark, ",sleep", &out);
	poll(NULL, 0, 300);
	kill(pid, SIGTERM);
	CU_ASSERT_EQUAL(victim_wait(pid), 128 + SIGTERM);
	CU_ASSERT(lh_left_none(mark, LEFT_LIMIT_MS));
	close(out);
}

static void test_denied(void)
{
	need_uml();
	signal_case("denied,signal", SIGINT);
}

static void test_rootless(void)
{
	need_uml();
	if (geteuid() == 0) {
		CU_ASSERT_EQUAL_FATAL(setgid(65534), 0);
		CU_ASSERT_EQUAL_FATAL(setuid(65534), 0);
		prctl(PR_SET_DUMPABLE, 1);
	}
	if (access(self, X_OK))
		lh_test_skip("kernel", "the build directory is closed to other users");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	CU_ASSERT_EQUAL(in_guest(GUEST((char *)"exit", (char *)"7")), 7);
	CU_ASSERT_EQUAL_FATAL(lh_deny_namespaces(), 0);
	CU_ASSERT_EQUAL(in_guest(GUEST((char *)"exit", (char *)"8")), 8);
}

static void kill_at_random(const char *mode, int kills)
{
	unsigned long long seed = lh_test_seed();
	for (int i = 0; i < kills; i++) {
		char mark[LH_MARK_SIZE];
		int out;
		lh_mark_make(mark);
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		int after_ms = (int)((seed >> 33) % KILL_WITHIN_MS);
		pid_t pid = victim(mark, mode, &out);
		poll(NULL, 0, after_ms);
		lh_left_note(mark);
		CU_ASSERT(lh_left_count(mark, false) > 0);
		kill(pid, SIGKILL);
		bool killed = victim_wait(pid) == 128 + SIGKILL;
		CU_ASSERT(killed);
		bool none = lh_left_none(mark, LEFT_LIMIT_MS);
		CU_ASSERT(none);
		close(out);
		if (!none || !killed) {
			printf("# killed after %d ms\n", after_ms);
			return;
		}
	}
}

static void test_kill(void)
{
	need_uml();
	kill_at_random(",sleep", KILLS);
}

static void test_kill_denied(void)
{
	need_uml();
	kill_at_random("denied,sleep", KILLS / 3);
}

static void test_kill_long(void)
{
	need_uml();
	/* a forked test has 120 s */
	kill_at_random(",sleep", KILLS_LONG - KILLS_LONG / 4);
	kill_at_random("denied,sleep", KILLS_LONG / 4);
}

static const struct lh_test tests[] = {
	{ "exit status", test_status, LH_TEST_FORK },
	{ "no such program", test_no_program, LH_TEST_FORK },
	{ "arguments, environment, directory", test_environment, LH_TEST_FORK },
	{ "what may be written", test_files, LH_TEST_FORK },
	{ "stdin from a file", test_input, LH_TEST_FORK },
	{ "large output, slow reader", test_output, LH_TEST_FORK },
	{ "live progress", test_progress, LH_TEST_FORK },
	{ "signals", test_signals, LH_TEST_FORK },
	{ "signal while booting", test_early_signal, LH_TEST_FORK },
	{ "time limit", test_timeout, LH_TEST_FORK },
	{ "AVX2 state across signals", test_avx, LH_TEST_FORK },
	{ "glibc without AVX-512", test_avx512, LH_TEST_FORK },
	{ "memory for sockets", test_socket_memory, LH_TEST_FORK },
	{ "namespaces denied", test_denied, LH_TEST_FORK },
	{ "rootless, no new privileges", test_rootless, LH_TEST_FORK },
	{ "SIGKILL of the caller", test_kill, LH_TEST_FORK },
	{ "SIGKILL of the caller, namespaces denied", test_kill_denied, LH_TEST_FORK },
	{ "SIGKILL of the caller, long form", test_kill_long, LH_TEST_LONG },
};

int main(int argc, char **argv)
{
	if (getpid() == 1 && lh_uml_inside())
		lh_uml_init_main();
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n > 0 ? n : 0] = 0;
	if (argc > 2 && !strcmp(argv[1], "--guest"))
		return guest_main(argc, argv);
	if (argc > 2 && !strcmp(argv[1], "--victim"))
		return victim_main(argv);
	return lh_test_main(argc, argv, "uml", tests, sizeof tests / sizeof *tests);
}
