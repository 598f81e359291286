/* build.c - the typed tree into struct lh_experiment: sites, peers, probe. Names become indices.
 *
 * training.c, link.c and schedule.c do the same for the training, for links and for what changes. A bad node leaves
 * its default behind; the experiment is thrown away then, but what else is wrong with the file is found.
 */
#include "lang.h"

#include <stdlib.h>
#include <string.h>

static void *make(struct lang *l, size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);
	if (!p)
		lang_nomem(l);
	return p;
}

void lang_copy_name(char *to, size_t size, const char *from)
{
	size_t len = strlen(from);
	if (len >= size)
		len = size - 1;
	memcpy(to, from, len);
	to[len] = 0;
}

const struct lang_node *lang_good(const struct lang_node *map, const char *key)
{
	struct lang_entry *e = lang_find(map, key);
	return e && !e->value->bad ? e->value : NULL;
}

const char *lang_site_name(const struct lang *l, int site)
{
	return l->exp.topology.sites[site].name;
}

int lang_site_find(struct lang *l, const struct lang_node *name)
{
	const struct lh_topology *t = &l->exp.topology;
	const char *names[LH_SITES_MAX];
	if (name->bad)
		return -1;
	for (unsigned i = 0; i < t->nsites; i++) {
		if (!strcmp(t->sites[i].name, name->text))
			return (int)i;
		names[i] = t->sites[i].name;
	}
	lang_error(l, &name->at, "no site \"%s\"%s", name->text, lang_known(l, name->text, names, t->nsites));
	return -1;
}

int lang_peer_find(struct lang *l, const struct lang_node *name)
{
	const struct lh_topology *t = &l->exp.topology;
	for (unsigned i = 0; i < t->npeers; i++)
		if (!strcmp(t->peers[i].name, name->text))
			return (int)i;
	if (l->errors >= LANG_DIAG_MAX) { /* it would not be shown, and a trace may have many */
		l->errors++;
		return -1;
	}
	const char **names = lang_alloc(l, sizeof *names * (t->npeers + 1));
	for (unsigned i = 0; i < t->npeers; i++)
		names[i] = t->peers[i].name;
	lang_error(l, &name->at, "no peer \"%s\"%s", name->text, lang_known(l, name->text, names, t->npeers));
	return -1;
}

/* --- TCP settings --- */

static void tcp_buffer(struct lang *l, const struct lang_node *list, uint32_t ret[3])
{
	uint32_t value[3];
	unsigned i = 0;
	if (!list)
		return;
	for (struct lang_entry *e = list->first; e && i < 3; e = e->next)
		value[i++] = (uint32_t)e->value->v.count;
	if (value[0] > value[1] || value[1] > value[2])
		lang_error(l, &list->at, "least, initial and largest must not decrease");
	else
		memcpy(ret, value, sizeof value);
}

void lang_tcp_apply(struct lang *l, struct lh_tcp *tcp, const struct lang_node *holder)
{
	const struct lang_node *map = lang_good(holder, "tcp"), *n;
	if (!map)
		return;
	if (map->kind == LANG_SCALAR) {
		*tcp = (struct lh_tcp)LH_TCP_DEFAULT;
		return;
	}
	if ((n = lang_good(map, "congestion")))
		lang_copy_name(tcp->congestion, sizeof tcp->congestion, n->text);
	tcp_buffer(l, lang_good(map, "rmem"), tcp->rmem);
	tcp_buffer(l, lang_good(map, "wmem"), tcp->wmem);
	if ((n = lang_good(map, "slow-start-after-idle")))
		tcp->slow_start_after_idle = n->v.yes;
	if ((n = lang_good(map, "initial-window")))
		tcp->initcwnd = (uint32_t)n->v.count;
}

/* --- peers --- */

static void peer_keys(struct lang *l, struct lh_peer *peer, const struct lang_node *map)
{
	const struct lang_node *n;
	if ((n = lang_good(map, "device")))
		lang_copy_name(peer->device, sizeof peer->device, n->text);
	if ((n = lang_good(map, "pace")))
		peer->samples_per_s = n->v.real;
	if ((n = lang_good(map, "nic")))
		peer->nic_bps = n->v.bps;
	if ((n = lang_good(map, "share")))
		peer->share = (uint32_t)n->v.count;
	lang_tcp_apply(l, &peer->tcp, map);
}

