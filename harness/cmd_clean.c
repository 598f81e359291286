/* cmd_clean.c - `longhaul clean`: is there anything of ours that no running longhaul owns?
 *
 * Nothing should ever be found, because namespaces and scratch belong to processes (docs/ARCHITECTURE.md); interfaces
 * and namespaces have no existence of their own, so there are none to look for. Looked at: processes of ours without a
 * living longhaul above them, and scratch directories of processes that are gone. It only tells; ending what somebody
 * may still be looking at is the user's decision.
 */
#include "cli.h"

#include <ctype.h>
#include <dirent.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PARENTS_MAX = 64 };

struct process { char comm[32]; int parent; uid_t owner; };

static bool process_read(int pid, struct process *ret)
{
	char path[64], line[512];
	struct stat info;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(line, sizeof line, f) && !fstat(fileno(f), &info);
	if (f)
		fclose(f);
	char *open = ok ? strchr(line, '(') : NULL, *close = ok ? strrchr(line, ')') : NULL;
	if (!open || !close)
		return false;
	*close = 0;
	snprintf(ret->comm, sizeof ret->comm, "%s", open + 1);
	ret->owner = info.st_uid;
	char state;
	return sscanf(close + 2, "%c %d", &state, &ret->parent) == 2 && state != 'Z';
}

static bool is_ours(const char *comm)
{
	return !strcmp(comm, "longhaul") || !strcmp(comm, "longhaul-peer") || !strcmp(comm, "linux.uml");
}

/* Ours, and nobody above it is a longhaul that somebody started. */
static bool is_orphan(int pid, const struct process *p)
{
	struct process up;
	int at = p->parent;
	for (int i = 0; i < PARENTS_MAX && at > 1 && process_read(at, &up); i++, at = up.parent)
		if (!strcmp(up.comm, "longhaul"))
			return false;
	/* A longhaul whose parent is not init was started by someone; one under init may be a service, unless it is a
	 * helper process, which always has a longhaul above it. */
	return strcmp(p->comm, "longhaul") != 0 || p->parent == 1;
}

static unsigned clean_processes(void)
{
	DIR *d = opendir("/proc");
	unsigned found = 0;
	for (struct dirent *e; d && (e = readdir(d));) {
		struct process p;
		int pid = atoi(e->d_name);
		if (!isdigit((unsigned char)e->d_name[0]) || pid == getpid() || !process_read(pid, &p) || !is_ours(p.comm))
			continue;
		if (is_orphan(pid, &p)) {
			printf("process %d (%s) has no longhaul above it\n", pid, p.comm);
			found++;
		}
	}
	if (d)
		closedir(d);
	return found;
}

/* longhaul-<pid>-<16 hex digits>, as cells name their scratch, of a process that is gone. */
static bool is_old_scratch(const char *name)
{
	int pid = 0, len = 0;
	unsigned long long id;
	struct process p;
	return sscanf(name, "longhaul-%d-%16llx%n", &pid, &id, &len) == 2 && !name[len] && !process_read(pid, &p);
}

static unsigned clean_scratch(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned found = 0;
	for (struct dirent *e; d && (e = readdir(d));)
		if (is_old_scratch(e->d_name)) {
			printf("scratch %s/%s of a process that is gone\n", dir, e->d_name);
			found++;
		}
	if (d)
		closedir(d);
	return found;
}

int cmd_clean(const struct lh_invocation *inv)
{
	unsigned found = clean_processes();
	static const char *const scratch_dirs[] = { "/tmp", "/var/tmp", "/dev/shm", "/run", NULL };
	for (unsigned i = 0; scratch_dirs[i]; i++)
		found += clean_scratch(scratch_dirs[i]);
	if (!found)
		puts("nothing to do: no process of ours without its longhaul, no scratch of ours without its process");
	return found ? LH_EXIT_GATE : LH_EXIT_OK;
}
