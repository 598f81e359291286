/* uml_init.c - pid 1 of the guest: mounts, modules, loopback, one command, its status, power off.
 *
 * The host's root is the guest's root, read-only (hostfs). Tmpfs cover /run and /dev/shm; the writable directories of
 * the host are mounted again in their places. A signal for the command arrives as Ctrl-Alt-Del, which the host sends
 * through UML's management console and the kernel turns into SIGINT for pid 1; the numbers are in the file `signals`.
 *
 * Vector state: UML 6.1 loses AVX-512 state across signal handlers, and a guest cannot be denied the instructions
 * (CPUID goes to the host's CPU). So every process of the guest is told by its environment, which children of exec
 * inherit: glibc's own string and math functions through GLIBC_TUNABLES, and the libraries that choose kernels by CPU
 * through their variables. A program with AVX-512 compiled in, or that clears its environment, is not covered.
 */
#include "longhaul/cell.h"
#include "uml_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, DEPENDENCIES_MAX = 64, FILES_MAX = 1 << 20 };

/* What a network of ours, its tests and usual tools need, and the congestion controls that a file may name. */
static const char *const modules[] = {
	"ipv6", "veth", "tun", "ifb", "bridge", "dummy", "sch_netem", "sch_tbf", "sch_htb", "sch_fq", "sch_fq_codel",
	"sch_prio", "sch_ingress", "cls_u32", "cls_matchall", "act_mirred", "tcp_bbr", "tcp_htcp", "tcp_westwood",
	"tcp_vegas", "tcp_illinois", "tcp_dctcp",
};

static const char *const environment[][2] = {
	{ "GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD,-AVX512ER,-AVX512PF" },
	{ "OPENBLAS_CORETYPE", "Haswell" },
	{ "DNNL_MAX_CPU_ISA", "AVX2" },
	{ "ONEDNN_MAX_CPU_ISA", "AVX2" },
	{ "ATEN_CPU_CAPABILITY", "avx2" },
	{ "MKL_ENABLE_INSTRUCTIONS", "AVX2" },
	{ "BLIS_ARCH_TYPE", "haswell" },
	{ "NPY_DISABLE_CPU_FEATURES", "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR" },
	{ "OPENSSL_ia32cap", ":~0xd0230000" }, /* leaf 7 EBX: AVX512 F, DQ, IFMA, CD, BW, VL */
	{ "TMPDIR", LH_UML_TMP_DIR },
};

bool lh_uml_inside(void)
{
	return getenv(LH_UML_VARIABLE) != NULL;
}

static void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *fmt, ...)
{
	char text[512];
	int saved = errno;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text - 1, fmt, ap);
	va_end(ap);
	if (n < 0 || n > (int)sizeof text - 2)
		n = (int)sizeof text - 2;
	n += snprintf(text + n, sizeof text - (size_t)n, ": %s\n", strerror(saved));
	int fd = open(LH_UML_JOB_DIR "/why", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (write(fd >= 0 ? fd : 2, text, strlen(text)) < 0)
		return;
	if (fd >= 0)
		close(fd);
}

static void make_path(const char *path)
{
	char part[PATH_SIZE];
	for (const char *s = path; *s; s += !!*s) {
		s += strcspn(s + 1, "/") + 1;
		if (snprintf(part, sizeof part, "%.*s", (int)(s - path), path) < (int)sizeof part)
			mkdir(part, 0755);
	}
}

static bool mount_at(const char *type, const char *dir, unsigned long flags, const char *options)
{
	make_path(dir);
	if (!mount(type, dir, type, flags, options) || errno == EBUSY)
		return true;
	complain("mount %s on %s", type, dir);
	return false;
}

