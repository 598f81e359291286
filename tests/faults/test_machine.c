/* Machines that lack something: room, a right, a program, data, a kernel. One clear line that names it, the exit status
 * of its class, what was there before is kept, nothing is left. tests/netns/test_run.c fills the disk under `run`,
 * tests/netns/cli.cases under `probe`; here it is `sweep`. */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lhdeny.h"
#include "lhtest.h"
#include "longhaul/cell.h"
#include "victim.h"

static const char far[] =
	"longhaul: 1\n"
	"name: far\n"
	"sites: {us: {peers: 1}, eu: {peers: 1}}\n"
	"links: [{between: [us, eu], rtt: 20ms}]\n"
	"training: {engine: cpu, model: digits, target-batch: 32, microbatch: 8, epochs: 3, warmup: 1, pace: 20/s}\n"
	"probe: {pings: 5, goodput: 0s}\n";

static const char *const run[] = {"run", "here.yaml", "--kernel", "host", "-o", "run", "-q", NULL};

/* Private mounts for this forked test; as root, or as root of a user namespace. */
static void own_mounts(void)
{
	char map[64];
	unsigned uid = geteuid(), gid = getegid();

	if (unshare(CLONE_NEWNS) < 0) {
		static const char *const files[] = {"/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map"};
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
			lh_test_skip("netns", "no mount namespace");
		for (int i = 0; i < 3; i++) {
			int fd = open(files[i], O_WRONLY | O_CLOEXEC);
			snprintf(map, sizeof map, i == 0 ? "deny" : "0 %u 1", i == 1 ? uid : gid);
			CU_ASSERT_TRUE_FATAL(fd >= 0 && write(fd, map, strlen(map)) > 0);
			close(fd);
		}
	}
	CU_ASSERT_EQUAL_FATAL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
}

static bool has(const char *path) { return access(path, F_OK) == 0; }

/* The disk fills in the middle of a sweep: the runs that were finished before are there, whole, and say so. */
static void test_full_disk(void)
{
	static const char *const args[] = {
		"sweep", "here.yaml",           "--kernel", "host", "-o", "small/sweep", "-q", "-L", "epochs=2,3,4",
		"--set", "training.pace=400/s", "--runs",   "4",    NULL};
	struct victim v;
	unsigned finished = 0;

	own_mounts();
	victim_open(&v, victim_topology);
	CU_ASSERT_EQUAL_FATAL(mkdir("small", 0777), 0);
	/* A run takes some 50 KiB, twelve do not fit. */
	CU_ASSERT_EQUAL_FATAL(mount("none", "small", "tmpfs", 0, "size=300k"), 0);
	victim_run(&v, args);
	victim_expect(&v, 4, "No space left on device");
	for (int cell = 0; cell < 3; cell++)
		for (int n = 0; n < 4; n++) {
			char path[128];
			snprintf(path, sizeof path, "small/sweep/runs/c%03d-r%d/result.json", cell, n);
			json_t *doc = victim_json(&v, path);
			finished += doc && json_is_true(json_object_get(doc, "complete"));
			json_decref(doc);
		}
	printf("# %u runs were finished: %s", finished, v.err);
	CU_ASSERT_TRUE(finished >= 1 && finished < 12);
	victim_left_nothing(&v);
	victim_files_whole("small", false);
	CU_ASSERT_EQUAL(umount2("small", MNT_DETACH), 0);
	victim_close(&v);
}

static void test_read_only(void)
{
	static const char *const args[] = {"run", "here.yaml", "--kernel", "host", "-o", "small/run", "-q", NULL};
	struct victim v;

	own_mounts();
	victim_open(&v, victim_topology);
	CU_ASSERT_EQUAL_FATAL(mkdir("small", 0777), 0);
	CU_ASSERT_EQUAL_FATAL(mount("none", "small", "tmpfs", MS_RDONLY, "size=64k"), 0);
	victim_run(&v, args);
	victim_expect(&v, 2, "longhaul: run directory small/run: Read-only file system");
	CU_ASSERT_EQUAL(umount2("small", MNT_DETACH), 0);
	victim_close(&v);
}

