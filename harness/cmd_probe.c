/* cmd_probe.c - `longhaul probe FILE`: build the network, measure every link, print the tables, take it down.
 *
 * The run directory gets links.csv, result.json and manifest-like facts inside result.json (kernel, plan hash), which
 * is what `run --probe DIR` needs to take the goodput over.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe/probe.h"
#include "result.h"
#include "session.h"

struct meter {
	bool quiet, animate;
};

static void show_progress(void *ctx, const char *what, size_t done, size_t total)
{
	const struct meter *m = ctx;
	if (m->quiet)
		return;
	if (m->animate)
		fprintf(stderr, "\r\033[K%s (%zu of %zu)%s", what, done, total, done >= total ? "\r\033[K" : "");
	else if (strncmp(what, "building", 8))
		fprintf(stderr, "longhaul: %s (%zu of %zu)\n", what, done, total);
}

static json_t *peers_json(const struct lh_topology *t, const struct lh_probe_report *rep)
{
	json_t *peers = json_array();
	for (unsigned i = 0; i < rep->npeers; i++)
		json_array_append_new(peers, json_pack("{s:s, s:s, s:s, s:o}", "name", t->peers[i].name, "site",
						       t->sites[t->peers[i].site].name, "next",
						       t->peers[(i + 1) % t->npeers].name, "rtt_to_next_s",
						       rep->peer_rtt_ns[i] < 0
							       ? json_null()
							       : json_real((double)rep->peer_rtt_ns[i] / 1e9)));
	return peers;
}

static json_t *document(const struct lh_session *s, const struct lh_probe_report *rep, const char *hash,
			const struct lh_err *why)
{
	const struct lh_topology *t = &s->exp.topology;
	return json_pack("{s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:o, s:o, s:b, s:o}", "schema", "longhaul-probe/1",
			 "version", LH_VERSION, "name", t->name, "environment", "kernel_release",
			 s->caps.kernel_release, "netem", lh_netem_where_name(s->where), "plan_hash", hash, "links",
			 lh_probe_links_json(t, rep), "peers", peers_json(t, rep), "valid", why->code == 0, "error",
			 why->code ? json_string(why->text) : json_null());
}

/* Complete or not at all: written beside, then renamed. */
static int write_file(const struct lh_session *s, const char *name, const struct lh_probe_report *rep,
		      const json_t *doc, struct lh_err *err)
{
	char temporary[4200], final[4200];
	snprintf(final, sizeof final, "%s/%s", s->out_dir, name);
	snprintf(temporary, sizeof temporary, "%s/.%s", s->out_dir, name);
	FILE *f = fopen(temporary, "we");
	int rc = f ? 0 : -errno;
	if (!rc && doc)
		rc = json_dumpf(doc, f, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) || fputc('\n', f) < 0 ? -EIO : 0;
	else if (!rc)
		rc = lh_probe_write_csv(&s->exp.topology, rep, f);
	if (f && fclose(f) && !rc)
		rc = errno ? -errno : -EIO;
	if (!rc && rename(temporary, final))
		rc = -errno;
	if (rc) {
		unlink(temporary);
		return lh_err_sys(err, LH_EXIT_BROKE, rc, "%s", final);
	}
	return 0;
}

static int probe_body(struct lh_session *s)
{
	const struct lh_topology *t = &s->exp.topology;
	struct meter meter = { s->inv->quiet, s->inv->animate };
	struct lh_probe_report rep = { 0 };
	struct lh_err err = LH_ERR_INIT, later = LH_ERR_INIT;
	struct lh_net *net = NULL;
	char hash[17] = "";
	int rc = lh_probe_plan_hash(&s->exp, hash, &err);
	if (!rc)
		rc = lh_probe_network_up(&s->exp, show_progress, &meter, &net, &rep, &err);
	if (!rc)
		rc = lh_probe_goodput(net, &s->exp, show_progress, &meter, &rep, &err);
	if (net && lh_net_down(net, &later) && !rc) {
		err = later;
		rc = err.code;
	}
	if (meter.animate && !meter.quiet)
		fputs("\r\033[K", stderr);
	lh_probe_undilate(&rep, lh_experiment_scale(&s->exp));
	json_t *doc = document(s, &rep, hash, &err);
	later = (struct lh_err)LH_ERR_INIT;
	if (s->out_dir && !write_file(s, "result.json", &rep, doc, &later))
		write_file(s, "links.csv", &rep, NULL, &later);
	if (s->inv->json) {
		json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
		putchar('\n');
	} else if (rep.nlinks) {
		lh_probe_print_tables(t, &rep, stdout);
		if (s->out_dir)
			printf("written to %s\n", s->out_dir);
	}
	json_decref(doc);
	lh_probe_report_done(&rep);
	int status = rc ? lh_fail(&err) : LH_EXIT_OK;
	if (later.code) {
		lh_fail(&later);
		status = status ? status : (int)later.exit;
	}
	int signalled = lh_session_interrupted(s);
	return signalled ? signalled : status;
}

int cmd_probe(const struct lh_invocation *inv)
{
	const struct lh_session_options opt = { .makes_out_dir = true, .uses_out_dir = true };
	return lh_session_main(inv, &opt, probe_body);
}
