/* How long a network takes to come up (plan, apply, until an echo of the last peer is answered) and to go down, and what
 * kernel memory an idle peer takes, on the running kernel with a token bucket on every link. Prints JSON.
 *
 *     bench_setup 8 64 256 1000
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lhnet.h"
#include "longhaul/cell.h"

enum { RUNS = 5, PEERS_A_SITE = 32, SITES_MAX = 32, ECHO_WAIT_MS = 2000, QUIET_US = 300000 };

struct result {
	unsigned sites, peers;
	size_t operations;
	lh_ns plan_ns, up_ns, down_ns;
	int64_t kernel_bytes; /* more than before */
	char failure[256];
};

/* What the kernel has allocated for itself: slab, per-CPU areas, vmalloc, page tables. Of the whole machine, so others'
 * doings are in it; the median of several runs is reported. */
static int64_t kernel_bytes(void)
{
	static const char *const fields[] = { "Slab", "Percpu", "VmallocUsed", "KernelStack", "PageTables" };
	FILE *f = fopen("/proc/meminfo", "re");
	char line[256], name[64];
	int64_t sum = 0;
	long long kib;
	while (f && fgets(line, sizeof line, f))
		for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
			if (sscanf(line, "%63[^:]: %lld kB", name, &kib) == 2 && !strcmp(name, fields[i]))
				sum += kib * 1024;
	if (f)
		fclose(f);
	return sum;
}

static struct lh_topology *topology(struct result *r)
{
	r->sites = (r->peers + PEERS_A_SITE - 1) / PEERS_A_SITE;
	r->sites = r->sites < 2 ? 2 : r->sites > SITES_MAX ? SITES_MAX : r->sites;
	/* Peers evenly over the sites; the rest goes to the first ones. */
	struct lh_topology *t = lh_test_topology(r->sites, r->peers / r->sites + 1);
	if (!t)
		return NULL;
	t->npeers = 0;
	for (unsigned s = 0; s < r->sites; s++) {
		t->sites[s].first_peer = t->npeers;
		t->sites[s].npeers = r->peers / r->sites + (s < r->peers % r->sites);
		for (unsigned k = 0; k < t->sites[s].npeers; k++, t->npeers++) {
			t->peers[t->npeers] = (struct lh_peer){ .site = s, .tcp = LH_TCP_DEFAULT };
			snprintf(t->peers[t->npeers].name, LH_NAME_MAX, "%.16s-%u", t->sites[s].name, k);
		}
	}
	lh_test_rate_all(t, 100000000);
	return t;
}

static int measure(struct result *r, struct lh_err *err)
{
	struct lh_topology *t = topology(r);
	struct lh_plan *plan;
	struct lh_net *net;
	if (!t)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "topology");
	int64_t memory = kernel_bytes();
	lh_ns start = lh_clock_ns();
	int rc = lh_plan_new(t, NULL, &plan, err);
	if (rc)
		return rc;
	lh_ns planned = lh_clock_ns();
	r->operations = lh_plan_count(plan);
	rc = lh_net_up(t, plan, NULL, NULL, &net, err);
	if (rc)
		return rc;
	unsigned first = 0;
	struct lh_test_echo_job echo = { t, &first, 1, 0, 1, 0, ECHO_WAIT_MS };
	int answers = lh_test_echo_from(net, t->npeers - 1, &echo);
	lh_ns up = lh_clock_ns();
	r->kernel_bytes = kernel_bytes() - memory;
	if (answers != 2)
		rc = lh_err_set(err, LH_EXIT_MACHINE, -ETIMEDOUT, "the last peer's echo: %d of 2 answers", answers);
	lh_ns down = lh_clock_ns();
	if (!rc)
		rc = lh_net_down(net, err);
	r->down_ns = lh_clock_ns() - down;
	r->plan_ns = planned - start;
	r->up_ns = up - start;
	lh_plan_free(plan);
	lh_test_topology_free(t);
	return rc;
}

static int body(void *ctx)
{
	struct result *r = ctx;
	struct lh_err err = LH_ERR_INIT;
	int rc = measure(r, &err);
	snprintf(r->failure, sizeof r->failure, "%s", rc ? err.text : "");
	return rc != 0;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static int64_t median(int64_t v[RUNS])
{
	qsort(v, RUNS, sizeof *v, compare);
	return v[RUNS / 2];
}

/* RUNS runs of one size, each in a cell of its own; r is shared with the cells. */
static json_t *size_row(struct result *r, unsigned peers)
{
	static const struct lh_cell_options opt = { .need_net = true };
	int64_t plan[RUNS], up[RUNS], down[RUNS], memory[RUNS];
	for (int i = 0; i < RUNS; i++) {
		struct lh_err err = LH_ERR_INIT;
		int status = 0;
		*r = (struct result){ .peers = peers };
		usleep(QUIET_US); /* the kernel frees the last run's namespaces in its own time */
		if (lh_cell_run(&opt, body, r, &status, &err) || status) {
			fprintf(stderr, "bench_setup: %u peers: %s\n", peers, err.text[0] ? err.text : r->failure);
			return NULL;
		}
		plan[i] = r->plan_ns;
		up[i] = r->up_ns;
		down[i] = r->down_ns;
		memory[i] = r->kernel_bytes;
	}
	double up_median = (double)median(up) / 1e9, down_median = (double)median(down) / 1e9; /* sorts */
	return json_pack("{s:i, s:i, s:I, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I}",
			 "peers", (int)peers, "sites", (int)r->sites, "operations", (json_int_t)r->operations,
			 "runs", RUNS, "plan_s", (double)median(plan) / 1e9,
			 "up_s", up_median, "up_min_s", (double)up[0] / 1e9, "up_max_s", (double)up[RUNS - 1] / 1e9,
			 "down_s", down_median, "down_min_s", (double)down[0] / 1e9,
			 "down_max_s", (double)down[RUNS - 1] / 1e9,
			 "kernel_bytes_per_peer", (json_int_t)(median(memory) / (int64_t)peers));
}

int main(int argc, char **argv)
{
	struct result *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	json_t *rows = json_array();
	if (r == MAP_FAILED || !rows)
		return 3;
	for (int i = 1; i < argc; i++) {
		char *end;
		unsigned long peers = strtoul(argv[i], &end, 10);
		if (*end || peers < 2 || peers > LH_PEERS_MAX) {
			fprintf(stderr, "usage: bench_setup PEERS...   (2 to %d)\n", LH_PEERS_MAX);
			return 2;
		}
		json_t *row = size_row(r, (unsigned)peers);
		if (!row || json_array_append_new(rows, row))
			return 3;
	}
	json_dumpf(rows, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(4));
	putchar('\n');
	json_decref(rows);
	return 0;
}
