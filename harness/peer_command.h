/* peer_command.h - longhaul-peer's own commands (models, bench-train): the trainer knows models and devices, this program
 * does not. */
#ifndef HARNESS_PEER_COMMAND_H
#define HARNESS_PEER_COMMAND_H

#include "cli.h"

enum { LH_PEER_COMMAND_WORDS = 24 };

struct lh_peer_command {
	char program[4096], data[4096];
	const char *argv[LH_PEER_COMMAND_WORDS + 1]; /* the first is the program; ends with NULL */
	unsigned n;
};

/* LH_EXIT_MACHINE where longhaul-peer is nowhere. */
int lh_peer_command_init(const struct lh_invocation *inv, const char *word, struct lh_peer_command *ret, struct lh_err *err);
/* `bench-train` with what the command line asks of it. */
int lh_peer_command_bench_train(const struct lh_invocation *inv, bool json, struct lh_peer_command *ret, struct lh_err *err);
/* Append "--name value" unless value is NULL. */
void lh_peer_command_option(struct lh_peer_command *c, const char *name, const char *value);
/* Append a word as it is. */
void lh_peer_command_word(struct lh_peer_command *c, const char *word);
/* Become it, with `more` words behind (NULL: none); returns only to say why not. */
int lh_peer_command_become(const struct lh_peer_command *c, char *const *more, int nmore, struct lh_err *err);
/* Run it, stdin_fd (-1: ours) its standard input; its standard output into *ret_text (malloc'ed, with a NUL), its errors to standard error. *ret_status as a shell
 * counts it. */
int lh_peer_command_capture(const struct lh_peer_command *c, int stdin_fd, char **ret_text, size_t *ret_len, int *ret_status,
			    struct lh_err *err);

#endif
