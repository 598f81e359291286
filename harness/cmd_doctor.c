/* cmd_doctor.c - `longhaul doctor [FILE]`: what this machine can and cannot do for us, with a remedy for each lack.
 *
 * Everything is tried, not looked up: namespaces are made, queueing disciplines set in a cell, User-Mode Linux
 * booted. The last line is the verdict of `--kernel auto`: for FILE's plan, or for any plan that delays.
 */
#include "cli.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "longhaul/cell.h"
#include "longhaul/network.h"
#include "machine.h"
#include "meminfo.h"

enum { CHECKS_MAX = 24, BOOT_LIMIT_S = 60 };

/* Not every lack matters: tun and CUDA are for uses that most runs have not. */
enum finding { FOUND_OK, FOUND_MISSING, FOUND_OPTIONAL };

struct check {
	const char *name;
	enum finding finding;
	char detail[400], remedy[200];
};

struct doctor {
	struct check checks[CHECKS_MAX];
	size_t nchecks;
	bool host_network, host_netem, uml;
	bool needs_netem;        /* what the verdict is about */
	lh_bytes plan_bytes;     /* 0: no file given */
};

static void add(struct doctor *d, const char *name, enum finding finding, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
static void add(struct doctor *d, const char *name, enum finding finding, const char *remedy, const char *fmt, ...)
{
	if (d->nchecks == CHECKS_MAX)
		return;
	struct check *c = &d->checks[d->nchecks++];
	va_list ap;
	c->name = name;
	c->finding = finding;
	snprintf(c->remedy, sizeof c->remedy, "%s", finding == FOUND_OK ? "" : remedy);
	va_start(ap, fmt);
	vsnprintf(c->detail, sizeof c->detail, fmt, ap);
	va_end(ap);
}

static void check_namespaces(struct doctor *d)
{
	struct lh_cell_caps caps = { 0 };
	struct lh_err err = LH_ERR_INIT;
	if (lh_cell_probe(&caps, &err))
		snprintf(caps.why, sizeof caps.why, "%.150s", err.text);
	const struct {
		const char *name;
		bool have;
	} kinds[] = { { "user namespaces", caps.user_ns }, { "pid namespaces", caps.pid_ns },
		      { "network namespaces", caps.net_ns }, { "mount namespaces", caps.mount_ns } };
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		add(d, kinds[i].name, kinds[i].have ? FOUND_OK : FOUND_MISSING,
		    "User-Mode Linux needs none; or allow them on the host", "%s", kinds[i].have ? "can be made" : caps.why);
}

static void check_apparmor(struct doctor *d)
{
	char text[8] = "";
	int fd = open("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", O_RDONLY | O_CLOEXEC);
	bool limited = fd >= 0 && read(fd, text, sizeof text - 1) > 0 && text[0] == '1';
	add(d, "AppArmor", limited && geteuid() ? FOUND_MISSING : FOUND_OK,
	    "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run as root", "%s",
	    fd < 0 ? "does not know user namespaces here" : limited ? "limits unprivileged user namespaces" : "does not limit user namespaces");
	if (fd >= 0)
		close(fd);
}

static void check_kernel(struct doctor *d)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_caps caps;
	fflush(NULL);
	if (lh_machine_try_kernel(&caps, &err)) {
		add(d, "emulation on this kernel", FOUND_MISSING, "User-Mode Linux takes its place", "%.300s", err.text);
		return;
	}
	d->host_network = caps.veth;
	d->host_netem = caps.veth && caps.netem;
	add(d, "veth, tbf", caps.veth && caps.tbf ? FOUND_OK : FOUND_MISSING, "User-Mode Linux takes its place",
	    "veth %s, tbf %s, IPv6 %s on Linux %s", caps.veth ? "yes" : "no", caps.tbf ? "yes" : "no",
	    caps.ipv6 ? "yes" : "no", caps.kernel_release);
	add(d, "sch_netem", caps.netem ? FOUND_OK : FOUND_MISSING,
	    "sudo modprobe sch_netem (linux-modules-extra on Ubuntu), else User-Mode Linux takes its place", "%s",
	    caps.netem ? "works on this kernel" : caps.netem_why);
}

static void check_uml(struct doctor *d)
{
	static char *const argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"test -d /sys/module/sch_netem", NULL };
	struct lh_uml_options opt = {
		.argv = argv, .cwd = "/", .memory_bytes = 128 << 20, .cpu = -1, .timeout_ns = BOOT_LIMIT_S * LH_NS_PER_S,
	};
	struct lh_uml_caps caps = { 0 };
	struct lh_err err = LH_ERR_INIT;
	int status = 0;
	if (lh_uml_inside()) {
		add(d, "User-Mode Linux", FOUND_OPTIONAL, "none is needed", "this is one");
		return;
	}
	if (lh_uml_probe(&caps, &err) || !caps.usable) {
		add(d, "User-Mode Linux", FOUND_MISSING, "sudo apt-get install user-mode-linux", "%s", caps.why[0] ? caps.why : err.text);
		return;
	}
	lh_ns before = lh_clock_ns();
	if (lh_uml_run(&opt, &status, &err) || status)
		add(d, "User-Mode Linux", FOUND_MISSING, "", "%s %s", caps.kernel_path, status ? "has no sch_netem" : err.text);
	else
		add(d, "User-Mode Linux", FOUND_OK, "", "%s %s boots in %.1f s and has sch_netem", caps.kernel_path, caps.release,
		    (double)(lh_clock_ns() - before) / 1e9);
	d->uml = !err.code && !status;
}

