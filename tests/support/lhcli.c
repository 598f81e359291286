/* lhcli.c - see lhcli.h. */
#include "lhcli.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lhtest.h"

#define ARGS_MAX 32

const char *lh_cli_exe(void)
{
	const char *exe = getenv("LONGHAUL_EXE");

	CU_ASSERT_PTR_NOT_NULL_FATAL(exe);
	return exe;
}

void lh_cli_open(struct lh_cli *c)
{
	*c = (struct lh_cli){ .dir = "/var/tmp/lh-cli-XXXXXX" };
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(c->dir));
}

void lh_cli_write(const struct lh_cli *c, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", c->dir, name);
	FILE *out = fopen(path, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	fputs(text, out);
	CU_ASSERT_EQUAL_FATAL(fclose(out), 0);
}

static char *read_back(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char *text = malloc((size_t)size + 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	ssize_t n = pread(fd, text, (size_t)size, 0);
	text[n < 0 ? 0 : n] = 0;
	close(fd);
	return text;
}

static void child(const struct lh_cli *c, const char *const *args, const char *faults, int out, int err)
{
	const char *argv[ARGS_MAX + 2] = { lh_cli_exe() };

	for (int i = 0; args[i] && i < ARGS_MAX; i++)
		argv[i + 1] = args[i];
	if (faults)
		setenv("LONGHAUL_FAULTS", faults, 1);
	else
		unsetenv("LONGHAUL_FAULTS");
	if (chdir(c->dir) < 0 || dup2(open("/dev/null", O_RDONLY), 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(127);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void lh_cli_run(struct lh_cli *c, const char *const *args, const char *faults, int signal, int signal_ms)
{
	int out = memfd_create("out", MFD_CLOEXEC), err = memfd_create("err", MFD_CLOEXEC), status;
	double began = now();

	free(c->out);
	free(c->err);
	c->out = c->err = NULL;
	CU_ASSERT_TRUE_FATAL(out >= 0 && err >= 0);
	fflush(NULL);
	pid_t pid = fork();
	CU_ASSERT_TRUE_FATAL(pid >= 0);
	if (pid == 0)
		child(c, args, faults, out, err);
	if (signal_ms > 0) {
		struct pollfd p = { (int)syscall(SYS_pidfd_open, pid, 0), POLLIN, 0 };
		if (poll(&p, 1, signal_ms) == 0)
			kill(pid, signal);
		close(p.fd);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	c->seconds = now() - began;
	c->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	c->out = read_back(out);
	c->err = read_back(err);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void lh_cli_run_patiently(struct lh_cli *c, const char *const *args, const char *faults)
{
	char path[256];

	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof path, "%s/run", c->dir);
		nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
		lh_cli_run(c, args, faults, 0, 0);
		if (c->status != 5 && !(c->status == 3 && strstr(c->err, "tolerance")))
			return;
		printf("# busy machine, try %d: %s\n", i + 1, c->err);
	}
}

json_t *lh_cli_result(const struct lh_cli *c)
{
	char path[256];

	snprintf(path, sizeof path, "%s/run/result.json", c->dir);
	return json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
}

void lh_cli_close(struct lh_cli *c)
{
	nftw(c->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(c->out);
	free(c->err);
}
