/* cli.h - the command line: one table of commands, one of options; help, man page and completions come from them. */
#ifndef HARNESS_CLI_H
#define HARNESS_CLI_H

#include <stdbool.h>
#include <stdio.h>

#include "longhaul/experiment.h"

enum lh_kernel_choice { LH_KERNEL_AUTO, LH_KERNEL_HOST, LH_KERNEL_UML };

/* A parsed command line. Strings point into argv. */
struct lh_invocation {
	const struct lh_command *command;
	int argc; char **argv;       /* the whole of it, for re-execution in another kernel */
	const char *file;            /* first operand, where the command takes FILE */
	char **rest; int nrest;      /* further operands, or what followed -- */
	struct lh_override overrides[64]; size_t noverrides; /* --set */
	const char *out_dir;         /* -o */
	bool json, quiet, all, werror;
	const char *peer;            /* exec --peer */
	enum lh_kernel_choice kernel;
	const char *lists[8]; size_t nlists; /* sweep -L key=v1,v2 */
	unsigned runs, warmup;       /* sweep; ~0u: not given */
	unsigned long long seed; bool has_seed;
	const char *format;          /* plan --format text|commands|json */
};

struct lh_command {
	const char *name, *operands, *summary, *description;
	unsigned options;            /* which of the option table apply: bits of enum lh_option_bit in cli.c */
	int (*run)(const struct lh_invocation *inv); /* exit status */
};

/* Rows are made from commands.def. */
extern const struct lh_command lh_commands[];

/* The only places of the harness that print diagnostics. Prefix "longhaul: ". Returns err->exit. */
int lh_fail(const struct lh_err *err);

int cmd_check(const struct lh_invocation *inv);
int cmd_plan(const struct lh_invocation *inv);
int cmd_probe(const struct lh_invocation *inv);
int cmd_run(const struct lh_invocation *inv);
int cmd_exec(const struct lh_invocation *inv);
int cmd_sweep(const struct lh_invocation *inv);
int cmd_report(const struct lh_invocation *inv);
int cmd_doctor(const struct lh_invocation *inv);
int cmd_schema(const struct lh_invocation *inv);
int cmd_clean(const struct lh_invocation *inv);

#endif
