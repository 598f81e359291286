/* catalogue_own.c - the user's own devices.
 *
 *     {"schema": "longhaul-catalogue/1",
 *      "entries": [{"model": "resnet-lab", "device": "mine", "parameters": 78962, "samples_per_s": 412.5, "engine": "cpu",
 *                   "precision": "fp32", "microbatch": 8, "products": "OpenBLAS ...", "measured": "2026-11-23T15:04:05Z"}]}
 *
 * Written by `longhaul calibrate`, and perhaps by hand: everything in it is checked, and a file with one wrong entry is
 * refused whole, since a run at a rate that nobody meant would look like any other. Writers hold a lock file beside it
 * from reading to renaming, so that two that calibrate at a time both find their entry in it.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalogue.h"

#define SCHEMA "longhaul-catalogue/1"

enum { FILE_BYTES_MAX = 1 << 20, ENTRIES_MAX = 1024, FOLDERS_MODE = 0755 };
#define RATE_MAX 1e9

struct list {
	struct lh_catalogue_entry *entries;
	size_t n;
};

static struct list own;

const struct lh_catalogue_entry *catalogue_own(size_t i) { return i < own.n ? &own.entries[i] : NULL; }

/* ---- what may be in it ---- */

/* As the language of experiments has names of models and devices. */
static bool is_name(const char *text)
{
	size_t len = strlen(text);
	bool letter = false;
	for (const char *p = text; *p; p++) {
		letter |= isalpha((unsigned char)*p) != 0;
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_')
			return false;
	}
	return letter && len < LH_NAME_MAX && isalnum((unsigned char)*text) && isalnum((unsigned char)text[len - 1]);
}

static bool built_in_device(const char *device)
{
	const struct lh_catalogue_entry *e;
	bool found = !strcasecmp(device, "cpu");
	for (size_t i = 0; (e = lh_catalogue_at(i)) && !e->own; i++)
		found |= !strcasecmp(e->device, device);
	return found;
}

int lh_catalogue_name_check(const char *model, const char *device, struct lh_err *err)
{
	if (!is_name(model))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "model %.100s: experiments cannot name it: letters, digits, - and _, %d characters at most", model,
				  LH_NAME_MAX - 1);
	if (!is_name(device))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "device %.100s: not a name: letters, digits, - and _, %d characters at most", device,
				  LH_NAME_MAX - 1);
	if (built_in_device(device))
		return lh_err_set(err, LH_EXIT_INPUT, -EEXIST, "device %s is of the program's own catalogue; take another name",
				  device);
	return 0;
}

static int entry_check(const struct list *l, const struct lh_catalogue_entry *e, struct lh_err *err)
{
	const struct lh_catalogue_entry *other;
	int rc = lh_catalogue_name_check(e->model, e->device, err);
	if (rc)
		return rc;
	if (!(e->samples_per_s > 0 && e->samples_per_s <= RATE_MAX))
		return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "samples_per_s: not a rate above 0");
	if (e->parameters < 1 || e->parameters > LH_PEER_PARAMETERS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "parameters: not within 1 ... %llu",
				  (unsigned long long)LH_PEER_PARAMETERS_MAX);
	if (e->microbatch < 1 || e->microbatch > 65536)
		return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "microbatch: not within 1 ... 65536");
	for (size_t i = 0; (other = lh_catalogue_at(i)) && !other->own; i++)
		if (lh_catalogue_same_model(other->model, e->model) && other->parameters != e->parameters)
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %s has %llu parameters, not %llu", e->model,
					  (unsigned long long)other->parameters, (unsigned long long)e->parameters);
	for (size_t i = 0; i < l->n; i++) {
		other = &l->entries[i];
		if (!lh_catalogue_same_model(other->model, e->model))
			continue;
		if (!strcasecmp(other->device, e->device))
			return lh_err_set(err, LH_EXIT_INPUT, -EEXIST, "%s on %s is there twice", e->model, e->device);
		if (other->parameters != e->parameters)
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %s has %llu parameters and %llu", e->model,
					  (unsigned long long)other->parameters, (unsigned long long)e->parameters);
	}
	return 0;
}

/* ---- JSON ---- */

static int take_text(const json_t *o, const char *key, char *ret, size_t size, struct lh_err *err)
{
	const char *text = json_string_value(json_object_get(o, key));
	if (!text || strlen(text) >= size)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: not a text of up to %zu characters", key, size - 1);
	for (const char *p = text; *p; p++)
		if (!isprint((unsigned char)*p))
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: characters that cannot be printed", key);
	strcpy(ret, text);
	return 0;
}

