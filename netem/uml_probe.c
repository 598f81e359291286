/* uml_probe.c - is there a linux.uml with its modules, and a place for its memory? */
#include "longhaul/cell.h"
#include "uml_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const kernels[] = { "/usr/bin/linux.uml", "/usr/local/bin/linux.uml" };

/* The console's socket lies below it, and a socket's path has 107 bytes. */
enum { SCRATCH_DIR_MAX = 56 };

const char *lh_uml_scratch_dir(const char *const *candidates, unsigned long long bytes)
{
	struct statvfs v;
	for (const char *const *c = candidates; *c; c++)
		/* A blank would split the kernel's command line. */
		if (**c == '/' && !strpbrk(*c, " \t\n\"") && strlen(*c) <= SCRATCH_DIR_MAX && !access(*c, W_OK | X_OK) && !statvfs(*c, &v) &&
		    !(v.f_flag & (ST_NOEXEC | ST_RDONLY)) && (unsigned long long)v.f_bavail * v.f_frsize >= bytes)
			return *c;
	return NULL;
}

/* What `linux.uml --version` says: the release whose modules it needs. */
static int release_ask(const char *kernel, char *buf, size_t size)
{
	int out[2], status;
	if (pipe2(out, O_CLOEXEC))
		return -errno;
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(out[1], 1);
		dup2(null, 2);
		execl(kernel, "linux.uml", "--version", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	size_t n = 0;
	for (ssize_t got; pid > 0 && n < size - 1 && (got = read(out[0], buf + n, size - 1 - n)) > 0;)
		n += (size_t)got;
	close(out[0]);
	buf[n] = 0;
	buf[strcspn(buf, "\n")] = 0;
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -ECHILD;
	return n && WIFEXITED(status) && WEXITSTATUS(status) == 0 && !strchr(buf, '/') ? 0 : -ENOEXEC;
}

static long ptrace_scope(void)
{
	char text[8] = "";
	int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	return n > 0 ? strtol(text, NULL, 10) : 0;
}

int lh_uml_probe(struct lh_uml_caps *ret, struct lh_err *err)
{
	struct lh_uml_caps caps = { .usable = false };
	char modules[128];
	(void)err;
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels && !caps.kernel_path[0]; i++)
		if (!access(kernels[i], X_OK))
			snprintf(caps.kernel_path, sizeof caps.kernel_path, "%s", kernels[i]);
	if (!caps.kernel_path[0]) {
		snprintf(caps.why, sizeof caps.why, "%s is not there; install the package user-mode-linux", kernels[0]);
	} else if (release_ask(caps.kernel_path, caps.release, sizeof caps.release)) {
		caps.release[0] = 0;
		snprintf(caps.why, sizeof caps.why, "%s does not run here", caps.kernel_path);
	} else {
		snprintf(modules, sizeof modules, LH_UML_MODULES_DIR "/%s", caps.release);
		if (access(modules, R_OK | X_OK))
			snprintf(caps.why, sizeof caps.why, "%s is not there; reinstall the package user-mode-linux", modules);
		else if (ptrace_scope() >= 2)
			snprintf(caps.why, sizeof caps.why,
				 "ptrace is restricted; sudo sysctl kernel.yama.ptrace_scope=1 allows it");
		else
			caps.usable = true;
	}
	*ret = caps;
	return 0;
}
