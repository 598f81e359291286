/* run_config.c - what the peers of a run are told. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "run.h"

/* Peers live in network namespaces of their own, where every port is free. */

int lh_run_secret(char secret[65], struct lh_err *err)
{
	unsigned char random[32];

	if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "getrandom");
	for (size_t i = 0; i < sizeof random; i++)
		snprintf(secret + 2 * i, 3, "%02x", random[i]);
	return 0;
}

int lh_run_endpoint(const struct lh_experiment *exp, unsigned peer, struct lh_peer_endpoint *p, struct lh_err *err)
{
	const struct lh_topology *t = &exp->topology;
	snprintf(p->name, sizeof p->name, "%s", t->peers[peer].name);
	p->port = LH_PEER_PORT;
	p->site = t->peers[peer].site;
	p->share = t->peers[peer].share;
	int rc = lh_net_peer_address(t, peer, t->ipv6, p->host, sizeof p->host);
	return rc < 0 ? lh_err_sys(err, LH_EXIT_INPUT, rc, "peer %s: address", p->name) : 0;
}

void lh_run_group(const struct lh_experiment *exp, struct lh_peer_endpoint *ret_peers)
{
	for (unsigned i = 0; i < exp->topology.npeers; i++) {
		ret_peers[i].site = exp->topology.peers[i].site;
		ret_peers[i].share = exp->topology.peers[i].share;
		ret_peers[i].absent = exp->absent && exp->absent[i];
	}
}

static int fill_endpoints(const struct lh_experiment *exp, struct lh_peer_config *c, struct lh_err *err)
{
	const struct lh_topology *t = &exp->topology;

	for (unsigned i = 0; i < t->npeers; i++) {
		struct lh_peer_endpoint *p = &c->peers[i];
		int rc = lh_run_endpoint(exp, i, p, err);
		if (rc < 0)
			return rc;
		p->absent = exp->absent && exp->absent[i];
		p->samples_per_s = lh_peer_pace(exp, i);
		if (!(p->samples_per_s > 0))
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
					  "peer %s: nothing gives the pace of device %s for model "
					  "%s (training.pace, or the peer's pace)",
					  p->name, t->peers[i].device, exp->training.model);
	}
	return 0;
}

/* The gradient's size of a paced model is the same on every device that the catalogue has. */
static uint64_t paced_parameters(const struct lh_experiment *exp)
{
	const struct lh_catalogue_entry *e;

	for (size_t i = 0; exp->training.engine == LH_ENGINE_PACED && (e = lh_catalogue_at(i)); i++)
		if (!strcmp(e->model, exp->training.model))
			return e->parameters;
	return 0;
}

int lh_run_faults_parse(const char *text, struct lh_run_faults *ret, struct lh_err *err)
{
	struct lh_run_faults f = { 0 };
	char part[64];

	for (const char *p = text ? text : ""; *p; p += strcspn(p, ","), p += *p == ',') {
		int rc = -EINVAL, used = 0;
		snprintf(part, sizeof part, "%.*s", (int)strcspn(p, ","), p);
		if (!strncmp(part, "starve=", 7))
			rc = lh_ns_parse(part + 7, &f.starve_ns, NULL);
		else if (sscanf(part, "flip=%u:%u%n", &f.flip_rank, &f.flip_epoch, &used) == 2 && !part[used])
			rc = 0;
		if (rc < 0)
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
					  "LONGHAUL_FAULTS: '%s' is neither flip=RANK:EPOCH nor "
					  "starve=TIME",
					  part);
	}
	*ret = f;
	return 0;
}

/* Where samples come from, where the experiment says so. */
static int fill_store(const struct lh_experiment *exp, struct lh_peer_config *c, struct lh_err *err)
{
	const struct lh_training *tr = &exp->training;
	struct lh_store_config *s = &c->store;

	c->data_samples = tr->data_samples;
	if (!tr->store)
		return 0;
	*s = (struct lh_store_config){ .port = LH_STORE_PORT, .sample_bytes = tr->sample_bytes, .cache_bytes = tr->cache_bytes,
				       .prefetch = tr->prefetch };
	snprintf(s->name, sizeof s->name, "%s", exp->topology.peers[tr->store].name);
	int rc = lh_net_peer_address(&exp->topology, tr->store, exp->topology.ipv6, s->host, sizeof s->host);
	return rc < 0 ? lh_err_sys(err, LH_EXIT_INPUT, rc, "store %s: address", s->name) : 0;
}

static bool takes_turns(const struct lh_experiment *exp)
{
	const struct lh_training *tr = &exp->training;

	return (tr->device_turns_given ? tr->device_turns : tr->engine == LH_ENGINE_CUDA) && exp->topology.npeers > 1;
}

int lh_run_peer_config(const struct lh_run *r, struct lh_peer_config *ret, struct lh_err *err)
{
	const struct lh_experiment *exp = r->exp;
	const struct lh_training *tr = &exp->training;
	struct lh_peer_config c = {
		.protocol = LH_PEER_PROTOCOL, .size = exp->topology.npeers, .engine = tr->engine,
		.precision = tr->precision, .offload = tr->offload, .deterministic = tr->deterministic,
		.parameters = paced_parameters(exp), .wire = tr->wire, .algorithm = tr->algorithm, .codec = tr->codec,
		.sync = tr->sync, .streams = lh_experiment_streams(exp), .sockets = tr->sockets,
		.part_bytes = lh_experiment_part_bytes(exp),
		.window_bytes = lh_experiment_window_bytes(exp), .membership = tr->membership,
		.data = tr->data, .target_batch = tr->target_batch,
		.microbatch = tr->microbatch, .epochs = tr->epochs, .learning_rate = tr->learning_rate, .optim = tr->optim,
		.takes_turns = takes_turns(exp), .seed = tr->seed, .deadline_ns = tr->deadline_ns,
		.flip_rank = r->opt->faults.flip_rank, .flip_epoch = r->opt->faults.flip_epoch,
		.starve_ns = r->opt->faults.starve_ns,
	};
	int rc;

	snprintf(c.model, sizeof c.model, "%s", tr->model);
	c.resume_round = r->resume.round;
	if (strlen(r->session->data_dir) >= sizeof c.data_dir)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENAMETOOLONG,
				  "data directory %s: path longer than %zu characters", r->session->data_dir,
				  sizeof c.data_dir - 1);
	memcpy(c.data_dir, r->session->data_dir, strlen(r->session->data_dir) + 1);
	c.peers = calloc(c.size, sizeof *c.peers);
	if (!c.peers)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "configuration of %u peers", c.size);
	if (r->resume.nfiles) {
		c.resume = calloc(r->resume.nfiles, sizeof *c.resume);
		if (!c.resume) {
			lh_peer_config_done(&c);
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "configuration of %u peers", c.size);
		}
		memcpy(c.resume, r->resume.files, r->resume.nfiles * sizeof *c.resume);
		c.nresume = r->resume.nfiles;
	}
	rc = lh_run_secret(c.secret, err);
	if (rc == 0)
		rc = fill_endpoints(exp, &c, err);
	if (rc == 0)
		rc = fill_store(exp, &c, err);
	if (rc == 0 && r->has_exchange)
		rc = lh_exchange_configure(&r->exchange, &c, err);
	if (rc < 0) {
		lh_peer_config_done(&c);
		return rc;
	}
	*ret = c;
	return 0;
}
