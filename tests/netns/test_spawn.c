/* Programs and probes inside a peer: what they see, what they get, what becomes of them. The child program is this one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhnet.h"
#include "lhtest.h"

enum { SOON_MS = 5000 };

static char self[4096];

/* --- the child --- */

static void print_status_line(const char *want)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, want, strlen(want)))
			printf("%s", line);
	if (f)
		fclose(f);
}

static int child_tell(void)
{
	char host[64] = "", cwd[256] = "";
	int death = 0;
	struct rlimit files;
	bool open_fds[64] = { false };
	/* Look first: whatever is opened below would be seen too. */
	for (int fd = 0; fd < 64; fd++)
		open_fds[fd] = fcntl(fd, F_GETFD) >= 0;
	gethostname(host, sizeof host - 1);
	if (!getcwd(cwd, sizeof cwd) || prctl(PR_GET_PDEATHSIG, &death) || getrlimit(RLIMIT_NOFILE, &files))
		return 1;
	printf("host=%s\ncwd=%s\ndeath=%d\nfiles=%llu\nenv=%s\nfds=", host, cwd, death,
	       (unsigned long long)files.rlim_cur, getenv("LH_TEST") ? getenv("LH_TEST") : "-");
	for (int fd = 0; fd < 64; fd++)
		if (open_fds[fd])
			printf("%d,", fd);
	printf("\neth0=%d\n", lh_test_tx_packets("eth0") >= 0);
	print_status_line("SigBlk");
	print_status_line("SigIgn");
	return 0;
}

/* Whose interface /sys shows (ours have hardware addresses of our own), and how much there is below fs/cgroup. */
static int child_sys(void)
{
	char address[18] = "";
	FILE *f = fopen("/sys/class/net/eth0/address", "re");
	DIR *d = opendir("/sys/fs/cgroup");
	int entries = 0;
	if (f && !fgets(address, sizeof address, f))
		address[0] = 0;
	while (d && readdir(d))
		entries++;
	printf("ours=%d cgroup=%d", !strncmp(address, "02:6c:68:", 9), entries);
	return 0;
}

static int child(const char *what)
{
	char c;
	if (!strcmp(what, "sys"))
		return child_sys();
	if (!strcmp(what, "tell"))
		return child_tell();
	if (!strcmp(what, "copy")) { /* fd 3 to fd 4 */
		while (read(3, &c, 1) == 1)
			if (write(4, &c, 1) != 1)
				return 2;
		return 37;
	}
	if (!strcmp(what, "sleep"))
		for (;;)
			pause();
	return 99;
}

/* --- helpers --- */

static int up(struct lh_topology **ret_t, struct lh_net **ret_net)
{
	struct lh_err err = LH_ERR_INIT;
	*ret_t = lh_test_topology(2, 2);
	LH_CHECK(*ret_t);
	LH_CHECK_OK(lh_test_up(*ret_t, ret_net, &err), &err);
	return 0;
}

