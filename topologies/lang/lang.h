/* lang.h - the experiment language inside: sources, nodes, diagnostics, the key table.
 *
 * Loading goes in passes, each in its own file, and each goes on past errors so that all are reported:
 *
 *   load.c      bytes -> nodes (libyaml's events; every node keeps its place)
 *   resolve.c   include: and --set -> one tree
 *   typing.c    the tree against the key table (keys.c): unknown and missing keys, units, ranges
 *   build.c, training.c, link.c, schedule.c, spot.c   the tree -> struct lh_experiment: names to indices
 *   check.c     meaning: what no single key can tell
 *   canonical.c struct lh_experiment -> YAML that loads to the same
 *
 * Everything but the experiment lives in one arena per load. When memory runs out the arena jumps to
 * lh_experiment_load*(), which frees it and returns -ENOMEM; so no pass has an allocation to check.
 */
#ifndef LONGHAUL_LANG_H
#define LONGHAUL_LANG_H

#include <setjmp.h>
#include <stdbool.h>
#include <yaml.h>

#include "longhaul/experiment.h"

enum {
	LANG_FILE_MAX = 8 << 20,    /* bytes of a file */
	LANG_DEPTH_MAX = 16,        /* of nesting */
	LANG_EVENTS_MAX = 2 * LANG_DEPTH_MAX + 8, /* of libyaml open at a time */
	LANG_MAP_MAX = 256,         /* keys of one map */
	LANG_LIST_MAX = 20000,      /* items of one list */
	LANG_NODES_MAX = 400000,    /* of one load, includes counted */
	LANG_INCLUDE_MAX = 8,       /* depth of includes */
	LANG_SOURCES_MAX = 256,     /* files and --set of one load */
	LANG_DIAG_MAX = 50,         /* diagnostics kept; the rest is counted */
	LANG_CHANGES_MAX = 20000,   /* of one schedule, both directions and rows of traces counted */
};

/* --- sources and places ------------------------------------------------ */

struct lang_source {
	const char *name;         /* as the user wrote it, or "--set" */
	const char *dir;          /* includes are relative to it; "" = current directory */
	const char *text;
	size_t len;
	unsigned order;           /* in which diagnostics are sorted */
};

struct lang_span { /* lines and columns count from 0, columns in characters */
	const struct lang_source *source;
	size_t line, col, end_line, end_col;
};

/* --- nodes --------------------------------------------------------------- */

enum lang_kind { LANG_SCALAR, LANG_MAP, LANG_LIST };

struct lang_node {
	enum lang_kind kind;
	struct lang_span at;
	bool bad;                 /* it, or something below it, was complained about */
	const char *text;         /* scalar, NUL-terminated */
	union {                   /* scalar, after typing; which member: the key's type */
		lh_ns ns;
		lh_bps bps;
		lh_bytes bytes;
		lh_ppb ppb;
		uint64_t count;
		int64_t integer;
		double real;
		bool yes;
		int choice;
		struct { enum lh_queue_kind kind; uint32_t amount; } queue;
		struct { bool is_time; lh_ns ns; } time_or_path;
		struct { int word; lh_ns ns; uint64_t count; lh_bytes bytes; } or_word; /* word: of choices, -1: a number */
	} v;
	struct lang_entry *first, **tail; /* map and list */
	size_t count;
};

struct lang_entry {
	struct lang_entry *next;
	const char *key;          /* NULL in a list */
	struct lang_span key_at;
	struct lang_node *value;
};

/* --- the key table ------------------------------------------------------- */

enum lang_section {
	S_NONE, S_FILE, S_SITES, S_SITE, S_GROUP, S_ACCESS, S_MATRIX, S_ROWS, S_ROW, S_LAN, S_LINK, S_SET,
	S_LOSS, S_GE, S_4STATE, S_REORDER, S_PORTION, S_SLOT, S_TCP, S_TRAINING, S_PROBE, S_TOLERANCE,
	S_EVENT, S_ONEWAY, S_SPOT, S_STORE, S_COUNT
};

enum lang_type { /* of a scalar */
	T_NONE, T_TIME, T_RATE, T_RATE_OR_NONE, T_SIZE, T_OCTETS, T_SHARE, T_PACE, T_COUNT, T_INTEGER, T_REAL,
	T_BOOL, T_NAME, T_TEXT, T_CHOICE, T_QUEUE, T_PATH, T_TIME_OR_PATH,
	T_TIME_OR_WORD, T_COUNT_OR_WORD, T_SIZE_OR_WORD,
};

