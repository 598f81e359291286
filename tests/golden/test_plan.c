/* Plans as text, as commands and as JSON, against the files in plan/. To write them anew, and read the difference:
 *
 *     LONGHAUL_UPDATE_GOLDEN=1 build/tests/golden/test_golden_plan && git diff tests/golden
 */
#include <stdlib.h>
#include <string.h>

#include "lhnet.h"
#include "lhtest.h"

static void compare(const struct lh_plan *plan, enum lh_plan_format format, const char *name, const char *suffix)
{
	char relative[128], *text = NULL;
	size_t size = 0;
	struct lh_err err = LH_ERR_INIT;
	snprintf(relative, sizeof relative, "golden/plan/%s.%s", name, suffix);
	FILE *out = open_memstream(&text, &size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	CU_ASSERT_EQUAL(lh_plan_print(plan, format, out, &err), 0);
	fclose(out);
	lh_test_golden(relative, text);
	free(text);
}

static void print_all(struct lh_topology *t, const char *name, bool json)
{
	struct lh_plan *plan;
	struct lh_err err = LH_ERR_INIT;
	snprintf(t->name, sizeof t->name, "%s", name);
	lh_topology_derive(t);
	CU_ASSERT_EQUAL_FATAL(lh_plan_new(t, NULL, &plan, &err), 0);
	compare(plan, LH_PLAN_TEXT, name, "txt");
	compare(plan, LH_PLAN_COMMANDS, name, "sh");
	if (json)
		compare(plan, LH_PLAN_JSON, name, "json");
	lh_plan_free(plan);
	lh_test_topology_free(t);
}

/* One site, nothing shaped: the least there can be. */
static void plain(void)
{
	print_all(lh_test_topology(1, 2), "plain", true);
}

/* Rates only: token buckets, an access box, a NIC box. */
static void rates(void)
{
	struct lh_topology *t = lh_test_topology(2, 2);
	lh_test_rate_all(t, 100000000);
	t->sites[0].access = (struct lh_access){ .up_bps = 50000000, .down_bps = 40000000 };
	t->peers[3].nic_bps = 20000000;
	t->peers[3].tcp = (struct lh_tcp){ "reno", { 4096, 65536, 1048576 }, { 4096, 65536, 1048576 }, false, 4 };
	print_all(t, "rates", false);
}

/* Far links of all sorts: delay with and without rate, jitter, loss (packet mode), three sites. */
static void far(void)
{
	struct lh_topology *t = lh_test_topology(3, 1);
	for (unsigned i = 0; i < 9; i++)
		t->links[i].imp.delay_ns = i % 4 ? 40 * LH_NS_PER_MS + i * LH_NS_PER_MS / 4 : LH_NS_PER_MS / 4;
	t->links[1].imp.rate_bps = 1000000000;
	t->links[2].imp.jitter_ns = 2 * LH_NS_PER_MS;
	t->links[3].imp.loss_model = LH_LOSS_RANDOM;
	t->links[3].imp.loss_ppb = 1000000;
	t->links[3].imp.seed = 7;
	print_all(t, "far", false);
}

static const struct lh_test tests[] = {
	{ "plain", plain, 0 },
	{ "rates, access and NIC", rates, 0 },
	{ "far links", far, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "golden plan", tests, sizeof tests / sizeof *tests);
}
