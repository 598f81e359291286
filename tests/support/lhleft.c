#include "lhleft.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { NOTED_MAX = 512, SCAN_MAX = 1 << 20, PAUSE_MS = 10 };

static char noted[NOTED_MAX][32]; /* "net:[4026531992]" */
static size_t nnoted;
static char scratch[32]; /* how the victim's scratch directories begin */

void lh_mark_make(char mark[LH_MARK_SIZE])
{
	unsigned long long id = 0;
	if (getrandom(&id, sizeof id, 0) != sizeof id)
		abort();
	snprintf(mark, LH_MARK_SIZE, "lhmark-%016llx", id);
	nnoted = 0;
}

pid_t lh_mark_spawn(const char *mark, char *const argv[], int stdout_fd, int stderr_fd)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid) {
		snprintf(scratch, sizeof scratch, "longhaul-%d-", pid);
		return pid;
	}
	setenv(LH_MARK_VARIABLE, mark, 1);
	if (stdout_fd >= 0)
		dup2(stdout_fd, 1);
	if (stderr_fd >= 0)
		dup2(stderr_fd, 2);
	execv("/proc/self/exe", argv);
	_exit(126);
}

static bool file_has(const char *path, const char *word)
{
	static char text[SCAN_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0, got;
	while (fd >= 0 && n < SCAN_MAX && (got = read(fd, text + n, (size_t)(SCAN_MAX - n))) > 0)
		n += got;
	if (fd >= 0)
		close(fd);
	return n > 0 && memmem(text, (size_t)n, word, strlen(word));
}

typedef void process_fn(const char *pid, bool marked, void *ctx);

static void each_process(const char *mark, process_fn *fn, void *ctx)
{
	char path[300], self[16];
	snprintf(self, sizeof self, "%d", getpid());
	DIR *d = opendir("/proc");
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !strcmp(e->d_name, self))
			continue;
		/* A zombie is only an exit status that its parent, often the machine's init, has not read yet. */
		snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		if (file_has(path, ") Z "))
			continue;
		snprintf(path, sizeof path, "/proc/%s/environ", e->d_name);
		fn(e->d_name, file_has(path, mark), ctx);
	}
	if (d)
		closedir(d);
}

static bool is_noted(const char *name)
{
	for (size_t i = 0; i < nnoted; i++)
		if (!strcmp(noted[i], name))
			return true;
	return false;
}

static const char *const kinds[] = { "user", "pid", "mnt", "net", "ipc", "uts" };

static bool link_read(char *buf, size_t size, const char *pid, const char *folder, const char *name)
{
	char path[600];
	snprintf(path, sizeof path, "/proc/%s/%s/%s", pid, folder, name);
	ssize_t n = readlink(path, buf, size - 1);
	buf[n > 0 ? n : 0] = 0;
	return n > 0;
}

static void note_process(const char *pid, bool marked, void *ctx)
{
	char theirs[64], ours[64];
	(void)ctx;
	for (size_t i = 0; marked && i < sizeof kinds / sizeof *kinds; i++)
		if (link_read(theirs, sizeof theirs, pid, "ns", kinds[i]) &&
		    link_read(ours, sizeof ours, "self", "ns", kinds[i]) && strcmp(theirs, ours) &&
		    !is_noted(theirs) && nnoted < NOTED_MAX)
			snprintf(noted[nnoted++], sizeof noted[0], "%.31s", theirs);
}

void lh_left_note(const char *mark)
{
	each_process(mark, note_process, NULL);
}

struct count {
	size_t n;
	bool print;
};

static void found(struct count *c, const char *what, const char *a, const char *b)
{
	c->n++;
	if (c->print)
		printf("# left: %s %s %s\n", what, a, b);
}

static void count_fds(const char *pid, struct count *c)
{
	char path[300], target[256];
	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));)
		if (link_read(target, sizeof target, pid, "fd", e->d_name) && is_noted(target))
			found(c, "namespace held by an fd of", pid, target);
	if (d)
		closedir(d);
}

static void count_process(const char *pid, bool marked, void *ctx)
{
	struct count *c = ctx;
	char name[64];
	if (marked) {
		char comm[300], text[64] = "";
		snprintf(comm, sizeof comm, "/proc/%s/comm", pid);
		FILE *f = fopen(comm, "re");
		if (f) {
			if (!fgets(text, sizeof text, f))
				text[0] = 0;
			fclose(f);
		}
		text[strcspn(text, "\n")] = 0;
		found(c, "process", pid, text);
	}
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (link_read(name, sizeof name, pid, "ns", kinds[i]) && is_noted(name))
			found(c, "namespace of process", pid, name);
	if (nnoted)
		count_fds(pid, c);
}

static void count_files(const char *mark, const char *dir, struct count *c)
{
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));)
		if (strstr(e->d_name, mark) || (scratch[0] && !strncmp(e->d_name, scratch, strlen(scratch))))
			found(c, "file", dir, e->d_name);
	if (d)
		closedir(d);
}

size_t lh_left_count(const char *mark, bool print)
{
	static const char *const dirs[] = { "/tmp", "/dev/shm", "/var/tmp", "." };
	struct count c = { 0, print };
	each_process(mark, count_process, &c);
	if (file_has("/proc/self/mountinfo", mark))
		found(&c, "mount", "with", mark);
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
		count_files(mark, dirs[i], &c);
	return c.n;
}

bool lh_left_none(const char *mark, int limit_ms)
{
	for (int ms = 0; ms < limit_ms; ms += PAUSE_MS) {
		if (!lh_left_count(mark, false))
			return true;
		poll(NULL, 0, PAUSE_MS);
	}
	return !lh_left_count(mark, true);
}