static void test_no_peer_program(void)
{
	const char *exe = getenv("LONGHAUL_EXE");
	char peer[PATH_MAX];
	struct victim v;

	victim_open(&v, victim_topology);
	setenv("LONGHAUL_PEER_PROGRAM", "/nonexistent/peer", 1);
	victim_run(&v, run);
	victim_expect(&v, 2, "LONGHAUL_PEER_PROGRAM=/nonexistent/peer: No such file or directory");
	setenv("LONGHAUL_PEER_PROGRAM", "/etc/passwd", 1);
	victim_run(&v, run);
	victim_expect(&v, 2, "peer program /etc/passwd: Permission denied");
	/* A program that is something else. */
	setenv("LONGHAUL_PEER_PROGRAM", "/bin/true", 1);
	victim_run(&v, run);
	victim_expect(&v, 2, "bin/true: asked what memory it needs it gave no answer");
	CU_ASSERT_FALSE(has("run"));
	/* One that ends at once as a peer, and with it the run. */
	FILE *f = fopen("peer", "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fprintf(f, "#!/bin/sh\n[ \"$1\" = memory ] || exit 0\nexec '%.*s/../trainer/longhaul-peer' \"$@\"\n",
		(int)(strrchr(exe, '/') - exe), exe);
	CU_ASSERT_EQUAL(fclose(f), 0);
	CU_ASSERT_EQUAL(chmod("peer", 0755), 0);
	snprintf(peer, sizeof peer, "%s/peer", v.dir);
	setenv("LONGHAUL_PEER_PROGRAM", peer, 1);
	victim_run(&v, run);
	unlink("peer");
	victim_expect(&v, 4, ": exited with status 0"); /* whoever is noticed first */
	json_t *doc = victim_json(&v, "run/result.json");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json_object_get(doc, "failure"), "kind")),
			       "peer-died");
	json_decref(doc);
	victim_close(&v);
}

/* `longhaul` without its other parts: installed by hand, or half. */
static void test_alone(void)
{
	struct victim v;
	char command[4200];

	victim_open(&v, victim_topology);
	CU_ASSERT_EQUAL(mkdir("alone", 0777), 0);
	snprintf(command, sizeof command, "cp '%s' alone/longhaul", getenv("LONGHAUL_EXE"));
	CU_ASSERT_EQUAL_FATAL(system(command), 0);
	snprintf(command, sizeof command, "%s/../trainer/longhaul-peer", getenv("LONGHAUL_EXE"));
	setenv("LONGHAUL_EXE", "alone/longhaul", 1);
	victim_run(&v, run);
	/* Where `ninja install` has put the rest it finds it. */
	if (v.status == 0)
		lh_test_skip("uninstalled", "longhaul-peer is installed");
	victim_expect(&v, 3, "longhaul: longhaul-peer: neither beside ");
	victim_expect(&v, 3, "LONGHAUL_PEER_PROGRAM");
	setenv("LONGHAUL_PEER_PROGRAM", "/bin/true", 1);
	victim_run(&v, run);
	victim_expect(&v, 3, "longhaul: data sets: not in ");
	CU_ASSERT_FALSE(has("run"));
	victim_close(&v);
}

static void test_no_data(void)
{
	struct victim v;

	victim_open(&v, victim_topology);
	CU_ASSERT_EQUAL(mkdir("data", 0777), 0);
	setenv("LONGHAUL_DATA", "/nonexistent", 1);
	victim_run(&v, run);
	victim_expect(&v, 2, "LONGHAUL_DATA=/nonexistent: No such file or directory");
	CU_ASSERT_FALSE(has("run"));
	setenv("LONGHAUL_DATA", "data", 1); /* empty */
	victim_run(&v, run);
	victim_expect(&v, 4, "digits.lhdata: No such file or directory");
	CU_ASSERT_TRUE(has("run/result.json"));
	victim_close(&v);
}

