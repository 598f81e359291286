/* cell.h - private namespaces that die with their parent, and the kernel in which they live.
 *
 * lh_cell_run() forks a worker into new user (when not root, or when the bare unshare is refused), pid,
 * mount, network and ipc namespaces. The worker is pid 1 there: when it or the caller dies, by SIGKILL too,
 * the kernel ends every process inside and with them every network namespace, link and tmpfs. Where pid
 * namespaces are refused, a reaper (a child subreaper that outlives the caller) does the same.
 *
 * lh_uml_run() boots User-Mode Linux as a process inside such a cell and runs one command of ours in it.
 */
#ifndef LONGHAUL_CELL_H
#define LONGHAUL_CELL_H

#include <stdbool.h>

#include "longhaul/err.h"
#include "longhaul/units.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lh_cell_caps {
	bool user_ns, pid_ns, net_ns, mount_ns;
	char why[160]; /* the first refusal: call, errno text, and the remedy where known (AppArmor, sysctl) */
};

struct lh_cell_options {
	bool need_net;         /* false: the cell keeps the caller's network (UML supervisor) */
	bool allow_reaper;     /* false: refuse (LH_EXIT_MACHINE) where namespaces are refused */
	const char *tmpfs_dir; /* NULL, or an existing directory that gets a private tmpfs (mode 0700) */
	lh_bytes tmpfs_bytes;
};

/* Run fn(ctx) as the cell's pid 1; its return value (0 ... 255) is the exit status. SIGINT, SIGTERM and
 * SIGHUP sent to the caller are passed on to the worker as they come; a second SIGINT or SIGTERM ends the cell at
 * once (128 + that signal). fn starts with these three blocked, since pid 1 ignores what has no handler: it reads
 * a signalfd or sets handlers. The worker is a session of its own, but keeps the terminal's descriptors.
 * *ret_status: the worker's exit status, or 128 + signal. The caller must be single-threaded. */
int lh_cell_run(const struct lh_cell_options *opt, int (*fn)(void *ctx), void *ctx,
		int *ret_status, struct lh_err *err);
/* Try each namespace in a short-lived child. */
int lh_cell_probe(struct lh_cell_caps *ret, struct lh_err *err);

struct lh_uml_options {
	char *const *argv;       /* command to run in the guest; argv[0] an absolute path */
	const char *cwd;
	const char *const *writable; /* directories of the host that the guest may write, NULL-terminated */
	lh_bytes memory_bytes;   /* guest RAM; 0: 1 GiB */
	int cpu;                 /* host CPU to pin to; -1: one of the allowed ones, chosen by pid */
	lh_ns timeout_ns;        /* 0: none */
};
struct lh_uml_caps {
	bool usable;
	char kernel_path[256]; /* linux.uml */
	char release[65];      /* of the guest's modules */
	char why[320];         /* missing package, missing module directory, noexec scratch ... with the remedy */
};
int lh_uml_probe(struct lh_uml_caps *ret, struct lh_err *err);
/* Boot, run, return the command's exit status (128 + signal when it was killed). stdout and stderr of the
 * command appear on ours while it runs; SIGINT/SIGTERM reach it; the guest ends when we die. */
int lh_uml_run(const struct lh_uml_options *opt, int *ret_status, struct lh_err *err);
/* In the guest: are we inside a UML that lh_uml_run() booted? */
bool lh_uml_inside(void);
/* pid 1 of the guest; `longhaul` calls it when it finds itself there. Never returns. */
void lh_uml_init_main(void) __attribute__((noreturn));

#ifdef __cplusplus
}
#endif
#endif
