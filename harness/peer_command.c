/* peer_command.c - see peer_command.h. */
#include "peer_command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session.h"

enum { OUTPUT_MAX = 1 << 20 };

int lh_peer_command_init(const struct lh_invocation *inv, const char *word, struct lh_peer_command *ret, struct lh_err *err)
{
	*ret = (struct lh_peer_command){ .n = 0 };
	int rc = lh_session_peer_program(inv, ret->program, sizeof ret->program, err);
	if (rc)
		return rc;
	if (!ret->program[0])
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOENT,
				  "longhaul-peer: neither beside this program nor in %s; install it there, or name it with "
				  "LONGHAUL_PEER_PROGRAM",
				  LH_LIBEXECDIR);
	lh_peer_command_word(ret, ret->program);
	lh_peer_command_word(ret, word);
	return 0;
}

void lh_peer_command_word(struct lh_peer_command *c, const char *word)
{
	if (c->n < LH_PEER_COMMAND_WORDS)
		c->argv[c->n++] = word;
}

void lh_peer_command_option(struct lh_peer_command *c, const char *name, const char *value)
{
	if (!value)
		return;
	lh_peer_command_word(c, name);
	lh_peer_command_word(c, value);
}

int lh_peer_command_bench_train(const struct lh_invocation *inv, bool json, struct lh_peer_command *c, struct lh_err *err)
{
	int rc = lh_peer_command_init(inv, "bench-train", c, err);
	if (!rc)
		rc = lh_session_data_dir(inv, c->data, sizeof c->data, err);
	if (rc)
		return rc;
	if (json)
		lh_peer_command_word(c, "--json");
	lh_peer_command_option(c, "--model", inv->model);
	lh_peer_command_option(c, "--engine", inv->engine);
	lh_peer_command_option(c, "--precision", inv->precision);
	lh_peer_command_option(c, "--microbatch", inv->microbatch);
	lh_peer_command_option(c, "--seconds", inv->seconds);
	lh_peer_command_option(c, "--data", *c->data ? c->data : NULL);
	return 0;
}

/* The words as execv() wants them. */
static char **words(const struct lh_peer_command *c, char *const *more, int nmore)
{
	char **argv = calloc(c->n + (size_t)nmore + 1, sizeof *argv);
	for (unsigned i = 0; argv && i < c->n; i++)
		argv[i] = (char *)(uintptr_t)(i ? c->argv[i] : c->program);
	for (int i = 0; argv && i < nmore; i++)
		argv[c->n + (unsigned)i] = more[i];
	return argv;
}

int lh_peer_command_become(const struct lh_peer_command *c, char *const *more, int nmore, struct lh_err *err)
{
	char **argv = words(c, more, nmore);
	if (!argv)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%s", c->argv[1]);
	execv(c->program, argv);
	int rc = lh_err_sys(err, LH_EXIT_MACHINE, -errno, "%s", c->program);
	free(argv);
	return rc;
}

static int read_all(int fd, char **ret_text, size_t *ret_len, struct lh_err *err)
{
	char *text = malloc(OUTPUT_MAX + 1);
	size_t len = 0;
	ssize_t n = text ? 1 : -1;
	while (text && len < OUTPUT_MAX && (n = read(fd, text + len, OUTPUT_MAX - len)) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		len += n > 0 ? (size_t)n : 0;
	}
	if (n) {
		int code = !text ? -ENOMEM : n > 0 ? -E2BIG : -errno;
		free(text);
		return lh_err_sys(err, LH_EXIT_BROKE, code, "longhaul-peer: its output");
	}
	text[len] = 0;
	*ret_text = text;
	*ret_len = len;
	return 0;
}

int lh_peer_command_capture(const struct lh_peer_command *c, int stdin_fd, char **ret_text, size_t *ret_len, int *ret_status,
			    struct lh_err *err)
{
	int fds[2], status = 0;
	char **argv = words(c, NULL, 0);
	if (!argv || pipe2(fds, O_CLOEXEC)) {
		int code = argv ? -errno : -ENOMEM;
		free(argv);
		return lh_err_sys(err, LH_EXIT_MACHINE, code, "%s", c->argv[1]);
	}
	fflush(NULL);
	pid_t pid = fork();
	if (!pid) {
		if (dup2(fds[1], STDOUT_FILENO) >= 0 && (stdin_fd < 0 || dup2(stdin_fd, STDIN_FILENO) >= 0))
			execv(c->program, argv);
		_exit(127);
	}
	int code = pid < 0 ? -errno : 0;
	close(fds[1]);
	free(argv);
	int rc = code ? lh_err_sys(err, LH_EXIT_MACHINE, code, "fork") : read_all(fds[0], ret_text, ret_len, err);
	close(fds[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!rc)
		*ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return rc;
}
