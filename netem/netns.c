#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int lh_netns_current(int *ret_fd, struct lh_err *err)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "open /proc/self/ns/net");
	*ret_fd = fd;
	return 0;
}

int lh_netns_make(int *ret_fd, struct lh_err *err)
{
	if (unshare(CLONE_NEWNET)) {
		int code = -errno;
		if (code == -ENOSPC)
			return lh_err_set(err, LH_EXIT_MACHINE, code,
					  "unshare: %s (too many network namespaces; raise the sysctl"
					  " user.max_net_namespaces)", strerror(-code));
		return lh_err_sys(err, LH_EXIT_MACHINE, code, "unshare");
	}
	return lh_netns_current(ret_fd, err);
}

int lh_netns_enter(int fd, const char *object, struct lh_err *err)
{
	if (setns(fd, CLONE_NEWNET))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "%s: enter network namespace", object);
	return 0;
}

int lh_sysctl_write(const char *key, const char *value, struct lh_err *err)
{
	char path[128];
	if ((size_t)snprintf(path, sizeof path, "/proc/sys/%s", key) >= sizeof path)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENAMETOOLONG, "sysctl %s", key);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "open %s", path);
	size_t len = strlen(value);
	ssize_t n = write(fd, value, len);
	int code = n < 0 ? -errno : (size_t)n != len ? -EIO : 0;
	close(fd);
	return code ? lh_err_sys(err, LH_EXIT_MACHINE, code, "write %s", path) : 0;
}