/* `count` peers like *model at the end of the site. Unnamed ones count through the site. */
static void add_peers(struct lang *l, unsigned site, const struct lh_peer *model, const struct lang_node *spot,
		      const char *name, uint64_t count, const struct lang_span *at)
{
	struct lh_topology *t = &l->exp.topology;
	for (uint64_t i = 0; i < count; i++) {
		if (t->npeers == LH_PEERS_MAX) {
			lang_error(l, at, "more than %d peers", LH_PEERS_MAX);
			return;
		}
		struct lh_peer *p = &t->peers[t->npeers];
		*p = *model;
		p->site = site;
		char text[LH_NAME_MAX + 16];
		if (name && count == 1)
			snprintf(text, sizeof text, "%s", name);
		else
			snprintf(text, sizeof text, "%s-%u", name ? name : t->sites[site].name,
				 name ? (unsigned)i : t->sites[site].npeers);
		if (strlen(text) >= LH_NAME_MAX) {
			lang_error(l, at,
				   "peer %s: the name is longer than %d characters; shorten the site's or the group's",
				   text, LH_NAME_MAX - 1);
			return;
		}
		lang_copy_name(p->name, sizeof p->name, text);
		l->peer_spot[t->npeers] = spot;
		l->peer_at[t->npeers++] = *at;
		t->sites[site].npeers++;
	}
}

static void site_peers(struct lang *l, unsigned site, const struct lang_entry *entry)
{
	struct lh_peer model = { .device = "cpu", .share = 1, .tcp = LH_TCP_DEFAULT };
	lang_tcp_apply(l, &model.tcp, l->root);
	peer_keys(l, &model, entry->value);
	const struct lang_node *peers = lang_get(l, entry->value, S_SITE, "peers");
	const struct lang_entry *spot = lang_find(entry->value, "spot");
	if (!spot)
		spot = lang_find(l->root, "spot");
	struct lang_entry *given = lang_find(entry->value, "peers");
	if (!given && lang_has_store(entry->value))
		return;
	if (peers->kind != LANG_LIST) {
		if (given && !peers->bad && !peers->v.count && !lang_has_store(entry->value))
			lang_error(l, &given->value->at, "a site without peers needs a store");
		add_peers(l, site, &model, spot ? spot->value : NULL, NULL, peers->bad ? 1 : peers->v.count,
			  given ? &given->value->at : &entry->key_at);
		return;
	}
	for (struct lang_entry *e = peers->first; e; e = e->next) {
		struct lh_peer one = model;
		const struct lang_node *name = lang_good(e->value, "name");
		const struct lang_node *count = lang_get(l, e->value, S_GROUP, "count");
		peer_keys(l, &one, e->value);
		const struct lang_entry *own = lang_find(e->value, "spot");
		own = own ? own : spot;
		add_peers(l, site, &one, own ? own->value : NULL, name ? name->text : NULL,
			  count->bad || !count->v.count ? 1 : count->v.count, &e->value->at);
	}
}

static int by_name(const void *a, const void *b, void *context)
{
	const struct lh_peer *peers = context;
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
	int order = strcmp(peers[x].name, peers[y].name);
	return order ? order : (x > y) - (x < y);
}

static void unique_peers(struct lang *l)
{
	const struct lh_topology *t = &l->exp.topology;
	const unsigned nodes = lh_topology_nodes(t);
	unsigned *order = lang_alloc(l, sizeof *order * (nodes + 1));
	for (unsigned i = 0; i < nodes; i++)
		order[i] = i;
	qsort_r(order, nodes, sizeof *order, by_name, t->peers);
	for (unsigned i = 1; i < nodes; i++)
		if (!strcmp(t->peers[order[i]].name, t->peers[order[i - 1]].name))
			lang_error(l, &l->peer_at[order[i]], "two %s are named %s", order[i] < t->npeers ? "peers" : "nodes", t->peers[order[i]].name);
}

/* --- sites --- */

static void site_access(struct lang *l, struct lh_access *access, const struct lang_node *map)
{
	const struct lang_node *n;
	if (!map)
		return;
	if ((n = lang_good(map, "up")))
		access->up_bps = n->v.bps;
	if ((n = lang_good(map, "down")))
		access->down_bps = n->v.bps;
	n = lang_get(l, map, S_ACCESS, "queue");
	access->queue_kind = n->v.queue.kind;
	if (access->queue_kind == LH_QUEUE_BDP)
		access->queue_bdp_milli = n->v.queue.amount;
	if (access->queue_kind == LH_QUEUE_PACKETS)
		access->queue_packets = n->v.queue.amount;
	if (access->queue_kind != LH_QUEUE_AUTO && !access->up_bps && !access->down_bps && !map->bad)
		lang_error(l, &n->at, "a queue needs a rate (up, down)");
}

static void site_keys(struct lang *l, struct lh_site *site, const struct lang_entry *entry)
{
	const struct lang_node *n;
	lang_copy_name(site->name, sizeof site->name, entry->key);
	if ((n = lang_good(entry->value, "provider")))
		lang_copy_name(site->provider, sizeof site->provider, n->text);
	if ((n = lang_good(entry->value, "zone")))
		lang_copy_name(site->zone, sizeof site->zone, n->text);
	if ((n = lang_good(entry->value, "at"))) {
		site->has_coordinates = true;
		site->latitude_deg = n->first->value->v.real;
		site->longitude_deg = n->first->next->value->v.real;
		if (site->latitude_deg < -90 || site->latitude_deg > 90)
			lang_error(l, &n->first->value->at,
				   "a latitude is within -90 ... 90; write [latitude, longitude]");
	}
	site_access(l, &site->access, lang_good(entry->value, "access"));
}

