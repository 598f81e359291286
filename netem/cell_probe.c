/* cell_probe.c - which namespaces this process may have, found by making each in a short-lived child, and what
 * to do about a refusal. */
#include "cell_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long sysctl_read(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	return n > 0 ? strtol(text, NULL, 10) : -1;
}

static bool seccomp_filtered(void)
{
	char line[128];
	int mode = 0;
	FILE *f = fopen("/proc/self/status", "re");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "Seccomp: %d", &mode) == 1)
			break;
	if (f)
		fclose(f);
	return mode == 2;
}

const char *lh_cell_remedy(void)
{
	if (sysctl_read("/proc/sys/kernel/unprivileged_userns_clone") == 0)
		return "sudo sysctl kernel.unprivileged_userns_clone=1 allows it";
	if (sysctl_read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
		return "AppArmor restricts user namespaces: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 "
		       "allows it";
	if (sysctl_read("/proc/sys/user/max_user_namespaces") == 0)
		return "sudo sysctl user.max_user_namespaces=10000 allows it";
	if (seccomp_filtered())
		return "a seccomp filter (of the container?) refuses it: --security-opt seccomp=unconfined allows it";
	return "";
}

static int nothing(void *ctx)
{
	(void)ctx;
	return 0;
}

static int try_flags(int flags, struct lh_err *err)
{
	static const struct lh_cell_options none;
	struct lh_cell_start start = { .opt = &none, .fn = nothing, .clone_flags = flags };
	pid_t pid = lh_cell_attempt(&start, err);
	return pid < 0 ? pid : lh_cell_end(&start, pid);
}

int lh_cell_probe(struct lh_cell_caps *ret, struct lh_err *err)
{
	struct lh_cell_caps caps = { .user_ns = false };
	static const struct {
		const char *name;
		int flag;
		size_t offset;
	} kinds[] = {
		{ "user namespace", CLONE_NEWUSER, offsetof(struct lh_cell_caps, user_ns) },
		{ "pid namespace", CLONE_NEWPID, offsetof(struct lh_cell_caps, pid_ns) },
		{ "network namespace", CLONE_NEWNET, offsetof(struct lh_cell_caps, net_ns) },
		{ "mount namespace", CLONE_NEWNS, offsetof(struct lh_cell_caps, mount_ns) },
	};
	const char *remedy = lh_cell_remedy();
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct lh_err e = LH_ERR_INIT;
		int rc = geteuid() == 0 && kinds[i].flag != CLONE_NEWUSER ? try_flags(kinds[i].flag, &e) : -EPERM;
		if (rc)
			rc = try_flags(kinds[i].flag | CLONE_NEWUSER, &e);
		*((bool *)((char *)&caps + kinds[i].offset)) = rc == 0;
		if (rc && !caps.why[0])
			snprintf(caps.why, sizeof caps.why, "%s: %.60s%s%s", kinds[i].name, e.text, *remedy ? "; " : "", remedy);
	}
	(void)err;
	*ret = caps;
	return 0;
}