static void mount_system(const char *job)
{
	mount_at("proc", "/proc", 0, NULL);
	mount_at("sysfs", "/sys", 0, NULL);
	mount_at("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755");
	mount_at("hostfs", LH_UML_JOB_DIR, 0, job); /* from here on complaints are heard */
	mount_at("devtmpfs", "/dev", 0, NULL);
	mount_at("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_at("devpts", "/dev/pts", 0, "ptmxmode=666");
	mount_at("tmpfs", LH_UML_TMP_DIR, MS_NOSUID | MS_NODEV, "mode=1777");
	mkdir("/run/netns", 0755);
	mkdir("/run/lock", 01777);
	if (symlink("/proc/self/fd", "/dev/fd") && errno != EEXIST)
		complain("/dev/fd");
	(void)!symlink("/proc/self/fd/0", "/dev/stdin");
	(void)!symlink("/proc/self/fd/1", "/dev/stdout");
	(void)!symlink("/proc/self/fd/2", "/dev/stderr");
}

/* --- modules --- */

struct modules {
	char dir[PATH_SIZE];
	char *dep; /* text of modules.dep: "path: needed path needed path ..." */
};

static char *file_read(const char *path, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : malloc(FILES_MAX + 1);
	size_t n = 0;
	for (ssize_t got; text && n < FILES_MAX && (got = read(fd, text + n, FILES_MAX - n)) > 0;)
		n += (size_t)got;
	if (fd >= 0)
		close(fd);
	if (text)
		text[n] = 0;
	if (ret_size)
		*ret_size = n;
	return text;
}

static int module_insert(const struct modules *m, const char *path, size_t len)
{
	char full[PATH_SIZE];
	if (snprintf(full, sizeof full, "%s/%.*s", m->dir, (int)len, path) >= (int)sizeof full)
		return -ENAMETOOLONG;
	int fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST ? -errno : 0;
	close(fd);
	return rc;
}

/* Insert a module after what it needs (modules.dep lists that completely, nearest first). */
static void module_load(const struct modules *m, const char *name)
{
	char end[64];
	const char *needed[DEPENDENCIES_MAX];
	size_t n = 0, len = (size_t)snprintf(end, sizeof end, "/%s.ko:", name);
	char *line = strstr(m->dep, end);
	if (!line)
		return; /* built in, or not there: who needs it will be told by the kernel */
	const char *list = line + len;
	while (line > m->dep && line[-1] != '\n')
		line--;
	size_t self = strcspn(line, ":");
	for (const char *p = list; *p && *p != '\n' && n < DEPENDENCIES_MAX; p += strcspn(p, " \n")) {
		p += strspn(p, " ");
		if (*p && *p != '\n')
			needed[n++] = p;
	}
	while (n--)
		(void)module_insert(m, needed[n], strcspn(needed[n], " \n"));
	int rc = module_insert(m, line, self);
	if (rc) {
		errno = -rc;
		complain("module %s", name);
	}
}

static void modules_load(void)
{
	struct utsname u;
	struct modules m;
	char path[PATH_SIZE + 16];
	uname(&u);
	snprintf(m.dir, sizeof m.dir, LH_UML_MODULES_DIR "/%s", u.release);
	snprintf(path, sizeof path, "%s/modules.dep", m.dir);
	m.dep = file_read(path, NULL);
	if (!m.dep)
		return; /* an own kernel with everything built in has none */
	for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
		module_load(&m, modules[i]);
	free(m.dep);
	/* The rest on demand, where the host has modprobe and a place to see them. */
	(void)!mount(LH_UML_MODULES_DIR, "/lib/modules", NULL, MS_BIND, NULL);
}

/* Of the guest's memory, a kernel gives all sockets together a sixteenth before it drops what they receive. A machine of
 * the real network has that for one peer, this one carries all of them: half may be in buffers. */
static void socket_memory(void)
{
	char text[96];
	long pages = sysconf(_SC_PHYS_PAGES);
	int fd = open("/proc/sys/net/ipv4/tcp_mem", O_WRONLY | O_CLOEXEC);
	int len = snprintf(text, sizeof text, "%ld %ld %ld", pages / 3, pages / 2, pages / 4 * 3);
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		complain("memory for sockets");
	if (fd >= 0)
		close(fd);
}

static void loopback_up(void)
{
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r))
		complain("bring lo up");
	if (fd >= 0)
		close(fd);
}

/* --- the command --- */

struct job {
	char **argv;
	size_t argc;
	const char *cwd, *input;
};