struct lang_value { /* a value may be a scalar, a map, a list: each that is allowed is said */
	enum lang_type scalar;
	enum lang_section map;
	const struct lang_value *item; /* list */
	unsigned min_items, max_items;
	const char *choices;      /* T_CHOICE, T_..._OR_WORD: words separated by spaces */
	uint64_t min, max;        /* of the internal unit; max 0: no limit beyond the type's */
	double real_min, real_max; /* T_REAL, T_INTEGER */
};

struct lang_key {
	uint32_t in;              /* bit s: allowed in section s */
	const char *key;          /* "*": any name of the user's */
	struct lang_value value;
	bool required;
	const char *def;          /* YAML text of the default; NULL: absent */
	const char *help;
};

struct lang_section_info { const char *title, *help; };

extern const struct lang_key lang_keys[];
extern const size_t lang_nkeys;
extern const struct lang_section_info lang_sections[S_COUNT];
const struct lang_key *lang_key_find(enum lang_section section, const char *key);
/* Known wrong words: what to say about `key` in `section`, NULL when nothing special. */
const char *lang_key_remark(enum lang_section section, const char *key);

/* --- one load ------------------------------------------------------------ */

struct lang_diag {
	struct lang_span at;
	const char *kind;         /* its format string */
	const char *message;
};

struct lang {
	jmp_buf oom;
	struct lang_block *blocks;
	yaml_parser_t parser;
	bool parsing;
	yaml_event_t events[LANG_EVENTS_MAX];
	size_t nevents;
	int fd;
	size_t nodes;
	unsigned nsources;
	const struct lang_source *including[LANG_INCLUDE_MAX + 1];
	unsigned depth;
	struct lang_diag diags[LANG_DIAG_MAX];
	size_t ndiags, errors;
	struct lang_node *root;
	struct lh_experiment exp;
	struct lang_state *links; /* nsites x nsites while building (link.c) */
	struct lang_span *peer_at; /* where each peer was declared */
	const struct lang_node **peer_spot; /* its `spot`, NULL without */
	struct lh_err *err;       /* where a failure that is no diagnostic goes (cannot read a file) */
};

void *lang_alloc(struct lang *l, size_t size);     /* zeroed; never NULL */
char *lang_strndup(struct lang *l, const char *text, size_t len);
char *lang_printf(struct lang *l, const char *fmt, ...) __attribute__((format(printf, 2, 3), nonnull(2)));
void lang_nomem(struct lang *l) __attribute__((noreturn));

