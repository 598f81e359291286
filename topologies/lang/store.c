/* store.c - nodes that hold samples, and the keys of the training that need one. docs/decisions/0034 says what they mean. */
#include "lang.h"

#include <inttypes.h>
#include <string.h>

/* --- nodes --- */

bool lang_has_store(const struct lang_node *site)
{
	const struct lang_node *n = lang_good(site, "store");
	return n && (n->kind == LANG_MAP || n->v.yes);
}

static void add_store(struct lang *l, unsigned site, const struct lang_entry *entry)
{
	struct lh_topology *t = &l->exp.topology;
	const struct lang_entry *e = lang_find(entry->value, "store");
	const struct lang_node *map = e->value->kind == LANG_MAP ? e->value : NULL, *n;
	const unsigned node = lh_topology_nodes(t);
	struct lh_peer *p = &t->peers[node];
	char text[LH_NAME_MAX + 16];
	*p = (struct lh_peer){ .site = site, .device = "store", .tcp = LH_TCP_DEFAULT };
	lang_tcp_apply(l, &p->tcp, l->root);
	if (map)
		lang_tcp_apply(l, &p->tcp, map);
	if ((n = lang_good(map, "nic")))
		p->nic_bps = n->v.bps;
	n = lang_good(map, "name");
	snprintf(text, sizeof text, n ? "%s" : "%s-store", n ? n->text : t->sites[site].name);
	if (strlen(text) >= LH_NAME_MAX)
		lang_error(l, &e->value->at, "store %s: the name is longer than %d characters; give it a name of its own", text,
			   LH_NAME_MAX - 1);
	lang_copy_name(p->name, sizeof p->name, text);
	l->peer_at[node] = e->value->at;
	t->sites[site].store = node;
	t->nstores++;
}

void lang_stores(struct lang *l, const struct lang_entry *const *site)
{
	struct lh_topology *t = &l->exp.topology;
	if (!t->npeers) {
		lang_error(l, &lang_find(l->root, "sites")->key_at, "no site has a peer");
		return;
	}
	for (unsigned s = 0; s < t->nsites; s++)
		if (lang_has_store(site[s]->value))
			add_store(l, s, site[s]);
}

/* --- training --- */

static const struct lang_node *training(const struct lang *l)
{
	struct lang_entry *e = lang_find(l->root, "training");
	return e && e->value->kind == LANG_MAP ? e->value : NULL;
}

void lang_store_training(struct lang *l)
{
	struct lh_training *tr = &l->exp.training;
	const struct lh_topology *t = &l->exp.topology;
	const struct lang_node *map = training(l), *n;
	tr->prefetch = (uint32_t)lang_get(l, map, S_TRAINING, "prefetch")->v.count;
	if ((n = lang_good(map, "data-samples")))
		tr->data_samples = n->v.count;
	if ((n = lang_good(map, "sample-bytes")))
		tr->sample_bytes = n->v.bytes;
	if ((n = lang_good(map, "cache")))
		tr->cache_bytes = n->v.or_word.word == 1 ? LH_CACHE_ALL : n->v.or_word.bytes;
	if (!(n = lang_good(map, "store")))
		return;
	int site = lang_site_find(l, n);
	if (site >= 0 && !t->sites[site].store)
		lang_error(l, &n->at, "store: site %s has none; give it one: store: yes", t->sites[site].name);
	else if (site >= 0)
		tr->store = t->sites[site].store;
}

static void check_samples(struct lang *l, const struct lang_node *map)
{
	const struct lh_training *t = &l->exp.training;
	const struct lang_node *n = lang_good(map, "data-samples");
	const struct lang_entry *data = lang_find(map, "data");
	if (!n || (data && data->value->bad))
		return;
	if (t->engine != LH_ENGINE_PACED && (t->data == LH_DATA_DIGITS || t->data == LH_DATA_TEXT))
		lang_error(l, &n->at, "data-samples: data %s has its own number of samples; it is for data that is made up",
			   lh_data_names[t->data]);
}

void lang_store_check(struct lang *l)
{
	static const char *const needs[] = { "sample-bytes", "cache", "prefetch" };
	const struct lh_training *t = &l->exp.training;
	const struct lang_node *map = training(l), *n;
	const struct lang_entry *store = lang_find(map, "store");
	check_samples(l, map);
	if (store && t->store && t->engine == LH_ENGINE_PACED && !lang_find(map, "sample-bytes"))
		lang_error(l, &store->value->at, "store: engine paced has no data of its own; say with sample-bytes how large a "
			   "sample is where it is stored");
	for (size_t i = 0; !store && i < sizeof needs / sizeof *needs; i++)
		if ((n = lang_good(map, needs[i])))
			lang_error(l, &n->at, "%s: belongs to samples that are read from a store; training.store names its site",
				   needs[i]);
	if (!store && t->engine == LH_ENGINE_PACED && (n = lang_good(map, "data-samples")))
		lang_error(l, &n->at, "data-samples: engine paced has no data; with training.store it reads some");
}

/* --- canonical form --- */

void lang_store_put_node(FILE *out, const struct lh_peer *p)
{
	const struct lh_tcp *t = &p->tcp;
	char text[32];
	fprintf(out, "    store: {name: %s, nic: %s,\n         tcp: {congestion: %s, rmem: [%" PRIu32 ", %" PRIu32 ", %" PRIu32
		"], wmem: [%" PRIu32 ", %" PRIu32 ", %" PRIu32 "],\n               slow-start-after-idle: %s, initial-window: %"
		PRIu32 "}}\n", p->name, p->nic_bps ? lh_bps_print(p->nic_bps, text, sizeof text) : "none", t->congestion,
		t->rmem[0], t->rmem[1], t->rmem[2], t->wmem[0], t->wmem[1], t->wmem[2], t->slow_start_after_idle ? "yes" : "no",
		t->initcwnd);
}

void lang_store_put(FILE *out, const struct lh_experiment *exp)
{
	const struct lh_training *t = &exp->training;
	char text[32];
	if (t->data_samples)
		fprintf(out, ", data-samples: %" PRIu64, t->data_samples);
	if (!t->store)
		return;
	fprintf(out, ",\n  store: %s", exp->topology.sites[exp->topology.peers[t->store].site].name);
	if (t->sample_bytes)
		fprintf(out, ", sample-bytes: %s", lh_bytes_print(t->sample_bytes, text, sizeof text));
	fprintf(out, ", cache: %s", !t->cache_bytes ? "none" : t->cache_bytes == LH_CACHE_ALL ? "all" :
		lh_bytes_print(t->cache_bytes, text, sizeof text));
	fprintf(out, ", prefetch: %" PRIu32, t->prefetch);
}