static int take_entry(const json_t *o, struct list *l, struct lh_err *err)
{
	struct lh_catalogue_entry e = { .own = true };
	const struct { const char *key; char *to; size_t size; } texts[] = {
		{ "model", e.model, sizeof e.model },          { "device", e.device, sizeof e.device },
		{ "engine", e.engine, sizeof e.engine },       { "precision", e.precision, sizeof e.precision },
		{ "products", e.products, sizeof e.products }, { "measured", e.measured, sizeof e.measured },
	};
	enum { NTEXTS = sizeof texts / sizeof *texts, NUMBERS = 3 };
	int rc = 0;
	if (!json_is_object(o) || json_object_size(o) != NTEXTS + NUMBERS)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "needs model, device, parameters, samples_per_s, engine, precision, microbatch, products and "
				  "measured, and no more");
	for (size_t i = 0; !rc && i < NTEXTS; i++)
		rc = take_text(o, texts[i].key, texts[i].to, texts[i].size, err);
	const json_t *parameters = json_object_get(o, "parameters"), *microbatch = json_object_get(o, "microbatch");
	const json_int_t micro = json_integer_value(microbatch);
	e.parameters = json_integer_value(parameters) > 0 ? (uint64_t)json_integer_value(parameters) : 0;
	e.microbatch = micro > 0 && micro <= 65536 ? (uint32_t)micro : 0;
	e.samples_per_s = json_number_value(json_object_get(o, "samples_per_s"));
	if (!rc)
		rc = entry_check(l, &e, err);
	if (!rc)
		l->entries[l->n++] = e;
	return rc;
}

static int parse(const char *name, const char *text, size_t len, struct list *ret, struct lh_err *err)
{
	struct list l = { 0 };
	json_error_t at;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &at);
	const json_t *entries = json_object_get(root, "entries");
	const char *schema = json_string_value(json_object_get(root, "schema"));
	int rc = 0;
	if (!root)
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s:%d:%d: not JSON: %s", name, at.line, at.column, at.text);
	else if (!schema || strcmp(schema, SCHEMA))
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: not a catalogue \"" SCHEMA "\"%s%.60s%s", name,
				schema ? ", but \"" : "", schema ? schema : "", schema ? "\"" : "");
	else if (!json_is_array(entries) || json_object_size(root) != 2 || json_array_size(entries) > ENTRIES_MAX)
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: wants a list \"entries\" of %d entries at most, and no more", name,
				ENTRIES_MAX);
	else if (!(l.entries = calloc(json_array_size(entries) + 1, sizeof *l.entries)))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%s", name);
	for (size_t i = 0; !rc && i < json_array_size(entries); i++) {
		rc = take_entry(json_array_get(entries, i), &l, err);
		if (rc)
			lh_err_wrap(err, "%s: entry %zu", name, i + 1);
	}
	json_decref(root);
	if (rc) {
		free(l.entries);
		return rc;
	}
	*ret = l;
	return 0;
}

static json_t *entry_json(const struct lh_catalogue_entry *e)
{
	return json_pack("{s:s, s:s, s:I, s:f, s:s, s:s, s:I, s:s, s:s}", "model", e->model, "device", e->device,
			 "parameters", (json_int_t)e->parameters, "samples_per_s", e->samples_per_s, "engine", e->engine,
			 "precision", e->precision, "microbatch", (json_int_t)e->microbatch, "products", e->products, "measured",
			 e->measured);
}

/* ---- files ---- */

static int read_file(const char *path, char **ret, size_t *ret_len, struct lh_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat info;
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "%s", path);
	int rc = fstat(fd, &info) ? lh_err_sys(err, LH_EXIT_INPUT, -errno, "%s", path) : 0;
	if (!rc && (!S_ISREG(info.st_mode) || info.st_size > FILE_BYTES_MAX))
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: not a regular file of %d bytes at most", path, FILE_BYTES_MAX);
	char *text = rc ? NULL : malloc((size_t)info.st_size + 1);
	size_t len = 0;
	for (ssize_t n = 1; text && n && len < (size_t)info.st_size; len += n > 0 ? (size_t)n : 0) {
		n = read(fd, text + len, (size_t)info.st_size - len);
		if (n < 0 && errno != EINTR) {
			rc = lh_err_sys(err, LH_EXIT_INPUT, -errno, "%s", path);
			break;
		}
	}
	close(fd);
	if (!rc && !text)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%s", path);
	if (rc) {
		free(text);
		return rc;
	}
	*ret = text;
	*ret_len = len;
	return 0;
}