/* A right that is not there: an ordinary user's directory that is shut. */
static void test_shut_directory(void)
{
	static const char *const args[] = {"run", "here.yaml", "--kernel", "host", "-o", "small/run", "-q", NULL};
	struct victim v;

	victim_open(&v, victim_topology);
	CU_ASSERT_EQUAL(mkdir("small", 0755), 0);
	CU_ASSERT_EQUAL(chmod(v.dir, 0755), 0);
	if (geteuid())
		chmod("small", 0555);
	else
		setenv("VICTIM_USER", "65534", 1);
	victim_run(&v, args);
	if (v.status != 97)
		victim_expect(&v, 2, "longhaul: run directory small/run: Permission denied");
	CU_ASSERT_FALSE(has("small/run"));
	victim_close(&v);
	if (v.status == 97)
		lh_test_skip("root", "the build directory is closed to other users");
}

static bool host_has_netem(void)
{
	static const char *const args[] = {"exec", "here.yaml", "--kernel", "host", "--set", "links.us-eu.rtt=4ms",
					   "--",   "true",      NULL};
	struct victim v;

	victim_open(&v, victim_topology);
	victim_run(&v, args);
	bool netem = v.status == 0;
	if (!netem)
		victim_expect(&v, 3, "longhaul: --kernel host: this kernel has no sch_netem; try --kernel uml");
	victim_close(&v);
	return netem;
}

/* No kernel can do it: the user's own has no sch_netem, and linux.uml is not there. With the remedy, and as JSON too.
 */
static void test_no_kernel(void)
{
	static const char *const uml[] = {"run", "here.yaml", "--kernel", "uml", "-o", "run", "-q", NULL};
	static const char *const any[] = {"run", "here.yaml", "-o", "run", "-q", "--json", NULL};
	static const char *const files[] = {"/usr/bin/linux.uml", "/usr/local/bin/linux.uml"};
	bool netem = host_has_netem();
	struct victim v;

	own_mounts();
	victim_open(&v, far);
	int fd = open("data", O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* not executable */
	close(fd);
	for (int i = 0; i < 2; i++)
		if (has(files[i]))
			CU_ASSERT_EQUAL_FATAL(mount("data", files[i], NULL, MS_BIND, NULL), 0);
	if (geteuid() == 0 && !access(files[0], X_OK))
		CU_FAIL("linux.uml is still there");
	victim_run(&v, uml);
	victim_expect(&v, 3,
		      "User-Mode Linux cannot stand in: /usr/bin/linux.uml is not there; install the package "
		      "user-mode-linux");
	CU_ASSERT_FALSE(has("run"));
	if (!netem) {
		victim_run(&v, any);
		victim_expect(&v, 3, "this kernel has no sch_netem, and User-Mode Linux cannot stand in: ");
		json_t *doc = json_loads(v.out, 0, NULL);
		CU_ASSERT_EQUAL(json_integer_value(json_object_get(doc, "exit_status")), 3);
		CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(doc, "schema")), "longhaul-result/1");
		json_decref(doc);
		CU_ASSERT_FALSE(has("run"));
	}
	victim_close(&v);
	for (int i = 0; i < 2; i++)
		umount2(files[i], MNT_DETACH);
}

/* Namespaces refused, as in many containers, and no User-Mode Linux asked for. */
static void test_no_namespaces(void)
{
	struct victim v;

	victim_open(&v, victim_topology);
	CU_ASSERT_EQUAL_FATAL(lh_deny_namespaces(), 0);
	victim_run(&v, run);
	victim_expect(&v, 3, "longhaul: --kernel host: this kernel ");
	victim_expect(&v, 3, "try --kernel uml");
	CU_ASSERT_FALSE(has("run"));
	printf("# %s", v.err);
	victim_close(&v);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{"full_disk", test_full_disk, LH_TEST_FORK},
		{"read_only", test_read_only, LH_TEST_FORK},
		{"shut_directory", test_shut_directory, LH_TEST_FORK},
		{"no_peer_program", test_no_peer_program, LH_TEST_FORK},
		{"alone", test_alone, LH_TEST_FORK},
		{"no_data", test_no_data, LH_TEST_FORK},
		{"no_kernel", test_no_kernel, LH_TEST_FORK},
		{"no_namespaces", test_no_namespaces, LH_TEST_FORK},
	};

	if (argc > 1 && !strcmp(argv[1], "--victim"))
		return victim_main(argv);
	return lh_test_main(argc, argv, "faults of the machine", tests, sizeof tests / sizeof *tests);
}
