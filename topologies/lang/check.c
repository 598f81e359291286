/* check.c - what only the whole can tell: engine against model, device and pace; the training's own numbers. */
#include "builtin.h"
#include "lang.h"
#include "turn.h"

#include <string.h>
#include <strings.h>

static const struct lang_node *training_key(const struct lang *l, const char *key)
{
	struct lang_entry *training = lang_find(l->root, "training");
	struct lang_entry *e = training ? lang_find(training->value, key) : NULL;
	return e ? e->value : NULL;
}

/* As the catalogue writes it; NULL: it has none such. */
static const char *device_of(const char *device)
{
	for (size_t i = 0; lh_catalogue_at(i); i++)
		if (!strcasecmp(lh_catalogue_at(i)->device, device))
			return lh_catalogue_at(i)->device;
	return NULL;
}

/* Distinct models, or devices (of `model` when given), of the catalogue. */
static size_t catalogue_words(const char *model, bool devices, const char **words, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; lh_catalogue_at(i); i++) {
		const struct lh_catalogue_entry *e = lh_catalogue_at(i);
		const char *word = devices ? e->device : e->model;
		bool known = model && strcmp(model, e->model);
		for (size_t k = 0; k < n; k++)
			known |= !strcmp(words[k], word);
		if (!known && n < max)
			words[n++] = word;
	}
	return n;
}

static const char *join(struct lang *l, const char *const *words, size_t n)
{
	const char *list = "";
	for (size_t i = 0; i < n; i++)
		list = lang_printf(l, "%s%s%s", list, i ? ", " : "", words[i]);
	return list;
}

/* "resnet18:width=1/8": of a model that only the trainer knows; it says what is wrong with it when it opens it. */
static bool is_specification(const char *text)
{
	const size_t name = strcspn(text, ":");
	return name && text[name] && text[name + 1] && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") == name &&
	       text[name + 1 + strspn(text + name + 1, "abcdefghijklmnopqrstuvwxyz0123456789=/,.")] == 0;
}

/* true when the model is one of the engine's. */
static bool check_model(struct lang *l)
{
	const struct lh_training *t = &l->exp.training;
	const struct lang_node *at = training_key(l, "model");
	const char *words[64];
	size_t n = 0;
	if (!at || at->bad)
		return false;
	for (unsigned i = 0; lh_builtin_model(i); i++) /* digits and text have no table that a GPU could run */
		if (t->engine == LH_ENGINE_CPU ? !lh_builtin_model(i)->large : t->engine_auto || i >= LH_BUILTIN_TABLES)
			words[n++] = lh_builtin_model(i)->name;
	if (t->engine == LH_ENGINE_PACED)
		n = catalogue_words(NULL, false, words, 64);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(words[i], t->model))
			return true;
	if (t->engine != LH_ENGINE_PACED && is_specification(t->model))
		return true;
	lang_error(l, &at->at, "model: engine %s has no model \"%s\"; it has %s%s",
		   t->engine_auto ? "auto" : lh_engine_names[t->engine], t->model, join(l, words, n),
		   lang_nearest(l, t->model, words, n));
	return false;
}

/* What the model learns from; AUTO becomes its own. */
static void check_data(struct lang *l)
{
	struct lh_training *t = &l->exp.training;
	const struct lang_node *at = training_key(l, "data");
	const struct lh_builtin_model *m = NULL;
	const char *words[8];
	size_t n = 0;
	if (at && at->bad)
		return;
	if (t->engine == LH_ENGINE_PACED) {
		if (at && t->data != LH_DATA_AUTO)
			lang_error(l, &at->at, "data: engine paced does not calculate and learns from nothing");
		return;
	}
	const size_t name = strcspn(t->model, ":"); /* another size changes the room for symbols: the trainer checks that */
	for (unsigned i = 0; !m && lh_builtin_model(i); i++)
		if (strlen(lh_builtin_model(i)->name) == name && !strncmp(lh_builtin_model(i)->name, t->model, name))
			m = lh_builtin_model(i);
	if (!m)
		return;
	if (t->data == LH_DATA_AUTO)
		t->data = m->own;
	for (unsigned i = 0; lh_data_names[i]; i++)
		if (m->fits >> i & 1)
			words[n++] = lh_data_names[i];
	if (!(m->fits >> t->data & 1))
		lang_error(l, &at->at, "data: model %s cannot learn from %s; it takes %s", t->model, lh_data_names[t->data],
			   join(l, words, n));
}

