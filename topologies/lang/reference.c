/* reference.c - the key table for people (Markdown) and for editors (JSON Schema). */
#include "lang.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static const char *scalar_words(const struct lang_value *v)
{
	switch (v->scalar) {
	case T_NONE: return "";
	case T_TIME: return "time";
	case T_RATE: return "rate";
	case T_RATE_OR_NONE: return "rate or `none`";
	case T_SIZE: return "size";
	case T_OCTETS: return "bytes";
	case T_SHARE: return "share";
	case T_PACE: return "pace";
	case T_COUNT: case T_INTEGER: return "whole number";
	case T_REAL: return "number";
	case T_BOOL: return "`yes` or `no`";
	case T_NAME: return "name";
	case T_TEXT: return "text";
	case T_CHOICE: return "";
	case T_QUEUE: return "queue";
	case T_PATH: return "path";
	case T_TIME_OR_PATH: return "time or path";
	case T_TIME_OR_WORD: return "time";
	case T_COUNT_OR_WORD: return "whole number";
	case T_SIZE_OR_WORD: return "size";
	}
	return "";
}

static void print_limits(const struct lang_value *v, FILE *out)
{
	char low[32], high[32];
	bool count = v->scalar == T_COUNT || v->scalar == T_COUNT_OR_WORD;
	if (v->scalar == T_TIME || v->scalar == T_TIME_OR_PATH || v->scalar == T_TIME_OR_WORD) {
		if (v->max)
			fprintf(out, ", %s ... %s", lh_ns_print((lh_ns)v->min, low, sizeof low),
				lh_ns_print((lh_ns)v->max, high, sizeof high));
	} else if (v->scalar == T_RATE || v->scalar == T_RATE_OR_NONE) {
		fprintf(out, ", %s ... %s", lh_bps_print(v->min, low, sizeof low),
			lh_bps_print(v->max, high, sizeof high));
	} else if (v->scalar == T_REAL || v->scalar == T_INTEGER || v->scalar == T_PACE) {
		fprintf(out, ", %.12g ... %.12g", v->real_min, v->real_max);
	} else if (count && v->max && v->min == v->max) {
		fprintf(out, ", %llu", (unsigned long long)v->min);
	} else if (count && v->max) {
		fprintf(out, ", %llu ... %llu", (unsigned long long)v->min, (unsigned long long)v->max);
	} else if ((v->scalar == T_SIZE || v->scalar == T_SIZE_OR_WORD) && v->max) {
		fprintf(out, ", at most %s", lh_bytes_print(v->max, high, sizeof high));
	}
}

/* Markdown: what a value may be. */
static void print_value(const struct lang_value *v, FILE *out)
{
	const char *or = "";
	if (v->scalar && v->scalar != T_CHOICE) {
		fputs(scalar_words(v), out);
		print_limits(v, out);
		or = "; or ";
	}
	for (const char *p = v->choices ? v->choices : ""; *p; p += strcspn(p, " "), p += *p == ' ') {
		fprintf(out, "%s`", or);
		fwrite(p, 1, strcspn(p, " "), out);
		fputc('`', out);
		or = ", ";
	}
	or = v->scalar ? "; or " : "";
	if (v->map)
		fprintf(out, "%smap: %s", or, lang_sections[v->map].title);
	or = v->scalar || v->map ? "; or " : "";
	if (!v->item)
		return;
	if (v->min_items == v->max_items)
		fprintf(out, "%slist of %u: ", or, v->min_items);
	else
		fprintf(out, "%slist: ", or);
	print_value(v->item, out);
}

int lh_schema_print_reference(FILE *out, struct lh_err *err)
{
	for (int s = 1; s < S_COUNT; s++) {
		fprintf(out, "### %s\n\n%s%s| key | value | default | meaning |\n| --- | --- | --- | --- |\n",
			lang_sections[s].title, lang_sections[s].help, *lang_sections[s].help ? "\n\n" : "");
		for (size_t i = 0; i < lang_nkeys; i++) {
			const struct lang_key *k = &lang_keys[i];
			if (!(k->in & UINT32_C(1) << s))
				continue;
			fprintf(out, strcmp(k->key, "*") ? "| `%s` | " : "| *name* | ", k->key);
			print_value(&k->value, out);
			fprintf(out, k->def ? " | `%s` | %s |\n" : " | %s | %s |\n",
				k->def ? k->def : k->required ? "required" : "", k->help);
		}
		fputc('\n', out);
	}
	return ferror(out) ? lh_err_sys(err, LH_EXIT_MACHINE, -EIO, "reference: write") : 0;
}

