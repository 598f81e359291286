/* peers.h - the training processes of a run: started inside their emulated hosts, told, listened to, reaped.
 *
 * Every peer has three fds besides stderr: 3 its configuration (a memfd), 4 its event lines (a pipe to us),
 * 5 its commands (one byte each; end of file means stop). One epoll set watches the event pipes, the processes
 * (pidfds) and one fd of the caller's, the signals.
 */
#ifndef HARNESS_PEERS_H
#define HARNESS_PEERS_H

#include <sys/types.h>

#include "eventlog.h"
#include "longhaul/network.h"
#include "longhaul/peer.h"

/* Every peer has an address of its own, so all listen at the same port. */
#define LH_PEER_PORT 29400
#define LH_STORE_PORT 29401

struct lh_peer_proc {
	pid_t pid;                /* -1: not started */
	int pidfd, event_fd, control_fd; /* -1: closed */
	bool exited;
	int status;               /* of waitpid, when exited */
	lh_ns exited_ns;
	struct lh_lines lines;
};

struct lh_peers {
	unsigned n;
	unsigned running;         /* peers; the store runs until it is killed */
	unsigned store;           /* node of the store, whose process is procs[n]; 0: none */
	int epoll_fd;
	struct lh_peer_proc *procs;
	struct lh_net *net;       /* what the next start of a peer needs */
	const char *program;
	int stderr_fd;
	int turns_fd;             /* of the device that the peers share; -1: each has its own */
};

struct lh_peers_handler {
	/* A peer's event line, or the store's, which is number n. Negative stops the waiting and is handed on. */
	int (*line)(void *ctx, unsigned peer, const char *line, size_t len, struct lh_err *err);
	/* A peer ended; all its lines were handed over before. */
	int (*exited)(void *ctx, unsigned peer, int status, struct lh_err *err);
	void *ctx;
};

/* Start every peer of the network but those that the configuration calls absent. `config` is the same for all but
 * its rank, and the checkpoints' directory, below which each peer has its own. stderr_fd: where peers complain.
 * wake_fd: an fd of the caller's that ends a wait when it is readable; -1 none. store: the node where the store that the
 * configuration names is started, too; 0: none. net and peer_path outlive *ps.
 * On failure nothing is left running. */
int lh_peers_start(struct lh_peers *ps, struct lh_net *net, const char *peer_path,
		   const struct lh_peer_config *config, unsigned store, int stderr_fd, int wake_fd, struct lh_err *err);

/* Hand over what there is, waiting for it at most until `until_ns` (CLOCK_MONOTONIC). Returns 0, also when
 * nothing came; *ret_woken: wake_fd is readable. */
int lh_peers_wait(struct lh_peers *ps, lh_ns until_ns, const struct lh_peers_handler *h, bool *ret_woken,
		  struct lh_err *err);

/* Start a peer that is not there (a former process of it is killed and reaped first, its last lines and its end handed
 * over): it joins a group that runs already. `config` as above; incarnation: how often it was started before. */
int lh_peers_restart(struct lh_peers *ps, const struct lh_peer_config *config, unsigned peer, uint32_t incarnation,
		     const struct lh_peers_handler *h, struct lh_err *err);

/* A command byte to one peer, when it runs. */
void lh_peers_tell(struct lh_peers *ps, unsigned peer, char command);
/* A command byte to every running peer. A peer that is gone is found by its exit, not here. */
void lh_peers_command(struct lh_peers *ps, char command);
/* CPU time that all peers together have used. */
lh_ns lh_peers_cpu_ns(const struct lh_peers *ps);
/* SIGKILL one. */
void lh_peers_kill(struct lh_peers *ps, unsigned peer);

/* SIGKILL what still runs, reap, close. Accepts a zeroed struct. */
void lh_peers_done(struct lh_peers *ps);

/* "exited with status 3", "was killed by signal 9 (Killed)". Returns buf. */
char *lh_peer_status_text(int status, char *buf, size_t size);

#endif