/* One pass over the records; mounts are made as they come, the environment becomes ours and so the command's. */
static bool job_read(struct job *job, char *text, size_t size)
{
	bool ok = true;
	job->argv = calloc(size / 2 + 1, sizeof *job->argv);
	for (char *p = text; job->argv && p < text + size; p += strlen(p) + 1) {
		char *value = p + 1;
		switch (*p) {
		case LH_UML_ARGUMENT:
			job->argv[job->argc++] = value;
			break;
		case LH_UML_ENVIRONMENT:
			putenv(value);
			break;
		case LH_UML_CWD:
			job->cwd = value;
			break;
		case LH_UML_STDIN:
			job->input = value;
			break;
		case LH_UML_WRITABLE:
			ok &= mount_at("hostfs", value, 0, value);
			break;
		case LH_UML_READABLE:
			ok &= mount_at("hostfs", value, MS_RDONLY, value);
			break;
		}
	}
	return ok && job->argc;
}

static void redirect(const char *path, int flags, int to)
{
	int fd = open(path, flags);
	if (fd < 0) {
		complain("%s", path);
		fd = open("/dev/null", O_RDWR);
	}
	if (fd >= 0 && fd != to) {
		dup2(fd, to);
		close(fd);
	}
}

static void command_exec(const struct job *job)
{
	sigset_t none;
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	redirect(job->input ? job->input : "/dev/null", O_RDONLY, 0);
	redirect(LH_UML_JOB_DIR "/out", O_WRONLY | O_APPEND, 1);
	redirect(LH_UML_JOB_DIR "/err", O_WRONLY | O_APPEND, 2);
	if (job->cwd && chdir(job->cwd)) {
		dprintf(2, "longhaul: chdir %s: %s\n", job->cwd, strerror(errno));
		_exit(126);
	}
	execv(job->argv[0], job->argv);
	dprintf(2, "longhaul: exec %s: %s\n", job->argv[0], strerror(errno));
	_exit(127);
}

/* Hand on the signals that the host has written since the last call. */
static void signals_pass(pid_t command, off_t *offset)
{
	unsigned char numbers[64];
	int fd = open(LH_UML_JOB_DIR "/signals", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : pread(fd, numbers, sizeof numbers, *offset);
	for (ssize_t i = 0; i < n; i++)
		if (kill(-command, numbers[i]))
			kill(command, numbers[i]); /* not a group yet: before its setsid() */
	if (n > 0)
		*offset += n;
	if (fd >= 0)
		close(fd);
}

static int command_wait(pid_t command, int fd)
{
	struct signalfd_siginfo si;
	off_t offset = 0;
	/* The host sends Ctrl-Alt-Del only after it has seen `up`; what came before is in the file. */
	close(open(LH_UML_JOB_DIR "/up", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	signals_pass(command, &offset);
	for (;;) {
		int status;
		pid_t got;
		while ((got = waitpid(-1, &status, WNOHANG)) > 0)
			if (got == command)
				return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (read(fd, &si, sizeof si) == sizeof si && si.ssi_signo == SIGINT)
			signals_pass(command, &offset);
	}
}

static void status_write(int status)
{
	char text[16];
	int n = snprintf(text, sizeof text, "%d\n", status);
	int fd = open(LH_UML_JOB_DIR "/rc", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		complain("rc");
	if (fd >= 0)
		close(fd);
}

static void command_run(const struct job *job)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del: a signal for us, not a reboot */
	pid_t command = fork();
	if (command == 0)
		command_exec(job);
	if (command < 0 || fd < 0)
		complain("start the command");
	else
		status_write(command_wait(command, fd));
}

void lh_uml_init_main(void)
{
	struct job job = { NULL, 0, NULL, NULL };
	struct rlimit files = { 1024, 1 << 20 };
	const char *variable = getenv(LH_UML_VARIABLE);
	char dir[PATH_SIZE];
	size_t size = 0;
	snprintf(dir, sizeof dir, "%s", variable ? variable : "");
	clearenv();
	mount_system(dir);
	setrlimit(RLIMIT_NOFILE, &files);
	modules_load();
	loopback_up();
	socket_memory();
	char *text = file_read(LH_UML_JOB_DIR "/job", &size);
	if (text && job_read(&job, text, size)) {
		setenv(LH_UML_VARIABLE, dir, 1);
		for (size_t i = 0; i < sizeof environment / sizeof *environment; i++)
			setenv(environment[i][0], environment[i][1], 1);
		command_run(&job);
	}
	kill(-1, SIGKILL);
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}
