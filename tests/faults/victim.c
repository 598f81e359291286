/* victim.c - see victim.h. */
#include "victim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhtest.h"
#include "longhaul/cell.h"

enum { LEFT_LIMIT_MS = 5000, RUN_LIMIT_MS = 60000, TRAINS_LIMIT_MS = 20000, ARGS_MAX = 32, FILE_MAX = 4 << 20 };

const char victim_topology[] = "longhaul: 1\n"
			       "name: here\n"
			       "sites:\n"
			       "  us: {peers: 2, lan: {rtt: 0ms}}\n"
			       "  eu: {peers: 2, lan: {rtt: 0ms}}\n"
			       "links: [{between: [us, eu], rtt: 0ms, rate: 500mbit, queue: 1000packets}]\n"
			       "training: {engine: cpu, model: digits, target-batch: 32, microbatch: 8, epochs: 6, "
			       "warmup: 1, pace: 40/s, deadline: 2s}\n"
			       "probe: {pings: 5, goodput: 0s}\n";

/* Names of the interfaces of our own network, one a line. */
static void interfaces_read(char *buf, size_t size)
{
	struct dirent **list;
	size_t used = 0;
	int n = scandir("/sys/class/net", &list, NULL, alphasort);

	buf[0] = 0;
	for (int i = 0; i < n; i++) {
		if (used < size)
			used += (size_t)snprintf(buf + used, size - used, "%s\n", list[i]->d_name);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static void write_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "we");

	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	fputs(text, out);
	CU_ASSERT_EQUAL_FATAL(fclose(out), 0);
}

void victim_open(struct victim *v, const char *topology)
{
	struct lh_cell_caps caps;
	struct lh_err err = LH_ERR_INIT;

	if (lh_cell_probe(&caps, &err) < 0 || !caps.net_ns || !caps.pid_ns || !caps.mount_ns)
		lh_test_skip("netns", "%s", err.code ? err.text : caps.why);
	CU_ASSERT_PTR_NOT_NULL_FATAL(getenv("LONGHAUL_EXE"));
	memset(v, 0, sizeof *v);
	lh_mark_make(v->mark);
	strcpy(v->dir, "/var/tmp/lhfault-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(v->dir));
	CU_ASSERT_EQUAL_FATAL(chdir(v->dir), 0);
	write_file("here.yaml", topology);
	interfaces_read(v->interfaces, sizeof v->interfaces);
}

void victim_start(struct victim *v, const char *const *args)
{
	char *argv[ARGS_MAX + 3] = {(char *)"victim", (char *)"--victim"};

	for (int i = 0; args[i] && i < ARGS_MAX; i++)
		argv[i + 2] = (char *)(uintptr_t)args[i];
	v->out_fd = memfd_create("out", MFD_CLOEXEC);
	v->err_fd = memfd_create("err", MFD_CLOEXEC);
	CU_ASSERT_TRUE_FATAL(v->out_fd >= 0 && v->err_fd >= 0);
	v->seconds = -(double)lh_clock_ns() / 1e9;
	v->pid = lh_mark_spawn(v->mark, argv, v->out_fd, v->err_fd);
	CU_ASSERT_TRUE_FATAL(v->pid > 0);
}

static void read_back(int *fd, char *buf, size_t size)
{
	ssize_t n = pread(*fd, buf, size - 1, 0);

	buf[n > 0 ? n : 0] = 0;
	close(*fd);
	*fd = -1;
}

void victim_wait(struct victim *v, int limit_ms)
{
	struct pollfd p = {(int)syscall(SYS_pidfd_open, v->pid, 0), POLLIN, 0};
	int status = 0;

	if (poll(&p, 1, limit_ms) == 0) {
		printf("# still running after %d ms\n", limit_ms);
		CU_FAIL("the victim does not end");
		kill(v->pid, SIGKILL);
	}
	close(p.fd);
	CU_ASSERT_EQUAL(waitpid(v->pid, &status, 0), v->pid);
	v->pid = 0;
	v->seconds += (double)lh_clock_ns() / 1e9;
	v->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	read_back(&v->out_fd, v->out, sizeof v->out);
	read_back(&v->err_fd, v->err, sizeof v->err);
}

void victim_run(struct victim *v, const char *const *args)
{
	victim_start(v, args);
	victim_wait(v, RUN_LIMIT_MS);
}

void victim_expect(const struct victim *v, int status, const char *says)
{
	bool said = !says || strstr(v->err, says);

	CU_ASSERT_EQUAL(v->status, status);
	CU_ASSERT_TRUE(said);
	if (v->status != status || !said)
		printf("# status %d, wanted %d and \"%s\"\n# %s\n", v->status, status, says ? says : "", v->err);
}

/* --- its processes --- */

struct process {
	pid_t pid, parent, inner; /* inner: as itself sees it */
	char comm[32];
};

static bool process_read(pid_t pid, struct process *ret)
{
	char path[64], line[256];

	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	*ret = (struct process){.pid = pid};
	while (fgets(line, sizeof line, f)) {
		sscanf(line, "Name:\t%31s", ret->comm);
		sscanf(line, "PPid:\t%d", &ret->parent);
		if (!strncmp(line, "NSpid:", 6))
			ret->inner = atoi(strrchr(line, '\t'));
	}
	fclose(f);
	return true;
}

static bool descends(pid_t pid, pid_t from)
{
	struct process p;

	for (int depth = 0; pid > 1 && depth < 32; depth++, pid = p.parent) {
		if (pid == from)
			return true;
		if (!process_read(pid, &p))
			return false;
	}
	return false;
}

/* Calls fn for each process below the victim until it returns true. */
static void each_below(const struct victim *v, bool (*fn)(void *ctx, const struct process *p), void *ctx)
{
	DIR *d = opendir("/proc");
	struct process p;
	bool done = false;

	for (struct dirent *e; d && !done && (e = readdir(d));)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && process_read(atoi(e->d_name), &p) &&
		    p.pid != v->pid && descends(p.parent, v->pid))
			done = fn(ctx, &p);
	if (d)
		closedir(d);
}