static int load(const char *path, struct list *ret, struct lh_err *err)
{
	struct lh_err why = LH_ERR_INIT;
	char *text = NULL;
	size_t len = 0;
	int rc = read_file(path, &text, &len, &why);
	if (rc == -ENOENT || rc == -ENOTDIR) {
		*ret = (struct list){ 0 };
		return 0;
	}
	if (!rc)
		rc = parse(path, text, len, ret, &why);
	free(text);
	if (rc && err)
		*err = why;
	return rc;
}

static void take(struct list *l)
{
	free(own.entries);
	own = *l;
}

int lh_catalogue_load_text(const char *name, const char *text, size_t len, struct lh_err *err)
{
	struct list l;
	int rc = parse(name, text, len, &l, err);
	if (!rc)
		take(&l);
	return rc;
}

int lh_catalogue_load(const char *path, struct lh_err *err)
{
	struct list l = { 0 };
	struct lh_err why = LH_ERR_INIT;
	int rc = load(path, &l, &why);
	if (rc == -EACCES) /* su and sudo leave HOME as it was: those devices are not ours */
		rc = 0;
	if (rc && err)
		*err = why;
	if (!rc)
		take(&l);
	return rc;
}

static int make_folders(const char *path, struct lh_err *err)
{
	char folder[4096];
	if (snprintf(folder, sizeof folder, "%s", path) >= (int)sizeof folder)
		return lh_err_sys(err, LH_EXIT_INPUT, -ENAMETOOLONG, "%.200s...", path);
	for (char *p = folder + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		if (mkdir(folder, FOLDERS_MODE) && errno != EEXIST)
			return lh_err_sys(err, LH_EXIT_INPUT, -errno, "folder %s", folder);
		*p = '/';
	}
	return 0;
}

static int write_file(const char *path, const struct list *l, struct lh_err *err)
{
	char temporary[4096 + 8];
	json_t *entries = json_array();
	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(entries, entry_json(&l->entries[i]));
	json_t *root = json_pack("{s:s, s:o}", "schema", SCHEMA, "entries", entries);
	snprintf(temporary, sizeof temporary, "%s.new", path); /* the lock keeps others off it */
	FILE *out = root ? fopen(temporary, "we") : NULL;
	int rc = 0;
	if (!out)
		rc = lh_err_sys(err, LH_EXIT_INPUT, root ? -errno : -ENOMEM, "%s", temporary);
	errno = 0;
	if (out && (json_dumpf(root, out, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) || fputc('\n', out) == EOF || fflush(out) ||
		    fsync(fileno(out))))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, errno ? -errno : -EIO, "%s", temporary);
	if (out && fclose(out) && !rc)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -errno, "%s", temporary);
	if (!rc && rename(temporary, path))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -errno, "%s", path);
	if (rc && out)
		unlink(temporary);
	json_decref(root);
	return rc;
}

/* *l with e in the place of its pair's entry, or behind all. */
static int put(struct list *l, const struct lh_catalogue_entry *e, struct lh_err *err)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcasecmp(l->entries[i].device, e->device) && lh_catalogue_same_model(l->entries[i].model, e->model)) {
			memmove(&l->entries[i], &l->entries[i + 1], (l->n - i - 1) * sizeof *l->entries);
			l->n--;
			break;
		}
	if (l->n >= ENTRIES_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "%d entries are all that it holds", ENTRIES_MAX);
	int rc = entry_check(l, e, err);
	struct lh_catalogue_entry *more = rc ? NULL : realloc(l->entries, (l->n + 1) * sizeof *more);
	if (rc)
		return rc;
	if (!more)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "catalogue");
	l->entries = more;
	l->entries[l->n] = *e;
	l->entries[l->n++].own = true;
	return 0;
}

int lh_catalogue_add(const char *path, const struct lh_catalogue_entry *e, struct lh_err *err)
{
	char lock[4096 + 8];
	struct list l = { 0 };
	int rc = make_folders(path, err);
	if (rc)
		return rc;
	snprintf(lock, sizeof lock, "%s.lock", path);
	int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || flock(fd, LOCK_EX)) {
		rc = lh_err_sys(err, LH_EXIT_INPUT, -errno, "%s", lock);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	rc = load(path, &l, err);
	if (!rc) {
		rc = put(&l, e, err);
		if (rc)
			lh_err_wrap(err, "%s", path);
	}
	if (!rc)
		rc = write_file(path, &l, err);
	close(fd);
	if (rc)
		free(l.entries);
	else
		take(&l);
	return rc;
}