/* --- JSON Schema --- */

#define NUMBER "[0-9]+(\\.[0-9]+)?"
#define NAME "^(?=.*[A-Za-z])[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$"

static const char *section_id(int section)
{
	static const char *const ids[S_COUNT] = {
		[S_FILE] = "file", [S_SITES] = "sites", [S_SITE] = "site", [S_GROUP] = "group", [S_ACCESS] = "access",
		[S_MATRIX] = "matrix", [S_ROWS] = "rows", [S_ROW] = "row", [S_LAN] = "lan", [S_LINK] = "link",
		[S_SET] = "set", [S_LOSS] = "loss", [S_GE] = "gilbert-elliott", [S_4STATE] = "4-state",
		[S_REORDER] = "reorder", [S_PORTION] = "portion", [S_SLOT] = "slot", [S_TCP] = "tcp",
		[S_TRAINING] = "training", [S_PROBE] = "probe", [S_TOLERANCE] = "tolerance", [S_EVENT] = "event",
		[S_ONEWAY] = "one-way", [S_SPOT] = "spot", [S_STORE] = "store",
	};
	return ids[section];
}

static json_t *pattern(const char *regex)
{
	return json_pack("{s:s, s:s}", "type", "string", "pattern", regex);
}

/* A value that YAML may read as a number or as text with a unit; a bare 0 is a time. */
static json_t *or_zero(const char *regex)
{
	return json_pack("{s:[o, {s:i}]}", "anyOf", pattern(regex), "const", 0);
}

static json_t *choices(const char *words)
{
	json_t *list = json_array();
	for (const char *p = words; *p; p += strcspn(p, " "), p += *p == ' ') {
		size_t len = strcspn(p, " ");
		if (len == 1 && *p >= '0' && *p <= '9')
			json_array_append_new(list, json_integer(*p - '0'));
		json_array_append_new(list, json_stringn(p, len));
	}
	return json_pack("{s:o}", "enum", list);
}

static json_t *scalar_schema(const struct lang_value *v)
{
	json_t *o;
	switch (v->scalar) {
	case T_TIME: return or_zero("^" NUMBER "(ns|us|ms|s|min|h)$");
	case T_RATE: return pattern("^" NUMBER "[kKmMgGtT]?[bB][iI][tT](/s)?$");
	case T_RATE_OR_NONE: return pattern("^(none|" NUMBER "[kKmMgGtT]?[bB][iI][tT](/s)?)$");
	case T_SIZE: return pattern("^" NUMBER "([kMGT]?B|[KMGT]iB)$");
	case T_OCTETS: return json_pack("{s:[o, {s:s, s:i}]}", "anyOf", pattern("^" NUMBER "([kMGT]?B|[KMGT]iB)$"),
					"type", "integer", "minimum", 1);
	case T_SHARE: return json_pack("{s:[o, {s:s, s:i, s:i}]}", "anyOf", pattern("^" NUMBER "%$"), "type", "number",
				       "minimum", 0, "maximum", 1);
	case T_PACE: return pattern("^" NUMBER "([eE][-+]?[0-9]+)?/s$");
	case T_COUNT:
		o = json_pack("{s:s, s:I}", "type", "integer", "minimum", (json_int_t)v->min);
		if (o && v->max)
			json_object_set_new(o, "maximum", json_integer((json_int_t)v->max));
		return o;
	case T_INTEGER:
		return json_pack("{s:s, s:f, s:f}", "type", "integer", "minimum", v->real_min, "maximum", v->real_max);
	case T_REAL:
		return json_pack("{s:s, s:f, s:f}", "type", "number", "minimum", v->real_min, "maximum", v->real_max);
	case T_BOOL:
		return json_pack("{s:[{s:s}, {s:[s,s,s,s]}]}", "anyOf", "type", "boolean", "enum", "yes", "no", "on",
				 "off");
	case T_NAME: return pattern(NAME);
	case T_TEXT: return json_pack("{s:s, s:I}", "type", "string", "maxLength", (json_int_t)v->max);
	case T_CHOICE: return choices(v->choices);
	case T_QUEUE: return pattern("^(auto|" NUMBER "bdp|[0-9]+packets)$");
	case T_PATH: return json_pack("{s:s, s:i}", "type", "string", "minLength", 1);
	case T_TIME_OR_PATH: return json_pack("{s:[s,s]}", "type", "string", "integer");
	case T_TIME_OR_WORD:
		return json_pack("{s:[o, o]}", "anyOf", choices(v->choices), pattern("^" NUMBER "(ns|us|ms|s|min|h)$"));
	case T_COUNT_OR_WORD:
		return json_pack("{s:[o, {s:s, s:I, s:I}]}", "anyOf", choices(v->choices), "type", "integer", "minimum",
				 (json_int_t)v->min, "maximum", (json_int_t)v->max);
	case T_SIZE_OR_WORD:
		return json_pack("{s:[o, o]}", "anyOf", choices(v->choices), pattern("^" NUMBER "([kMGT]?B|[KMGT]iB)$"));
	case T_NONE: break;
	}
	return NULL;
}

