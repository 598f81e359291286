/* lhcli.h - run `longhaul` as a user would, and look at what it left. */
#ifndef LHCLI_H
#define LHCLI_H

#include <stddef.h>
#include <sys/types.h>

struct json_t;

struct lh_cli {
	char dir[64];       /* a private directory; runs go to dir/run */
	char *out, *err;    /* what it printed */
	int status;         /* exit status, or 128 + signal */
	double seconds;
};

/* Path of the built program (LONGHAUL_EXE, set by meson). */
const char *lh_cli_exe(void);
/* Make the directory. */
void lh_cli_open(struct lh_cli *c);
/* A file in it. */
void lh_cli_write(const struct lh_cli *c, const char *name, const char *text);
/* Run with these arguments (NULL-terminated), in the directory. faults: LONGHAUL_FAULTS or NULL. signal_ms > 0: after
 * so long send `signal`. Fills out, err, status; frees those of the run before. */
void lh_cli_run(struct lh_cli *c, const char *const *args, const char *faults, int signal, int signal_ms);
/* The same without signals, again (at most 4 times in all, dir/run removed before) while the command says that the
 * machine was too busy to measure: exit status 5, or a round-trip time out of tolerance. */
void lh_cli_run_patiently(struct lh_cli *c, const char *const *args, const char *faults);
/* dir/run/result.json, NULL when it is not there. */
struct json_t *lh_cli_result(const struct lh_cli *c);
/* Remove everything. */
void lh_cli_close(struct lh_cli *c);

#endif