static int down(struct lh_topology *t, struct lh_net *net)
{
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

static struct lh_spawn program(char **argv)
{
	return (struct lh_spawn){ .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
}

/* Wait for the end by pidfd, then reap. -1: not in time. */
static int wait_end(pid_t pid, int pidfd)
{
	struct pollfd p = { pidfd, POLLIN, 0 };
	int status = -1;
	if (poll(&p, 1, SOON_MS) != 1 || waitpid(pid, &status, 0) != pid)
		return -1;
	close(pidfd);
	return status;
}

/* --- bodies --- */

static int body_tell(void *ctx)
{
	struct lh_topology *t;
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	char *argv[] = { self, (char *)(uintptr_t)"--child", (char *)(uintptr_t)"tell", NULL }, out[2048] = "";
	char *envp[] = { (char *)(uintptr_t)"LH_TEST=yes", NULL };
	int fds[2], pidfd, leak = open("/dev/null", O_RDONLY); /* not CLOEXEC, on purpose */
	pid_t pid;
	struct rlimit before;
	LH_CHECK(!getrlimit(RLIMIT_NOFILE, &before));
	LH_CHECK(!up(&t, &net));
	LH_CHECK(leak >= 0 && !pipe2(fds, O_CLOEXEC));
	signal(SIGPIPE, SIG_IGN);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	struct lh_spawn s = program(argv);
	s.stdout_fd = fds[1];
	s.cwd = "/usr";
	s.envp = envp;
	LH_CHECK_OK(lh_net_spawn(net, 3, &s, &pid, &pidfd, &err), &err);
	close(fds[1]);
	for (ssize_t n, at = 0; (n = read(fds[0], out + at, sizeof out - 1 - (size_t)at)) > 0;)
		at += n;
	LH_CHECK(wait_end(pid, pidfd) == 0);
	char want[512];
	snprintf(want, sizeof want, "host=b-1\ncwd=/usr\ndeath=9\nfiles=%llu\nenv=yes\nfds=0,1,2,\neth0=1\n"
		 "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", (unsigned long long)before.rlim_cur);
	if (strcmp(out, want))
		printf("# got %s", out);
	LH_CHECK(!strcmp(out, want));
	char host[64] = "";
	gethostname(host, sizeof host - 1);
	LH_CHECK(strcmp(host, "b-1")); /* ours is as it was */
	LH_CHECK(lh_test_tx_packets("eth0") == -1);
	return down(t, net);
}

static int body_pass(void *ctx)
{
	struct lh_topology *t;
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	char *argv[] = { self, (char *)(uintptr_t)"--child", (char *)(uintptr_t)"copy", NULL }, text[8] = "";
	int in[2], out[2], pidfd;
	pid_t pid;
	LH_CHECK(!up(&t, &net) && !pipe2(in, O_CLOEXEC) && !pipe2(out, O_CLOEXEC));
	/* The hardest case for moving: the numbers that the program wants are taken by the other one. */
	int pass[2] = { fcntl(in[0], F_DUPFD_CLOEXEC, 40), fcntl(out[1], F_DUPFD_CLOEXEC, 50) };
	LH_CHECK(dup3(pass[0], 44, O_CLOEXEC) == 44 && dup3(pass[1], 43, O_CLOEXEC) == 43);
	pass[0] = 44;
	pass[1] = 43;
	struct lh_spawn s = program(argv);
	s.pass_fds = pass;
	s.npass_fds = 2;
	LH_CHECK_OK(lh_net_spawn(net, 0, &s, &pid, &pidfd, &err), &err);
	LH_CHECK(write(in[1], "hello", 5) == 5);
	for (size_t i = 0; i < 5; i++)
		LH_CHECK(read(out[0], text + i, 1) == 1);
	LH_CHECK(!strcmp(text, "hello"));
	close(in[1]);
	int status = wait_end(pid, pidfd);
	LH_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 37);
	return down(t, net);
}

static int body_refusals(void *ctx)
{
	struct lh_topology *t;
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	char *none[] = { (char *)(uintptr_t)"/no/such/program", NULL }, *argv[] = { self, NULL };
	pid_t pid;
	LH_CHECK(!up(&t, &net));
	int files = lh_test_open_files();
	struct lh_spawn s = program(none);
	LH_CHECK(lh_net_spawn(net, 2, &s, &pid, NULL, &err) == -ENOENT);
	LH_CHECK(!strcmp(err.text, "peer b-0: /no/such/program: execute: No such file or directory"));
	LH_CHECK(err.exit == LH_EXIT_BROKE);
	s = program(argv);
	s.cwd = "/no/such/directory";
	LH_CHECK(lh_net_spawn(net, 2, &s, &pid, NULL, &err) == -ENOENT);
	LH_CHECK(strstr(err.text, "change directory"));
	s = program(argv);
	s.stdout_fd = 999;
	LH_CHECK(lh_net_spawn(net, 2, &s, &pid, NULL, &err) == -EBADF);
	LH_CHECK(lh_net_spawn(net, 4, &s, &pid, NULL, &err) == -EINVAL);
	LH_CHECK(lh_test_open_files() == files);
	LH_CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	return down(t, net);
}

/* What a program in the peer says, into text. */
static int output_of(struct lh_net *net, unsigned peer, const char *what, bool own_sysfs, char *text, size_t size)
{
	char *argv[] = { self, (char *)(uintptr_t)"--child", (char *)(uintptr_t)what, NULL };
	struct lh_err err = LH_ERR_INIT;
	struct lh_spawn s = program(argv);
	int fds[2], pidfd;
	pid_t pid;
	LH_CHECK(!pipe2(fds, O_CLOEXEC));
	s.stdout_fd = fds[1];
	s.own_sysfs = own_sysfs;
	LH_CHECK_OK(lh_net_spawn(net, peer, &s, &pid, &pidfd, &err), &err);
	close(fds[1]);
	ssize_t n = read(fds[0], text, size - 1);
	text[n > 0 ? n : 0] = 0;
	close(fds[0]);
	LH_CHECK(wait_end(pid, pidfd) == 0);
	return 0;
}

static int mount_sysfs(void *ctx)
{
	return unshare(CLONE_NEWNS) || mount("sysfs", "/mnt", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

/* NCCL and Gloo look for interfaces in /sys, and job systems for limits below /sys/fs/cgroup. */
static int body_sysfs(void *ctx)
{
	struct lh_topology *t;
	struct lh_net *net;
	char text[256], before[256], want[256];
	struct lh_err err = LH_ERR_INIT;
	pid_t pid;
	int cgroup = 0, pidfd;
	LH_CHECK(!up(&t, &net));
	LH_CHECK(!output_of(net, 0, "sys", false, before, sizeof before));
	LH_CHECK(sscanf(before, "ours=0 cgroup=%d", &cgroup) == 1);
	LH_CHECK(!output_of(net, 3, "sys", true, text, sizeof text));
	LH_CHECK_OK(lh_net_fork(net, 3, mount_sysfs, NULL, &pid, &pidfd, &err), &err);
	bool allowed = wait_end(pid, pidfd) == 0;
	snprintf(want, sizeof want, "ours=%d cgroup=%d", allowed, cgroup);
	if (strcmp(text, want))
		printf("# got %s\n# want %s\n", text, want);
	LH_CHECK(!strcmp(text, want));
	LH_CHECK(!output_of(net, 0, "sys", false, text, sizeof text));
	LH_CHECK(!strcmp(text, before)); /* ours is as it was */
	return down(t, net);
}

/* A pidfd and two ends of pipes for each peer must find room under a soft limit that the namespaces alone would fit. */
static int body_files(void *ctx)
{
	enum { PEERS = 100, EACH = 4, SOFT = 400 };
	struct rlimit limit;
	struct lh_err err = LH_ERR_INIT;
	struct lh_net *net;
	LH_CHECK(!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_max >= 2 * SOFT);
	limit.rlim_cur = SOFT;
	LH_CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	struct lh_topology *t = lh_test_topology(2, PEERS / 2);
	LH_CHECK(t);
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	for (int i = 0; i < PEERS * EACH; i++)
		LH_CHECK(fcntl(0, F_DUPFD_CLOEXEC, 3) >= 0);
	return down(t, net);
}

static int body_killed(void *ctx)
{
	struct lh_topology *t;
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	char *argv[] = { self, (char *)(uintptr_t)"--child", (char *)(uintptr_t)"sleep", NULL };
	pid_t pid;
	int pidfd;
	LH_CHECK(!up(&t, &net));
	struct lh_spawn s = program(argv);
	for (unsigned i = 0; i < t->npeers; i++) {
		LH_CHECK_OK(lh_net_spawn(net, i, &s, &pid, &pidfd, &err), &err);
		kill(pid, SIGKILL);
		int status = wait_end(pid, pidfd);
		LH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		LH_CHECK(lh_test_reach(net, t, i, (i + 1) % t->npeers, SOON_MS) == 2); /* its network is still there */
	}
	/* One that is still running does not keep the interfaces. */
	LH_CHECK_OK(lh_net_spawn(net, 1, &s, &pid, &pidfd, &err), &err);
	LH_CHECK(!down(t, net));
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/net/dev", (int)pid);
	FILE *f = fopen(path, "re");
	char line[512];
	int n = 0;
	while (f && fgets(line, sizeof line, f))
		n += strchr(line, ':') != NULL;
	LH_CHECK(f && n == 1); /* lo */
	fclose(f);
	kill(pid, SIGKILL);
	LH_CHECK(wait_end(pid, pidfd) >= 0);
	return 0;
}

/* The caller of spawn dies: so does the program. We are pid 1 here and inherit it. */
static int body_caller_dies(void *ctx)
{
	struct lh_topology *t;
	struct lh_net *net;
	char *argv[] = { self, (char *)(uintptr_t)"--child", (char *)(uintptr_t)"sleep", NULL };
	pid_t pid = 0;
	int fds[2], status;
	LH_CHECK(!up(&t, &net) && !pipe2(fds, O_CLOEXEC));
	pid_t caller = fork();
	if (caller == 0) {
		struct lh_spawn s = program(argv);
		if (lh_net_spawn(net, 0, &s, &pid, NULL, NULL) || write(fds[1], &pid, sizeof pid) != sizeof pid)
			_exit(1);
		for (;;)
			pause();
	}
	LH_CHECK(read(fds[0], &pid, sizeof pid) == sizeof pid && pid > 0);
	kill(caller, SIGKILL);
	LH_CHECK(waitpid(caller, &status, 0) == caller);
	LH_CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return down(t, net);
}

static int three(void *ctx)
{
	char host[64] = "";
	gethostname(host, sizeof host - 1);
	return !strcmp(host, "a-1") && lh_test_tx_packets("eth0") >= 0 && *(int *)ctx == 5 ? 3 : 1;
}

static int body_fork(void *ctx)
{
	struct lh_topology *t;
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	pid_t pid;
	int pidfd, five = 5;
	LH_CHECK(!up(&t, &net));
	LH_CHECK_OK(lh_net_fork(net, 1, three, &five, &pid, &pidfd, &err), &err);
	int status = wait_end(pid, pidfd);
	LH_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	return down(t, net);
}

static void tell(void) { lh_test_in_cell(body_tell, NULL, false); }
static void tell_as_user(void)
{
	/* The tree may lie where only its owner may look. */
	char path[sizeof self];
	strcpy(path, self);
	for (char *slash; (slash = strrchr(path, '/')); *slash = 0) {
		struct stat st;
		if (stat(path, &st) || !(st.st_mode & S_IXOTH))
			lh_test_skip("user", "%s is closed to ordinary users", path);
	}
	lh_test_in_cell(body_tell, NULL, true);
}

static void pass(void) { lh_test_in_cell(body_pass, NULL, false); }
static void refusals(void) { lh_test_in_cell(body_refusals, NULL, false); }
static void sysfs(void) { lh_test_in_cell(body_sysfs, NULL, false); }
static void files(void) { lh_test_in_cell(body_files, NULL, false); }
static void killed(void) { lh_test_in_cell(body_killed, NULL, false); }
static void caller_dies(void) { lh_test_in_cell(body_caller_dies, NULL, false); }
static void forked(void) { lh_test_in_cell(body_fork, NULL, false); }

static const struct lh_test tests[] = {
	{ "a program sees its peer and nothing of ours", tell, LH_TEST_FORK },
	{ "a program sees its peer and nothing of ours, as an ordinary user", tell_as_user, LH_TEST_FORK },
	{ "passed files become 3, 4", pass, LH_TEST_FORK },
	{ "what cannot start is told before", refusals, LH_TEST_FORK },
	{ "/sys shows the peer's interfaces, where asked", sysfs, LH_TEST_FORK },
	{ "files for every peer", files, LH_TEST_FORK },
	{ "a peer's program is killed", killed, LH_TEST_FORK },
	{ "the caller's death is the program's", caller_dies, LH_TEST_FORK },
	{ "a function in a peer", forked, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--child"))
		return child(argv[2]);
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n <= 0)
		return 1;
	return lh_test_main(argc, argv, "spawn", tests, sizeof tests / sizeof *tests);
}