static json_t *value_schema(const struct lang_value *v)
{
	json_t *forms = json_array();
	if (v->scalar)
		json_array_append_new(forms, scalar_schema(v));
	if (v->map)
		json_array_append_new(forms,
				      json_pack("{s:o}", "$ref", json_sprintf("#/$defs/%s", section_id(v->map))));
	if (v->item) {
		json_t *list = json_pack("{s:s, s:o, s:I}", "type", "array", "items", value_schema(v->item), "minItems",
					 (json_int_t)v->min_items);
		if (v->max_items)
			json_object_set_new(list, "maxItems", json_integer(v->max_items));
		json_array_append_new(forms, list);
	}
	if (json_array_size(forms) != 1)
		return json_pack("{s:o}", "anyOf", forms);
	json_t *one = json_incref(json_array_get(forms, 0));
	json_decref(forms);
	return one;
}

static json_t *section_schema(int section)
{
	json_t *properties = json_object(), *required = json_array(), *names = json_false();
	for (size_t i = 0; i < lang_nkeys; i++) {
		const struct lang_key *k = &lang_keys[i];
		if (!(k->in & UINT32_C(1) << section))
			continue;
		json_t *value = value_schema(&k->value);
		if (!strcmp(k->key, "*")) {
			names = value;
			continue;
		}
		if (*k->help)
			json_object_set_new(value, "description", json_string(k->help));
		bool number = k->value.scalar == T_COUNT || k->value.scalar == T_REAL;
		if (k->def)
			json_object_set_new(value, "default",
					    number ? json_loads(k->def, JSON_DECODE_ANY, NULL) : json_string(k->def));
		json_object_set_new(properties, k->key, value);
		if (k->required)
			json_array_append_new(required, json_string(k->key));
	}
	json_t *schema = json_pack("{s:s, s:o, s:o, s:o}", "type", "object", "properties", properties, "required",
				   required, "additionalProperties", names);
	if (!json_is_false(names))
		json_object_set_new(schema, "propertyNames", json_pack("{s:s, s:i}", "pattern", NAME, "maxLength",
								       LH_NAME_MAX - 1));
	if (section == S_SITES) {
		json_object_set_new(schema, "minProperties", json_integer(1));
		json_object_set_new(schema, "maxProperties", json_integer(LH_SITES_MAX));
	}
	return schema;
}

int lh_schema_print(FILE *out, struct lh_err *err)
{
	json_t *defs = json_object();
	for (int s = 1; s < S_COUNT; s++)
		json_object_set_new(defs, section_id(s), section_schema(s));
	json_t *schema =
	    json_pack("{s:s, s:s, s:s, s:o}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
		      "longhaul experiment file, version 1", "$ref", "#/$defs/file", "$defs", defs);
	int rc = schema ? json_dumpf(schema, out, JSON_INDENT(2)) : -1;
	json_decref(schema);
	if (rc || fputc('\n', out) == EOF)
		return lh_err_sys(err, LH_EXIT_MACHINE, schema ? -EIO : -ENOMEM, "schema");
	return 0;
}