struct found {
	struct process peers[64];
	unsigned n;
	pid_t cell;
};

static bool look(void *ctx, const struct process *p)
{
	struct found *f = ctx;

	if (p->inner == 1)
		f->cell = p->pid;
	if (!strcmp(p->comm, "longhaul-peer") && f->n < 64)
		f->peers[f->n++] = *p;
	return false;
}

static int by_inner(const void *a, const void *b)
{
	return ((const struct process *)a)->inner - ((const struct process *)b)->inner;
}

/* Peers are started in the order of their ranks, in a pid namespace that is new. */
pid_t victim_peer(const struct victim *v, unsigned rank)
{
	struct found f = {.n = 0};

	each_below(v, look, &f);
	qsort(f.peers, f.n, sizeof *f.peers, by_inner);
	return rank < f.n ? f.peers[rank].pid : 0;
}

pid_t victim_cell(const struct victim *v)
{
	struct found f = {.n = 0};

	each_below(v, look, &f);
	return f.cell;
}

/* --- its files --- */

static char *file_read(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "re");
	char *text = f ? malloc(FILE_MAX + 1) : NULL;

	*ret_len = text ? fread(text, 1, FILE_MAX, f) : 0;
	if (text)
		text[*ret_len] = 0;
	if (f)
		fclose(f);
	return text;
}

bool victim_trains(const struct victim *v, unsigned reports)
{
	char path[128];

	snprintf(path, sizeof path, "%s/run/events.jsonl", v->dir);
	for (int ms = 0; ms < TRAINS_LIMIT_MS; ms += 10) {
		size_t len;
		unsigned n = 0;
		char *text = file_read(path, &len);
		for (const char *p = text; p && (p = strstr(p, "\"event\":\"epoch\"")); p++)
			n++;
		free(text);
		if (n >= reports)
			return true;
		poll(NULL, 0, 10);
	}
	CU_FAIL("the victim does not train");
	return false;
}

json_t *victim_json(const struct victim *v, const char *path)
{
	char full[256];

	snprintf(full, sizeof full, "%s/%s", v->dir, path);
	return json_load_file(full, JSON_REJECT_DUPLICATES, NULL);
}

