/* manifest.c - manifest.json: what was run, with what, on what, and what the kernel says of it. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "run.h"

#define MANIFEST_SCHEMA "longhaul-manifest/1"

/* First line of /proc text that starts with `key`, from its value on; "" when there is none. */
static void proc_value(const char *path, const char *key, char *ret, size_t size)
{
	char line[512];
	FILE *in = fopen(path, "re");

	*ret = 0;
	while (in && fgets(line, sizeof line, in)) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		const char *value = line + strlen(key) + strspn(line + strlen(key), " \t:");
		snprintf(ret, size, "%.*s", (int)strcspn(value, "\n"), value);
		break;
	}
	if (in)
		fclose(in);
}

static json_t *host_json(const struct lh_run *r)
{
	char cpu[256], memory[64], below[256];
	struct utsname u;

	if (uname(&u) < 0)
		memset(&u, 0, sizeof u);
	proc_value("/proc/cpuinfo", "model name", cpu, sizeof cpu);
	proc_value("/proc/cpuinfo", "host", below, sizeof below); /* User-Mode Linux names the kernel that it runs on */
	proc_value("/proc/meminfo", "MemTotal", memory, sizeof memory);
	return json_pack("{s:s, s:s?, s:s, s:s, s:s, s:I, s:s, s:s}", "kernel_release", u.release, "host_kernel",
			 *below ? below : NULL, "kernel_version", u.version, "machine", u.machine, "netem",
			 lh_netem_where_name(r->session->where), "cpus", (json_int_t)r->measure.cpus, "cpu", cpu,
			 "memory", memory);
}

/* Those that change how packets travel and that nobody pins: as they are in this network namespace, and so in every new
 * one. null: this kernel does not show it here. What the peers' own have is among the verified fields. */
static json_t *sysctls_json(void)
{
	static const char *const names[] = {
	    "net/core/default_qdisc",
	    "net/core/netdev_max_backlog",
	    "net/core/netdev_budget",
	    "net/core/rmem_max",
	    "net/core/wmem_max",
	    "net/ipv4/tcp_mem",
	    "net/ipv4/tcp_available_congestion_control",
	    "net/ipv4/tcp_sack",
	    "net/ipv4/tcp_timestamps",
	    "net/ipv4/tcp_window_scaling",
	    "net/ipv4/tcp_adv_win_scale",
	    "net/ipv4/tcp_ecn",
	    "net/ipv4/tcp_limit_output_bytes",
	    "net/ipv4/tcp_moderate_rcvbuf",
	    "net/ipv4/tcp_mtu_probing",
	    "net/ipv4/tcp_no_metrics_save",
	    "net/ipv4/tcp_recovery",
	    "net/ipv4/tcp_min_tso_segs",
	};
	json_t *o = json_object();

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char path[128], value[256];
		snprintf(path, sizeof path, "/proc/sys/%s", names[i]);
		proc_value(path, "", value, sizeof value);
		json_object_set_new(o, names[i], *value ? json_string(value) : json_null());
	}
	return o;
}

/* As the user wrote it: what a guest is told besides is left out. */
static json_t *command_json(char *const *argv, int argc)
{
	json_t *a = json_array();

	for (int i = 0; i < argc; i++)
		if (strncmp(argv[i], "--internal-", 11) != 0)
			json_array_append_new(a, json_string(argv[i]));
	return a;
}

/* {object: {field: [asked, got, verdict]}} */
static void add_field(void *ctx, const struct lh_verify_field *f)
{
	static const char *const verdicts[] = { "same", "different", "unverifiable" };
	json_t *objects = ctx, *fields = json_object_get(objects, f->object);

	if (!fields) {
		json_object_set_new(objects, f->object, json_object());
		fields = json_object_get(objects, f->object);
	}
	json_object_set_new(fields, f->field, json_pack("[s, s, s]", f->asked, f->got, verdicts[f->verdict]));
}

static json_t *verified_json(const struct lh_run *r)
{
	json_t *objects = json_object();

	if (!r->net)
		return json_null();
	lh_net_verify(r->net, add_field, objects, NULL);
	return objects;
}

static json_t *planned_json(const struct lh_run *r)
{
	const struct lh_topology *t = &r->exp->topology;
	json_t *o = json_object(), *limits = json_array();
	struct lh_plan *plan;

	if (lh_plan_new(t, NULL, &plan, NULL) < 0)
		return json_null();
	for (unsigned from = 0; from < t->nsites; from++)
		for (unsigned to = 0; to < t->nsites; to++)
			json_array_append_new(limits, json_pack("{s:s, s:s, s:I}", "from", t->sites[from].name, "to",
					t->sites[to].name, "limit_packets",
					(json_int_t)lh_plan_link_limit(plan, from, to)));
	json_object_set_new(o, "operations", json_integer((json_int_t)lh_plan_count(plan)));
	json_object_set_new(o, "memory_bytes", json_integer((json_int_t)lh_plan_memory_bytes(plan)));
	json_object_set_new(o, "queue_limits", limits);
	lh_plan_free(plan);
	return o;
}

struct json_t *lh_manifest_json(const struct lh_run *r)
{
	const struct lh_invocation *inv = r->session->inv;
	const struct lh_memory_plan *m = &r->session->memory;
	time_t now = time(NULL); /* a label for people; no number is made of it */
	char started[32];
	struct tm tm;

	strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:{s:I, s:I}, s:s?, s:s?, s:o, s:o, s:s?, s:s?, s:o, s:I}", "schema",
			 MANIFEST_SCHEMA, "started_utc", started, "longhaul_version", LH_VERSION, "built_with",
			 LH_BUILT_WITH, "command", command_json(inv->argv, inv->argc), "host", host_json(r), "sysctls",
			 sysctls_json(), "peer_program", r->session->peer_path, "seeds", "network",
			 (json_int_t)r->exp->topology.seed, "training", (json_int_t)r->exp->training.seed, "cell",
			 r->opt->cell, "experiment", r->exp->canonical, "plan", planned_json(r), "verified",
			 verified_json(r), "products", *m->products ? m->products : NULL, "products_why",
			 *m->products_why ? m->products_why : NULL, "memory", lh_memory_json(m), "dilation",
			 (json_int_t)lh_experiment_scale(r->exp));
}