/* diag.c */
void lang_error(struct lang *l, const struct lang_span *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void lang_diags_print(struct lang *l, FILE *out);
/* "; did you mean "x"?" for the nearest of the words, "" when none is near. */
const char *lang_nearest(struct lang *l, const char *word, const char *const *words, size_t nwords);
/* The same; where none is near and they are few, all of them. */
const char *lang_known(struct lang *l, const char *word, const char *const *words, size_t nwords);

/* load.c */
struct lang_source *lang_source_text(struct lang *l, const char *name, const char *dir, const char *text, size_t len);
/* Reads a file; complains at `at` (NULL: into l->err) and returns NULL when it cannot. */
struct lang_source *lang_source_file(struct lang *l, const char *path, const struct lang_span *at);
/* A source that the program carries: "preset:lan", "preset:study/c-8" (preset.c). */
bool lang_is_preset(const char *path);
/* "; did you mean preset:NAME?" for the bare name of one, else "". */
const char *lang_preset_hint(struct lang *l, const char *path);
struct lang_source *lang_source_preset(struct lang *l, const char *path, const struct lang_span *at);
/* The tree of a source; NULL after a syntax error (reported). Columns of the first line are moved right by
 * `skip`, the characters of source->text before the YAML begins. */
struct lang_node *lang_parse(struct lang *l, const struct lang_source *source, size_t skip);
struct lang_node *lang_node_new(struct lang *l, enum lang_kind kind, const struct lang_span *at);
struct lang_entry *lang_append(struct lang *l, struct lang_node *parent, const char *key,
			       const struct lang_span *key_at, struct lang_node *value);
const char *lang_path_from(struct lang *l, const char *dir, const char *path);

/* resolve.c */
struct lang_node *lang_resolve(struct lang *l, struct lang_source *source, const struct lh_override *set, size_t nset);

/* typing.c */
void lang_type(struct lang *l, struct lang_node *node, const struct lang_value *value, const char *what,
	       const struct lang_span *where);
void lang_type_file(struct lang *l, struct lang_node *root);
struct lang_entry *lang_find(const struct lang_node *map, const char *key); /* NULL when absent or map NULL */
/* The key's value, or its default out of the table; NULL when it has neither. */
const struct lang_node *lang_get(struct lang *l, const struct lang_node *map, enum lang_section section,
				 const char *key);

/* The value under `key`, when it is there and good. */
const struct lang_node *lang_good(const struct lang_node *map, const char *key);

/* flatten.c: path[LANG_PATH_MAX] holds `len` characters of the way so far. */
enum { LANG_PATH_MAX = 512 };
void lang_flatten(const struct lang_node *node, char *path, size_t len, lh_flat_fn *fn, void *ctx);

/* training.c */
void lang_training(struct lang *l);
void lang_training_check(struct lang *l);
/* false for a key that this strategy does not use. */
bool lang_strategy_uses(enum lh_strategy_kind strategy, const char *key);

/* build.c */
void lang_build(struct lang *l);
void lang_copy_name(char *to, size_t size, const char *from);
void lang_tcp_apply(struct lang *l, struct lh_tcp *tcp, const struct lang_node *holder);

/* store.c: nodes that hold samples, and what the training reads from one */
bool lang_has_store(const struct lang_node *site);
void lang_stores(struct lang *l, const struct lang_entry *const *site); /* after all peers; [nsites] */
void lang_store_training(struct lang *l);
void lang_store_check(struct lang *l);
void lang_store_put_node(FILE *out, const struct lh_peer *store);
void lang_store_put(FILE *out, const struct lh_experiment *exp);

const char *lang_site_name(const struct lang *l, int site);
int lang_peer_find(struct lang *l, const struct lang_node *name); /* -1 after a complaint */
int lang_site_find(struct lang *l, const struct lang_node *name); /* -1 after a complaint, or when bad */

/* link.c: the state of one direction of a link, with the places it came from */
struct lang_state {
	struct lh_impairment imp;
	bool bad;                 /* complained about: combinations are not checked */
	bool packet;              /* mode: packet */
	struct lang_span delay, jitter, distribution, correlation, reorders, loss, ecn, reorder, rate, overhead, queue;
};
/* An rtt is split between the two directions of a pair; one direction alone cannot have one. */
enum lang_way { LANG_ONE_WAY, LANG_FORWARD, LANG_BACKWARD };
void lang_state_apply(struct lang *l, struct lang_state *state, const struct lang_node *map, enum lang_way way);
/* What goes with the jitter, the loss, the rate: without them it has no meaning, and is reset. */
void lang_impairment_drop(struct lh_impairment *imp, bool jitter, bool loss, bool rate);
void lang_state_check(struct lang *l, const struct lang_state *state, const char *what);
void lang_links(struct lang *l);
struct lang_ends {
	int from, to;             /* sites, not the same */
	bool both;                /* `between` */
};
/* Out of between, or from and to. false after a complaint. */
bool lang_ends(struct lang *l, const struct lang_node *map, const struct lang_span *at, struct lang_ends *ret);
bool lang_ends_list(struct lang *l, const struct lang_node *two_names, struct lang_ends *ret);

/* csv.c */
struct lang_csv {
	struct lang_node **cells; /* rows x columns scalars; row 0 is the header */
	size_t rows, columns;
};
/* false after a complaint. Every row has as many cells as the header. */
bool lang_csv_read(struct lang *l, const struct lang_node *path, size_t max_columns, struct lang_csv *ret);

/* schedule.c, spot.c */
struct lang_events;
void lang_schedule(struct lang *l);
struct lh_spot lang_spot_of(struct lang *l, unsigned peer);
void lang_spot(struct lang *l, struct lang_events *list);
/* false when there are too many (complained about). */
bool lang_event_peer(struct lang *l, struct lang_events *list, enum lh_change_kind kind, unsigned peer, lh_ns at_ns,
		     bool drawn, const struct lang_span *at);

/* check.c, canonical.c */
void lang_check(struct lang *l);
int lang_canonical(struct lh_experiment *exp, struct lh_err *err);

#endif
