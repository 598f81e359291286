/* Machines that are taken away: what `spot:` and the schedule's kill, notice, add become. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lhtest.h"
#include "longhaul/experiment.h"

static const char head[] =
	"longhaul: 1\n"
	"matrix: {rtt: 50ms}\n"
	"training: {model: digits, pace: 40/s, epochs: 20, membership: elastic}\n";

static int load(const char *more, const char *set, struct lh_experiment *ret, struct lh_err *err)
{
	char text[4000];
	struct lh_override o = { set };
	snprintf(text, sizeof text, "%s%s", head, more);
	return lh_experiment_load_text("test.yaml", text, strlen(text), &o, set != NULL, NULL, ret, err);
}

/* Loads, and the canonical form gives the same changes and is a fixed point. */
static struct lh_experiment loaded(const char *more, const char *set)
{
	struct lh_experiment e, again;
	struct lh_err err = LH_ERR_INIT;
	int rc = load(more, set, &e, &err);
	if (rc)
		printf("# %s: %s\n", more, err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	rc = lh_experiment_load_text("again", e.canonical, strlen(e.canonical), NULL, 0, stdout, &again, &err);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	CU_ASSERT_STRING_EQUAL(e.canonical, again.canonical);
	CU_ASSERT_EQUAL_FATAL(e.nchanges, again.nchanges);
	for (size_t i = 0; i < e.nchanges; i++)
		CU_ASSERT(e.changes[i].at_ns == again.changes[i].at_ns && e.changes[i].kind == again.changes[i].kind &&
			  e.changes[i].peer == again.changes[i].peer && e.changes[i].drawn == again.changes[i].drawn);
	for (unsigned i = 0; i < e.topology.npeers; i++)
		CU_ASSERT(e.absent[i] == again.absent[i] && e.spot[i].mean_ns == again.spot[i].mean_ns);
	lh_experiment_done(&again);
	return e;
}

/* "kill us-0 1.5s, add us-0 3s" */
static char *changes_text(const struct lh_experiment *e, char *buf, size_t size)
{
	size_t used = 0;
	char at[32];
	*buf = 0;
	for (size_t i = 0; i < e->nchanges && used < size; i++) {
		const struct lh_change *c = &e->changes[i];
		used += (size_t)snprintf(buf + used, size - used, "%s%s %s %s", i ? ", " : "",
					 c->kind == LH_CHANGE_KILL     ? "kill"
					 : c->kind == LH_CHANGE_NOTICE ? "notice"
					 : c->kind == LH_CHANGE_ADD    ? "add"
								       : "?",
					 e->topology.peers[c->peer].name, lh_ns_print(c->at_ns, at, sizeof at));
	}
	return buf;
}

static void check_changes(const char *more, const char *set, const char *expected)
{
	struct lh_experiment e = loaded(more, set);
	char text[4000];
	if (strcmp(changes_text(&e, text, sizeof text), expected))
		printf("# %s\n# got: %s\n", more, text);
	CU_ASSERT_STRING_EQUAL(text, expected);
	lh_experiment_done(&e);
}

static void schedule_adds_and_tells(void)
{
	static const char text[] =
		"sites: {us: {peers: 2}, eu: {peers: 2}}\n"
		"schedule:\n"
		"  - {at: 9s, add: us-1}\n"
		"  - {at: 2s, notice: us-1}\n"
		"  - {at: 5s, kill: us-1}\n"
		"  - {at: 7s, add: eu-1}\n"
		"  - {at: 12s, kill: us-1}\n";
	check_changes(text, NULL, "notice us-1 2s, kill us-1 5s, add eu-1 7s, add us-1 9s, kill us-1 12s");
	struct lh_experiment e = loaded(text, NULL);
	CU_ASSERT(!e.absent[0] && !e.absent[1] && !e.absent[2] && e.absent[3]);
	/* two kills within 12 s */
	CU_ASSERT_DOUBLE_EQUAL(lh_experiment_interruptions_per_s(&e), 2.0 / 12, 1e-12);
	lh_experiment_done(&e);
}

/* The seed decides, and the peer's name; nothing else. */
static void drawn_from_the_seed(void)
{
	static const char one[] =
		"sites: {us: {peers: 2, spot: {mean: 60s, notice: 5s, restart: 20s, until: 2min}}, eu: {}}\n";
	check_changes(one, NULL, "notice us-0 5.866s, kill us-0 10.866s, add us-0 30.866s, notice us-1 97.366s, "
				 "kill us-1 102.366s, add us-1 122.366s");
	check_changes(one, "seed=2", "notice us-1 5.709s, kill us-1 10.709s, add us-1 30.709s, notice us-1 33.631s, "
				     "kill us-1 38.631s, add us-1 58.631s, notice us-0 114.642s, kill us-0 119.642s, "
				     "add us-0 139.642s");
	/* another peer, and another site before it, change nothing for us-0 */
	static const char more[] =
		"sites: {asia: {}, us: {peers: 1, spot: {mean: 60s, notice: 5s, restart: 20s, until: 2min}}}\n";
	check_changes(more, NULL, "notice us-0 5.866s, kill us-0 10.866s, add us-0 30.866s");
}

/* Times between a start and the kill are exponential with the mean asked: mean and deviation agree. */
static void drawn_with_the_mean(void)
{
	struct lh_experiment e = loaded("sites: {us: {peers: 16, spot: {mean: 1000s, restart: 7s, until: 100h}}}\n", NULL);
	lh_ns since[16] = { 0 };
	double sum = 0, squares = 0;
	size_t n = 0;
	for (size_t i = 0; i < e.nchanges; i++) {
		const struct lh_change *c = &e.changes[i];
		CU_ASSERT_TRUE(c->drawn);
		if (c->kind == LH_CHANGE_ADD) {
			since[c->peer] = c->at_ns;
			continue;
		}
		CU_ASSERT_EQUAL(c->kind, LH_CHANGE_KILL);
		CU_ASSERT_TRUE(c->at_ns <= 360000 * LH_NS_PER_S);
		double up = (double)(c->at_ns - since[c->peer]) / 1e9;
		sum += up;
		squares += up * up;
		n++;
	}
	CU_ASSERT_TRUE_FATAL(n > 5000);
	double mean = sum / (double)n, deviation = sqrt(squares / (double)n - mean * mean);
	CU_ASSERT_DOUBLE_EQUAL(mean, 1000, 40); /* 3 standard errors of 5700 draws */
	CU_ASSERT_DOUBLE_EQUAL(deviation, 1000, 60);
	CU_ASSERT_DOUBLE_EQUAL(lh_experiment_interruptions_per_s(&e), 16 / 1000.0, 1e-12);
	lh_experiment_done(&e);
}

static void inheritance_and_presets(void)
{
	struct lh_experiment e = loaded("spot: {mean: 1h, notice: aws}\n"
					"sites: {a: {}, b: {spot: {mean: 2h, notice: gcp, restart: 1min}},\n"
					"        c: {spot: none}, d: {peers: [{count: 1}, {name: x, spot: {mean: 3h, "
					"notice: azure}}]}}\n", NULL);
	static const lh_ns hours[] = { 1, 2, 0, 1, 3 }, notices[] = { 120, 30, 0, 120, 30 };
	for (unsigned i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL(e.spot[i].mean_ns, hours[i] * 3600 * LH_NS_PER_S);
		CU_ASSERT_EQUAL(e.spot[i].notice_ns, notices[i] * LH_NS_PER_S);
		CU_ASSERT_EQUAL(e.spot[i].restart_ns, i == 1 ? 60 * LH_NS_PER_S : -1);
	}
	lh_experiment_done(&e);
}

static const char *write_trace(const char *rows)
{
	static char path[] = "/tmp/lh-spot-XXXXXX";
	strcpy(path + strlen(path) - 6, "XXXXXX");
	int fd = mkstemp(path);
	CU_ASSERT_TRUE_FATAL(fd >= 0 && write(fd, rows, strlen(rows)) == (ssize_t)strlen(rows));
	close(fd);
	return path;
}

static void a_trace(void)
{
	static const struct { const char *rows, *keys, *expected; } cases[] = {
		{ "time,peer,what\n1s,us-0,notice\n3s,us-0,kill\n3s,eu-0,kill\n9s,us-0,add\n", "",
		  "notice us-0 1s, kill us-0 3s, kill eu-0 3s, add us-0 9s" },
		{ "time,peer,what\n10s,us-0,kill\n20s,eu-0,kill\n", ", notice: 2s, restart: 5s",
		  "notice us-0 8s, kill us-0 10s, add us-0 15s, notice eu-0 18s, kill eu-0 20s, add eu-0 25s" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[300];
		const char *path = write_trace(cases[i].rows);
		snprintf(text, sizeof text, "sites: {us: {peers: 2}, eu: {}}\nspot: {trace: %s%s}\n", path, cases[i].keys);
		check_changes(text, NULL, cases[i].expected);
		unlink(path);
	}
}

static void traces_that_are_refused(void)
{
	static const struct { const char *rows, *spot, *says; } cases[] = {
		{ "time,who,what\n1s,us-0,kill\n", "", "the header is time,peer,what" },
		{ "time,peer\n1s,us-0\n", "", "the header is time,peer,what" },
		{ "time,peer,what\n1s,us-9,kill\n", "", "no peer \"us-9\"" },
		{ "time,peer,what\n1s,us-0,kil\n", "", "\"kil\" is none of kill, notice, add; did you mean \"kill\"?" },
		{ "time,peer,what\n2s,us-0,kill\n1s,us-1,kill\n", "", "time goes back" },
		{ "time,peer,what\n2s,us-0,kill\n3s,us-0,kill\n", "", "kill: peer us-0 is not there at 3s" },
		{ "time,peer,what\n1s,us-0,notice\n", ", notice: 3s", "notice: the spot's notice makes these" },
		{ "time,peer,what\n1s,us-0,add\n", ", restart: 3s", "add: the spot's restart makes these" },
		{ "time,peer,what\n1s,us-0,kill\n", ", until: 3s", "until: belongs to mean" },
		{ "time,peer,what\n1s,us-0,kill\n", ", mean: 3s", "mean and trace exclude each other" },
		{ "time,peer,what\n1s,eu-0,kill\n", "", "peer eu-0 has another spot than the one with this trace" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_experiment e;
		struct lh_err err = LH_ERR_INIT;
		char text[300];
		const char *path = write_trace(cases[i].rows);
		snprintf(text, sizeof text, "sites: {us: {peers: 2, spot: {trace: %s%s}}, eu: {}}\n", path, cases[i].spot);
		CU_ASSERT_EQUAL(load(text, NULL, &e, &err), -EINVAL);
		if (!strstr(err.text, cases[i].says) || !strstr(err.text, "(1 error)")) {
			printf("# %zu: %s\n", i, err.text);
			CU_FAIL("message");
		}
		unlink(path);
	}
}

static void what_is_refused(void)
{
	static const struct { const char *more, *set, *says; } cases[] = {
		{ "sites: {us: {peers: 2}}\nschedule: [{at: 1s, add: us-0}]\n", "training.membership=fixed",
		  "add: needs training.membership: elastic" },
		{ "sites: {us: {peers: 2}}\nschedule: [{at: 1s, notice: us-0}]\n", "training.membership=fixed",
		  "notice: needs training.membership: elastic" },
		{ "sites: {us: {peers: 2, spot: {mean: 60s}}}\n", "training.membership=fixed",
		  "spot: needs training.membership: elastic" },
		{ "sites: {us: {peers: 2, spot: {notice: 60s}}}\n", NULL, "spot: when are peers taken away?" },
		{ "sites: {us: {peers: 2, spot: {mean: 60s}}}\nschedule: [{at: 1s, kill: us-0}]\n", NULL,
		  "peer us-0 has spot.mean, which says when it comes and goes" },
		{ "sites: {us: {peers: 2}}\nschedule: [{at: 1s, add: us-0}, {at: 2s, add: us-0}]\n", NULL,
		  "add: peer us-0 is there already at 2s" },
		{ "sites: {us: {peers: 2}}\nschedule: [{at: 1s, kill: us-0}, {at: 2s, notice: us-0}]\n", NULL,
		  "notice: peer us-0 is not there at 2s" },
		{ "sites: {us: {peers: 1}}\nschedule: [{at: 1s, add: us-0}]\n", NULL,
		  "add: no peer is there when the run begins" },
		{ "sites: {us: {peers: 2}}\nschedule: [{at: 1s, add: us-2}]\n", NULL, "no peer \"us-2\"" },
		{ "sites: {us: {peers: 2}}\nschedule: [{at: 1s, join: us-1}]\n", NULL, "did you mean \"add\"?" },
		{ "sites: {us: {peers: 2, spot: {mean: 1s, until: 240h}}}\n", "sites.us.spot.restart=0s",
		  "more than 20000 changes" },
		{ "sites: {us: {peers: 65}}\n", NULL, "membership: elastic is for at most 64 peers; these are 65" },
		{ "sites: {us: {peers: 2, spot: {mean: 60s, notice: ibm}}}\n", NULL,
		  "\"ibm\" is neither a time nor one of aws, gcp, azure" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_experiment e;
		struct lh_err err = LH_ERR_INIT;
		CU_ASSERT_EQUAL(load(cases[i].more, cases[i].set, &e, &err), -EINVAL);
		if (!strstr(err.text, cases[i].says)) {
			printf("# %s: %s\n", cases[i].more, err.text);
			CU_FAIL("message");
		}
	}
}

static void the_example(void)
{
	struct lh_experiment e;
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_experiment_load(lh_test_path("../topologies/examples/spot.yaml"), NULL, 0, stdout, &e, &err);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	unsigned kills = 0, adds = 0;
	for (size_t i = 0; i < e.nchanges; i++) {
		kills += e.changes[i].kind == LH_CHANGE_KILL;
		adds += e.changes[i].kind == LH_CHANGE_ADD;
	}
	CU_ASSERT(e.topology.npeers == 8 && kills == 3 && adds == 2);
	lh_experiment_done(&e);
}

static void young_needs_interruptions(void)
{
	struct lh_experiment e = loaded("sites: {us: {peers: 4, spot: {mean: 1h}}}\n", "training.checkpoint=young");
	CU_ASSERT_TRUE(e.training.young && !e.training.checkpoint_ns);
	CU_ASSERT_DOUBLE_EQUAL(lh_experiment_interruptions_per_s(&e), 4 / 3600.0, 1e-12);
	lh_experiment_done(&e);
	e = loaded("sites: {us: {peers: 4}}\nschedule: [{at: 50s, kill: us-1}]\n", "training.checkpoint=young");
	CU_ASSERT_DOUBLE_EQUAL(lh_experiment_interruptions_per_s(&e), 1 / 50.0, 1e-12);
	lh_experiment_done(&e);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "schedule_adds_and_tells", schedule_adds_and_tells },
		{ "drawn_from_the_seed", drawn_from_the_seed },
		{ "drawn_with_the_mean", drawn_with_the_mean },
		{ "inheritance_and_presets", inheritance_and_presets },
		{ "a_trace", a_trace },
		{ "traces_that_are_refused", traces_that_are_refused },
		{ "what_is_refused", what_is_refused },
		{ "the_example", the_example },
		{ "young_needs_interruptions", young_needs_interruptions },
	};
	return lh_test_main(argc, argv, "experiment_spot", tests, sizeof tests / sizeof *tests);
}
