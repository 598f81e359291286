/* SIGKILL of `longhaul` itself, at random instants of a whole run: no process, namespace, mount or file is left but the
 * run directory. The runs have no end within the limit: what goes goes by the kill. tests/netns/test_cell.c and
 * tests/kernel/test_uml.c do the same to the parts. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhdeny.h"
#include "lhleft.h"
#include "lhtest.h"
#include "longhaul/cell.h"

enum { HOST_KILLS = 200, UML_KILLS = 30, UML_KILLS_LONG = 200, LEFT_LIMIT_MS = 5000 };

static const char file[] = "longhaul: 1\n"
			   "name: kill\n"
			   "sites:\n"
			   "  us: {peers: 2, lan: {rtt: 0ms}}\n"
			   "  eu: {peers: 2, lan: {rtt: 0ms}}\n"
			   "matrix: {rtt: {us: {eu: 0ms}}}\n"
			   "training: {engine: cpu, model: digits, target-batch: 32, microbatch: 8,\n"
			   "           epochs: 600, warmup: 1, pace: 40/s}\n"
			   "probe: {pings: 5}\n";

/* argv: self --victim KERNEL [denied]; in its directory. */
static int victim_main(int argc, char **argv)
{
	const char *exe = getenv("LONGHAUL_EXE");
	if (argc > 3 && lh_deny_namespaces())
		return 98;
	execl(exe ? exe : "", "longhaul", "run", "kill.yaml", "-o", "run", "-q", "--kernel", argv[2], (char *)NULL);
	return 97;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

/* The directory holds what was put there and the run directory. */
static bool only_ours(const char *dir)
{
	bool ok = true;
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.' && strcmp(e->d_name, "run") && strcmp(e->d_name, "kill.yaml")) {
			printf("# left: %s/%s\n", dir, e->d_name);
			ok = false;
		}
	if (d)
		closedir(d);
	return ok;
}

static bool kill_once(const char *kernel, bool denied, int after_ms)
{
	char mark[LH_MARK_SIZE], dir[] = "/tmp/lhfault-XXXXXX", old[4096];
	char *argv[] = { (char *)"test_kill", (char *)"--victim", (char *)kernel, (char *)(denied ? "denied" : NULL),
			 NULL };
	int status = 0;
	lh_mark_make(mark);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(old, sizeof old));
	CU_ASSERT_EQUAL_FATAL(chdir(dir), 0);
	int fd = open("kill.yaml", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_EQUAL(write(fd, file, sizeof file - 1), sizeof file - 1);
	close(fd);
	int log = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid = lh_mark_spawn(mark, argv, log, log);
	close(log);
	poll(NULL, 0, after_ms);
	lh_left_note(mark);
	kill(pid, SIGKILL);
	bool ok = waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	if (!ok)
		printf("# longhaul had ended by itself: status %x\n", (unsigned)status);
	ok = lh_left_none(mark, LEFT_LIMIT_MS) && ok;
	ok = only_ours(dir) && ok;
	if (!ok)
		printf("# killed after %d ms\n", after_ms);
	CU_ASSERT_EQUAL(chdir(old), 0);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return ok;
}

static void kill_many(const char *kernel, bool denied, int kills, int within_ms)
{
	unsigned long long seed = lh_test_seed();
	bool ok = true;
	for (int i = 0; i < kills && ok; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		ok = kill_once(kernel, denied, (int)((seed >> 33) % (unsigned)within_ms));
		CU_ASSERT(ok);
	}
}

static void need(bool uml)
{
	struct lh_cell_caps cell;
	struct lh_uml_caps caps;
	if (!getenv("LONGHAUL_EXE"))
		lh_test_skip("faults", "LONGHAUL_EXE is not set; meson sets it");
	if (!uml && !lh_cell_probe(&cell, NULL) && !(cell.pid_ns && cell.net_ns && cell.mount_ns))
		lh_test_skip("netns", "%s", cell.why);
	if (uml && !lh_uml_probe(&caps, NULL) && !caps.usable)
		lh_test_skip("kernel", "%s", caps.why);
}

static void test_host(void)
{
	need(false);
	kill_many("host", false, HOST_KILLS, 800);
}

static void test_uml(void)
{
	need(true);
	kill_many("uml", false, UML_KILLS, 4000);
}

static void test_uml_denied(void)
{
	need(true);
	kill_many("uml", true, UML_KILLS / 3, 4000);
}

static void test_uml_long(void)
{
	need(true);
	kill_many("uml", false, UML_KILLS_LONG, 4000);
	kill_many("uml", true, UML_KILLS_LONG / 4, 4000);
}

static const struct lh_test tests[] = {
	{ "longhaul on this kernel", test_host, 0 },
	{ "longhaul in User-Mode Linux", test_uml, 0 },
	{ "longhaul in User-Mode Linux, namespaces denied", test_uml_denied, 0 },
	{ "longhaul in User-Mode Linux, long form", test_uml_long, LH_TEST_LONG },
};

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "--victim"))
		return victim_main(argc, argv);
	return lh_test_main(argc, argv, "kill", tests, sizeof tests / sizeof *tests);
}
