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
	const char *resume_dir;      /* sweep --resume: the directory of a sweep that was broken off */
	const char *begin, *end;     /* bench: sizes as they were written; NULL: not given */
	unsigned factor;             /* bench; 0: not given */
	const char *algorithms, *streams, *codec, *pause; /* bench; NULL: not given */
	/* bench train, calibrate: as they were written, for longhaul-peer to judge; NULL: not given */
	const char *model, *engine, *precision, *microbatch, *seconds, *device;
	const char *format;          /* --format of plan and schema */
	const char *probe_dir;       /* --probe: directory of an earlier `longhaul probe` whose goodput is taken */
	const char *baseline_dir;    /* run --baseline */
	bool help;                   /* --help: print this command's help instead */

	/* Not of the user: from the environment (main.c), or from the outer process when this one was started
	 * inside User-Mode Linux (session.c). */
	const char *peer_program, *data_dir;
	const char *catalogue;       /* the user's own devices: a file that need not exist; NULL: no home to look in */
	bool animate;                /* progress may rewrite its line: standard error is a terminal that can */
	const char *faults;          /* LONGHAUL_FAULTS: for tests, see lh_run_faults_parse() */
	const char *inside_uml;      /* NULL: not inside; else the run directory made outside, "" without one */
	char **envp;                 /* the environment as main() got it, for programs that `exec` runs */
};

struct lh_command {
	const char *name, *operands, *summary, *description;
	unsigned long long options;  /* which of the option table apply: bits of enum lh_option_bit */
	int (*run)(const struct lh_invocation *inv); /* exit status */
};

/* Rows are made from commands.def; the last has a NULL name. */
extern const struct lh_command lh_commands[];

/* Split a command line into *ret. No abbreviations; options may stand before and after operands; what follows
 * `--` is never an option. On failure err (LH_EXIT_INPUT) is one sentence that names the word and, where one is
 * near, what may have been meant. argv must outlive *ret. */
int lh_cli_parse(int argc, char **argv, struct lh_invocation *ret, struct lh_err *err);
/* Parse and run. *preset holds what main() took from the environment. Returns the exit status. */
int lh_cli_main(int argc, char **argv, const struct lh_invocation *preset);
/* The nearest of `names` to `word` (NULL-terminated list), or NULL when none is near. */
const char *lh_cli_suggest(const char *word, const char *const *names);
/* Help of one command, or of all (NULL), made from the tables. */
void lh_cli_print_help(const struct lh_command *command, FILE *out);

/* The only places of the harness that print diagnostics. Prefix "longhaul: ". Returns err->exit. */
int lh_fail(const struct lh_err *err);

int cmd_bench(const struct lh_invocation *inv);
int cmd_bench_train(const struct lh_invocation *inv);
int cmd_calibrate(const struct lh_invocation *inv);
int cmd_check(const struct lh_invocation *inv);
int cmd_models(const struct lh_invocation *inv);
int cmd_plan(const struct lh_invocation *inv);
int cmd_probe(const struct lh_invocation *inv);
int cmd_run(const struct lh_invocation *inv);
int cmd_exec(const struct lh_invocation *inv);
int cmd_sweep(const struct lh_invocation *inv);
int cmd_report(const struct lh_invocation *inv);
int cmd_compare(const struct lh_invocation *inv);
int cmd_doctor(const struct lh_invocation *inv);
int cmd_schema(const struct lh_invocation *inv);
int cmd_clean(const struct lh_invocation *inv);

#endif
