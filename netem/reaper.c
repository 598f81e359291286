/* reaper.c - where the kernel will not end a cell for us, a process does.
 *
 * Theory of operation. The reaper is the caller's child and the worker's parent, in a session of its own. It is a
 * child subreaper, so whatever the worker starts becomes the reaper's child at the latest when its own parent dies:
 * nobody can leave. It waits for one of two ends: the worker's exit, or the end of file on `life`, which means
 * that the caller died (of SIGKILL too). Then it kills all its descendants again and again until the kernel says that
 * there is none, removes the scratch directories that the worker announced, and exits with the worker's status.
 */
#include "cell_internal.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES_MAX = 65536, PAUSE_MS = 1 };

struct process {
	pid_t pid, parent;
	bool ours;
};

static pid_t parent_of(const char *pid)
{
	char path[64], line[512];
	snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return -1;
	size_t n = fread(line, 1, sizeof line - 1, f);
	fclose(f);
	line[n] = 0;
	/* The name in parentheses may contain anything, parentheses too. */
	const char *end = strrchr(line, ')');
	int parent;
	return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : -1;
}

static size_t processes_read(struct process *list, size_t max)
{
	DIR *d = opendir("/proc");
	size_t n = 0;
	for (struct dirent *e; d && n < max && (e = readdir(d));)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			list[n++] = (struct process){ .pid = atoi(e->d_name), .parent = parent_of(e->d_name) };
	if (d)
		closedir(d);
	return n;
}

/* SIGKILL to every descendant there is at this moment. */
static void kill_descendants(pid_t worker)
{
	struct process *list = calloc(PROCESSES_MAX, sizeof *list);
	size_t n = list ? processes_read(list, PROCESSES_MAX) : 0;
	pid_t self = getpid();
	for (bool more = true; more;) {
		more = false;
		for (size_t i = 0; i < n; i++) {
			bool child = list[i].parent == self;
			for (size_t j = 0; j < n && !child; j++)
				child = list[j].ours && list[j].pid == list[i].parent;
			more |= child && !list[i].ours;
			list[i].ours |= child;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (list[i].ours)
			kill(list[i].pid, SIGKILL);
	if (worker > 0)
		kill(worker, SIGKILL); /* without /proc at least this */
	free(list);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	remove(path);
	return 0;
}

static void scratch_remove(int fd)
{
	char path[LH_SCRATCH_MAX + 1];
	for (ssize_t n; (n = recv(fd, path, sizeof path - 1, MSG_DONTWAIT)) > 0;) {
		path[n] = 0;
		nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	}
}

/* Wait for the worker's end (true, status) or the caller's (false), passing signals on. */
static bool worker_wait(int life, int child_fd, pid_t worker, int *ret_status)
{
	struct pollfd p[] = { { .fd = life, .events = POLLIN }, { .fd = child_fd, .events = POLLIN } };
	for (;;) {
		unsigned char sig;
		struct signalfd_siginfo si;
		if (waitpid(worker, ret_status, WNOHANG) == worker)
			return true;
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents && read(child_fd, &si, sizeof si) < 0)
			return false;
		if (!p[0].revents)
			continue;
		if (read(life, &sig, 1) != 1)
			return false;
		kill(worker, sig);
	}
}

int lh_reaper_main(struct lh_cell_start *start)
{
	sigset_t child;
	close(start->life[1]);
	start->life[1] = -1;
	setsid();
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	int child_fd = signalfd(-1, &child, SFD_CLOEXEC);
	if (child_fd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1)) {
		lh_cell_tell(start, -errno, "start the reaper");
		return 127;
	}
	start->reaper_pid = getpid();
	pid_t worker = lh_cell_clone(start->clone_flags);
	if (worker == 0) {
		close(child_fd);
		lh_cell_worker(start);
	}
	if (worker < 0) {
		lh_cell_tell(start, worker, "clone");
		return 127;
	}
	close(start->report[1]);
	close(start->scratch[1]);
	int status = 0;
	bool exited = worker_wait(start->life[0], child_fd, worker, &status), ended = exited;
	for (;;) {
		pid_t got;
		while ((got = waitpid(-1, NULL, WNOHANG)) > 0)
			ended |= got == worker;
		if (got < 0 && errno == ECHILD) /* the kernel's word that no descendant is left */
			break;
		kill_descendants(ended ? -1 : worker);
		poll(NULL, 0, PAUSE_MS);
	}
	scratch_remove(start->scratch[0]);
	return exited ? lh_wait_status(status) : 128 + SIGKILL;
}