static bool lines_whole(const char *text, size_t len, bool torn)
{
	for (const char *p = text, *end; p < text + len; p = end + 1) {
		end = memchr(p, '\n', (size_t)(text + len - p));
		if (!end)
			return torn;
		json_t *line = json_loadb(p, (size_t)(end - p), JSON_REJECT_DUPLICATES, NULL);
		if (!line)
			return torn && end + 1 == text + len;
		json_decref(line);
	}
	return true;
}

static unsigned commas(const char *from, const char *to)
{
	unsigned n = 0;

	for (; from < to; from++)
		n += *from == ',';
	return n;
}

/* A header, rows with as many cells, and a newline at the end. */
static bool table_whole(const char *text, size_t len)
{
	const char *end = memchr(text, '\n', len);
	unsigned columns = end ? commas(text, end) : 0;

	for (const char *p = text; p < text + len; p = end + 1) {
		end = memchr(p, '\n', (size_t)(text + len - p));
		if (!end || commas(p, end) != columns)
			return false;
	}
	return columns > 0;
}

static bool whole_torn;
static unsigned whole_bad;

static bool ends(const char *name, const char *with)
{
	size_t n = strlen(name), m = strlen(with);

	return n >= m && !strcmp(name + n - m, with);
}

static int whole_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *name = path + ftw->base;
	size_t len;
	bool ok = true;

	/* What is hidden is not finished, and says so by its name. */
	if (type != FTW_F || name[0] == '.')
		return 0;
	char *text = file_read(path, &len);
	if (ends(name, ".json")) {
		json_t *doc = text ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
		ok = doc != NULL;
		json_decref(doc);
	} else if (ends(name, ".jsonl")) {
		ok = text && lines_whole(text, len, whole_torn);
	} else if (ends(name, ".csv")) {
		ok = text && table_whole(text, len);
	} else {
		/* "./run" and the like; what the test put there itself is not looked at */
		ok = !strcmp(name, "peers.log") || ftw->level < 2 || strstr(path, "/data/") || strstr(path, "/alone/");
	}
	if (!ok)
		printf("# not whole: %s, %zu bytes: ...%s\n", path, len, text && len > 200 ? text + len - 200 : text);
	whole_bad += !ok;
	free(text);
	return 0;
}

bool victim_files_whole(const char *dir, bool torn)
{
	whole_torn = torn;
	whole_bad = 0;
	nftw(dir, whole_one, 16, FTW_PHYS);
	CU_ASSERT_EQUAL(whole_bad, 0);
	return whole_bad == 0;
}

/* --- what is left --- */

/* Only what the test put there and where it told longhaul to write. */
static bool only_ours(const struct victim *v)
{
	static const char *const ours[] = {"here.yaml", "run", "other", "small", "data", "alone"};
	DIR *d = opendir(v->dir);
	bool ok = true;

	for (struct dirent *e; d && (e = readdir(d));) {
		bool known = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
		for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
			known |= !strcmp(e->d_name, ours[i]);
		if (!known)
			printf("# left: %s/%s\n", v->dir, e->d_name);
		ok &= known;
	}
	if (d)
		closedir(d);
	return ok;
}

bool victim_left_nothing(struct victim *v)
{
	char now[sizeof v->interfaces];
	bool ok = lh_left_none(v->mark, LEFT_LIMIT_MS);

	ok &= only_ours(v);
	interfaces_read(now, sizeof now);
	if (strcmp(now, v->interfaces)) {
		printf("# interfaces before: %s# after: %s", v->interfaces, now);
		ok = false;
	}
	CU_ASSERT_TRUE(ok);
	return ok;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) { return remove(path); }

void victim_close(struct victim *v)
{
	if (v->pid) {
		kill(v->pid, SIGKILL);
		victim_wait(v, LEFT_LIMIT_MS);
	}
	victim_left_nothing(v);
	victim_files_whole(v->dir, false);
	CU_ASSERT_EQUAL(chdir("/"), 0);
	nftw(v->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

int victim_main(char **argv)
{
	const char *exe = getenv("LONGHAUL_EXE");

	const char *user = getenv("VICTIM_USER");

	if (user && (setgid((gid_t)atoi(user)) || setuid((uid_t)atoi(user))))
		return 96;
	argv[1] = (char *)"longhaul";
	execv(exe ? exe : "", argv + 1);
	return 97;
}
