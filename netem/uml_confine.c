/* uml_confine.c - the host as the guest may see it: read-only but for the directories named.
 *
 * The guest mounts the host's root read-only, but its root could mount it again otherwise, and a hostfs acts with
 * our rights. So the supervisor, in its own mount namespace, makes all mounts read-only first; then the host's kernel
 * refuses. Without a mount namespace of our own (a container that refuses them) the guest's own mount flags remain.
 */
#include "uml_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mount.h>

static int writable_again(const char *dir)
{
	struct mount_attr rw = { .attr_clr = MOUNT_ATTR_RDONLY };
	return mount_setattr(AT_FDCWD, dir, 0, &rw, sizeof rw) ? -errno : 0;
}

int lh_uml_confine(const char *const *writable, const char *scratch)
{
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
	for (const char *const *w = writable; w && *w; w++)
		if (mount(*w, *w, NULL, MS_BIND | MS_REC, NULL)) /* a mount of its own, to have a flag of its own */
			return -errno;
	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &ro, sizeof ro))
		return errno == ENOSYS ? 0 : -errno; /* before Linux 5.12 */
	for (const char *const *w = writable; w && *w; w++) {
		int rc = writable_again(*w);
		if (rc)
			return rc;
	}
	return writable_again(scratch);
}