static void check_peer(struct lang *l, unsigned i, bool model_known)
{
	const struct lh_training *t = &l->exp.training;
	struct lh_peer *p = &l->exp.topology.peers[i];
	const char *words[64], *device = device_of(p->device);
	bool cpu = !strcmp(p->device, "cpu");
	if (device)
		snprintf(p->device, sizeof p->device, "%s", device);
	if (!cpu && !device) {
		size_t n = catalogue_words(NULL, true, words, 64);
		lang_error(l, &l->peer_at[i], "peer %s: no device \"%s\" in the catalogue; it has cpu, %s%s", p->name,
			   p->device, join(l, words, n), lang_nearest(l, p->device, words, n));
	} else if (t->given && t->engine != LH_ENGINE_PACED && !cpu) {
		/* Calculates, and then waits until that device would have. */
		const struct lh_catalogue_entry *e = lh_catalogue_find(t->model, p->device);
		if (p->samples_per_s > 0)
			lang_error(l, &l->peer_at[i], "peer %s: device %s has its pace in the catalogue", p->name, p->device);
		if (model_known && !e)
			lang_error(l, &l->peer_at[i],
				   "peer %s: the catalogue has no rate of %s on %s; longhaul calibrate measures one of your own",
				   p->name, t->model, p->device);
	} else if (t->given && t->engine != LH_ENGINE_PACED) {
		const struct lang_node *pace = training_key(l, "pace");
		if (p->samples_per_s <= 0 && t->samples_per_s <= 0 && !(pace && pace->bad))
			lang_error(l, &l->peer_at[i], "peer %s: engine %s needs a pace: training.pace, or the peer's",
				   p->name, t->engine_auto ? "auto" : lh_engine_names[t->engine]);
	} else if (t->given) {
		size_t n = catalogue_words(t->model, true, words, 64);
		if (p->samples_per_s > 0)
			lang_error(l, &l->peer_at[i], "peer %s: engine paced takes its pace from the catalogue",
				   p->name);
		if (model_known && !lh_catalogue_find(t->model, p->device))
			lang_error(l, &l->peer_at[i], "peer %s: the catalogue has no rate of %s on %s; it has %s",
				   p->name, t->model, p->device, join(l, words, n));
	}
}

static void check_numbers(struct lang *l)
{
	const struct lh_training *t = &l->exp.training;
	const struct lang_node *warmup = training_key(l, "warmup"), *epochs = training_key(l, "epochs");
	const struct lang_node *micro = training_key(l, "microbatch"), *batch = training_key(l, "target-batch");
	const struct lang_node *pace = training_key(l, "pace");
	if (t->warmup >= t->epochs && !(warmup && warmup->bad) && !(epochs && epochs->bad) && (warmup || epochs))
		lang_error(l, warmup ? &warmup->at : &epochs->at, "warmup (%u) leaves nothing of %u epochs", t->warmup,
			   t->epochs);
	if (t->microbatch > t->target_batch && !(micro && micro->bad) && !(batch && batch->bad) && (micro || batch))
		lang_error(l, micro ? &micro->at : &batch->at, "microbatch (%u) is larger than the target batch (%llu)",
			   t->microbatch, (unsigned long long)t->target_batch);
	const struct lang_node *turns = training_key(l, "device-turns");
	if (turns && !turns->bad && t->device_turns && l->exp.topology.npeers > LH_TURN_RANKS_MAX)
		lang_error(l, &turns->at, "device-turns: %u peers; at most %d can share a device", l->exp.topology.npeers,
			   LH_TURN_RANKS_MAX);
	if (t->engine == LH_ENGINE_PACED && pace && !pace->bad)
		lang_error(l, &pace->at, "engine paced takes its pace from the catalogue");
	const struct lang_node *rate = training_key(l, "learning-rate");
	if (rate && !rate->bad && t->learning_rate <= 0)
		lang_error(l, &rate->at, "learning-rate must be above 0");
}

void lang_check(struct lang *l)
{
	const struct lang_node *engine = training_key(l, "engine");
	struct lang_entry *sites = lang_find(l->root, "sites");
	bool model_known = false;
	if (l->exp.training.given) {
		check_numbers(l);
		lang_training_check(l);
		if (engine && engine->bad)
			return;
		model_known = check_model(l);
		if (model_known)
			check_data(l);
		lang_store_check(l);
	}
	for (unsigned i = 0; i < l->exp.topology.npeers && !sites->value->bad; i++)
		check_peer(l, i, model_known);
}
