/* session.h - from a command line to a process that may build a network: load the file, choose the kernel,
 * enter it. Commands that need a network give a body; the session runs it in the right place:
 *
 *   host kernel:  longhaul -> cell (private namespaces) -> body
 *   UML:          longhaul -> cell -> linux.uml -> longhaul (the same command line) -> cell -> body
 *
 * Bad input is found before anything is touched (exit 2); a machine that cannot do it is exit 3.
 */
#ifndef HARNESS_SESSION_H
#define HARNESS_SESSION_H

#include "cli.h"
#include "longhaul/network.h"
#include "memory.h"

enum lh_netem_where { LH_NETEM_NONE, LH_NETEM_HOST, LH_NETEM_UML }; /* environment.netem of the result */

struct lh_session {
	const struct lh_invocation *inv;
	struct lh_experiment exp;
	enum lh_netem_where where;
	struct lh_caps caps;          /* of the kernel that the body runs on */
	const char *out_dir;          /* NULL, or an absolute path of a fresh directory that is writable here */
	char self_path[4096];         /* this executable */
	char peer_path[4096];         /* longhaul-peer */
	char data_dir[4096];          /* shipped data sets */
	struct lh_memory_plan memory; /* of the training, where the command trains one */
	int signal_fd;                /* signalfd: SIGINT, SIGTERM, SIGHUP (blocked); SIGCHLD is not in it */
};

struct lh_session_options {
	bool makes_out_dir;           /* without -o: longhaul-runs/<UTC>-<name>-<id>/ is made */
	bool trains;                  /* needs longhaul-peer and the data sets */
	bool resumes_apart;           /* --resume names another run, not the directory that is gone on in */
	bool uses_out_dir;            /* -o is honoured: must not exist; made before the kernel is entered */
	/* NULL, or what the command itself has to say about its words and the file; before anything is touched. */
	int (*check)(const struct lh_invocation *inv, const struct lh_experiment *exp, struct lh_err *err);
	/* A command that builds more networks than the file's: the one that takes the most memory, and whether any of
	 * them needs netem. NULL, false: the file's own. */
	const struct lh_experiment *largest;
	bool needs_netem;
	/* Memory of one peer process inside User-Mode Linux; 0: by what the file trains. */
	lh_bytes peer_bytes;
	/* The machine cannot do it (the message is on stderr already); the body will not be called. May be NULL. */
	void (*failed)(const struct lh_session *s, const struct lh_err *err);
};

/* Returns the exit status of the whole command. */
/* Where longhaul-peer is; "" where it is nowhere. */
int lh_session_peer_program(const struct lh_invocation *inv, char *ret, size_t size, struct lh_err *err);
/* Where the shipped data sets lie; "" where they are not installed. */
int lh_session_data_dir(const struct lh_invocation *inv, char *ret, size_t size, struct lh_err *err);
int lh_session_main(const struct lh_invocation *inv, const struct lh_session_options *opt,
		    int (*body)(struct lh_session *s));

/* In the body: has SIGINT, SIGTERM or SIGHUP come? 128 + its number, or 0; does not block. */
int lh_session_interrupted(struct lh_session *s);

#endif