/* Has a store, and no peers. */
static bool is_empty(const struct lang_node *site)
{
	const struct lang_entry *peers = lang_find(site, "peers");
	return lang_has_store(site) &&
	       (!peers || (peers->value->kind == LANG_SCALAR && !peers->value->bad && !peers->value->v.count));
}

static bool build_sites(struct lang *l)
{
	struct lh_topology *t = &l->exp.topology;
	struct lang_entry *sites = lang_find(l->root, "sites");
	if (!sites || sites->value->kind != LANG_MAP)
		return false;
	size_t n = sites->value->count;
	if (n == 0 || n > LH_SITES_MAX) {
		lang_error(l, &sites->key_at, n ? "%zu sites; at most %d" : "%zu sites; at least one of %d", n,
			   LH_SITES_MAX);
		return false;
	}
	t->sites = make(l, n, sizeof *t->sites);
	t->peers = make(l, LH_PEERS_MAX + LH_SITES_MAX, sizeof *t->peers);
	t->links = make(l, n * n, sizeof *t->links);
	l->links = lang_alloc(l, n * n * sizeof *l->links);
	l->peer_at = lang_alloc(l, (LH_PEERS_MAX + LH_SITES_MAX) * sizeof *l->peer_at);
	l->peer_spot = lang_alloc(l, LH_PEERS_MAX * sizeof *l->peer_spot);
	const struct lang_entry **order = lang_alloc(l, n * sizeof *order);
	for (int empty = 0; empty < 2; empty++) /* sites without peers stand last */
		for (struct lang_entry *e = sites->value->first; e; e = e->next) {
			if (is_empty(e->value) != empty)
				continue;
			unsigned site = t->nsites++;
			order[site] = e;
			site_keys(l, &t->sites[site], e);
			t->sites[site].first_peer = t->npeers;
			if (strlen(e->key) < LH_NAME_MAX) /* else complained about, and so would be every peer */
				site_peers(l, site, e);
		}
	lang_stores(l, order);
	unique_peers(l);
	const unsigned nodes = lh_topology_nodes(t);
	struct lh_peer *fit = realloc(t->peers, (nodes ? nodes : 1) * sizeof *fit);
	if (fit)
		t->peers = fit;
	return true;
}

/* --- the rest --- */

static void build_head(struct lang *l)
{
	struct lh_topology *t = &l->exp.topology;
	const struct lang_node *n = lang_good(l->root, "name");
	const char *file = l->root->at.source->name, *slash = strrchr(file, '/');
	lang_copy_name(t->name, sizeof t->name, n ? n->text : slash ? slash + 1 : file);
	char *dot = n ? NULL : strrchr(t->name, '.');
	if (dot && dot > t->name)
		*dot = 0;
	n = lang_good(l->root, "description");
	if (n && !(t->description = strdup(n->text)))
		lang_nomem(l);
	t->seed = lang_get(l, l->root, S_FILE, "seed")->v.count;
	l->exp.dilation = (unsigned)lang_get(l, l->root, S_FILE, "dilation")->v.count;
	t->ipv6 = lang_get(l, l->root, S_FILE, "ip")->v.choice == 1;
}

static void build_probe(struct lang *l)
{
	struct lh_probe_spec *p = &l->exp.probe;
	struct lang_entry *e = lang_find(l->root, "probe");
	const struct lang_node *map = e ? e->value : NULL;
	struct lang_entry *tolerance = lang_find(map, "tolerance");
	p->tolerance_abs_ns = lang_get(l, tolerance ? tolerance->value : NULL, S_TOLERANCE, "absolute")->v.ns;
	p->tolerance_rel_ppb = lang_get(l, tolerance ? tolerance->value : NULL, S_TOLERANCE, "relative")->v.ppb;
	p->pings = (uint32_t)lang_get(l, map, S_PROBE, "pings")->v.count;
	p->goodput_ns = lang_get(l, map, S_PROBE, "goodput")->v.ns;
	p->streams = (uint32_t)lang_get(l, map, S_PROBE, "streams")->v.count;
}

void lang_build(struct lang *l)
{
	if (l->root->kind != LANG_MAP)
		return;
	build_head(l);
	lang_training(l);
	build_probe(l);
	if (!build_sites(l))
		return;
	lang_store_training(l);
	l->exp.spot = make(l, l->exp.topology.npeers, sizeof *l->exp.spot);
	l->exp.absent = make(l, l->exp.topology.npeers, sizeof *l->exp.absent);
	lang_links(l);
	lang_schedule(l);
	lh_topology_derive(&l->exp.topology);
	lang_check(l);
}
