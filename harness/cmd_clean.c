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

struct process {
	char comm[32];
	int parent;
	uid_t owner;
};

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

/* A User-Mode Linux may be anybody's; ours has longhaul as its init. */
static bool boots_longhaul(int pid)
{
	char path[64], words[4096];
	snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(words, 1, sizeof words - 1, f) : 0;
	if (f)
		fclose(f);
	for (size_t i = 0; i < n; i++)
		words[i] = words[i] ? words[i] : ' ';
	words[n] = 0;
	const char *init = strstr(words, "init=");
	return init && strstr(init, "/longhaul");
}

static bool is_ours(int pid, const char *comm)
{
	return !strcmp(comm, "longhaul") || !strcmp(comm, "longhaul-peer") ||
	       (!strcmp(comm, "linux.uml") && boots_longhaul(pid));
}

static bool in_another_pid_namespace(int pid)
{
	char path[64];
	struct stat mine, its;
	snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
	return !stat("/proc/self/ns/pid", &mine) && !stat(path, &its) && mine.st_ino != its.st_ino;
}

/* A helper is an orphan when nobody but helpers is above it. A longhaul below init may have been started detached;
 * the one inside a cell may not, since it dies with the one outside. */
static bool is_orphan(int pid, const struct process *p)
{
	struct process up;
	int at = p->parent;
	if (!strcmp(p->comm, "longhaul"))
		return p->parent == 1 && in_another_pid_namespace(pid);
	for (int i = 0; i < PARENTS_MAX && at > 1; i++, at = up.parent)
		if (!process_read(at, &up) || !is_ours(at, up.comm) || !strcmp(up.comm, "longhaul"))
			return false;
	return true;
}

static unsigned clean_processes(void)
{
	DIR *d = opendir("/proc");
	unsigned found = 0;
	for (struct dirent *e; d && (e = readdir(d));) {
		struct process p;
		int pid = atoi(e->d_name);
		if (!isdigit((unsigned char)e->d_name[0]) || pid == getpid() || !process_read(pid, &p) ||
		    !is_ours(pid, p.comm))
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