static void check_tun(struct doctor *d)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	add(d, "tun", fd >= 0 ? FOUND_OK : FOUND_OPTIONAL, "sudo modprobe tun; in a container --device /dev/net/tun",
	    "/dev/net/tun%s%s", fd < 0 ? ": " : " opens", fd < 0 ? strerror(errno) : "");
	if (fd >= 0)
		close(fd);
}

static void check_cuda(struct doctor *d)
{
	void *cuda = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
	add(d, "CUDA", cuda ? FOUND_OK : FOUND_OPTIONAL, "install NVIDIA's driver, where there is a GPU",
	    cuda ? "the driver's library is there" : "no driver (libcuda.so.1); the cpu and paced engines need none");
	if (cuda)
		dlclose(cuda);
}

static void check_machine(struct doctor *d)
{
	cpu_set_t set;
	lh_bytes have = lh_memory_available();
	double mib = 1 << 20;
	CPU_ZERO(&set);
	int cpus = sched_getaffinity(0, sizeof set, &set) ? 0 : CPU_COUNT(&set);
	if (d->plan_bytes)
		add(d, "memory", have >= d->plan_bytes ? FOUND_OK : FOUND_MISSING, "lower a rate, an RTT or a queue",
		    "%.0f MiB available; bytes in flight and full queues can take %.0f MiB", (double)have / mib,
		    (double)d->plan_bytes / mib);
	else
		add(d, "memory", have ? FOUND_OK : FOUND_MISSING, "mount /proc",
		    "%.0f MiB available for bytes in flight (give a FILE to compare)", (double)have / mib);
	add(d, "CPUs", cpus ? FOUND_OK : FOUND_MISSING, "", "%d allowed; User-Mode Linux uses one", cpus);
}

static int plan_read(struct doctor *d, const struct lh_invocation *inv, struct lh_err *err)
{
	struct lh_experiment exp = { 0 };
	struct lh_plan *plan = NULL;
	int rc = lh_experiment_load(inv->file, inv->overrides, inv->noverrides, stderr, &exp, err);
	if (rc)
		return rc;
	rc = lh_plan_new(&exp.topology, NULL, &plan, err);
	if (!rc) {
		d->needs_netem = lh_plan_needs_netem(plan);
		d->plan_bytes = lh_plan_memory_bytes(plan);
	}
	lh_plan_free(plan);
	lh_experiment_done(&exp);
	return rc;
}

static const char *verdict(const struct doctor *d)
{
	bool host = d->needs_netem ? d->host_netem : d->host_network;
	return host ? "host" : d->uml ? "uml" : "none";
}

static const char *const words[] = { "ok", "missing", "absent" };

static void print_text(const struct doctor *d, const char *kernel)
{
	for (size_t i = 0; i < d->nchecks; i++) {
		const struct check *c = &d->checks[i];
		printf("%-8s %-26s %s%s%s\n", words[c->finding], c->name, c->detail, c->remedy[0] ? "; " : "", c->remedy);
	}
	const char *what = d->plan_bytes ? "this plan" : "a plan with delays";
	if (!strcmp(kernel, "none"))
		printf("--kernel auto: %s cannot run here\n", what);
	else
		printf("--kernel auto: %s runs on %s\n", what, !strcmp(kernel, "host") ? "this kernel" : "User-Mode Linux");
}

static int print_json(const struct doctor *d, const char *kernel)
{
	json_t *root = json_object(), *list = json_array();
	int rc = json_object_set_new(root, "schema", json_string("longhaul-doctor/1"));
	for (size_t i = 0; i < d->nchecks; i++) {
		const struct check *c = &d->checks[i];
		rc |= json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s*}", "name", c->name, "state", words[c->finding],
							    "detail", c->detail, "remedy", c->remedy[0] ? c->remedy : NULL));
	}
	rc |= json_object_set_new(root, "checks", list);
	rc |= json_object_set_new(root, "kernel", json_string(kernel));
	rc = rc || json_dumpf(root, stdout, JSON_INDENT(2));
	json_decref(root);
	putchar('\n');
	return rc;
}

int cmd_doctor(const struct lh_invocation *inv)
{
	struct doctor *d = calloc(1, sizeof *d);
	struct lh_err err = LH_ERR_INIT;
	if (!d) {
		lh_err_sys(&err, LH_EXIT_MACHINE, -ENOMEM, "doctor");
		return lh_fail(&err);
	}
	d->needs_netem = true;
	if (inv->file && plan_read(d, inv, &err)) {
		free(d);
		return lh_fail(&err);
	}
	check_kernel(d);
	check_namespaces(d);
	check_apparmor(d);
	check_uml(d);
	check_tun(d);
	check_cuda(d);
	check_machine(d);
	const char *kernel = verdict(d);
	bool enough = !d->plan_bytes || lh_memory_available() >= d->plan_bytes;
	if (!inv->json)
		print_text(d, kernel);
	else if (print_json(d, kernel))
		enough = false;
	free(d);
	return strcmp(kernel, "none") && enough ? LH_EXIT_OK : LH_EXIT_MACHINE;
}
