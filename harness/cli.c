/* cli.c - the command line: parsing, help, and the choice of the command.
 *
 * Two tables say all there is: commands.def and options.def. The parser, the help texts, the manual page and the
 * completions are made from them, so none can promise what another does not know. Written by hand instead of with
 * getopt_long because that accepts abbreviations, which turn every new option into a breaking change.
 */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tables.h"

static const struct lh_option options[] = {
#define LH_OPTION(bit, long_name, short_name, argument, help_text)                                                     \
	{ LH_OPTION_##bit, long_name, short_name, argument, help_text },
#include "options.def"
#undef LH_OPTION
	/* Not shown: what the process outside passes to the one inside User-Mode Linux. */
	{ LH_OPTION_INSIDE_UML, "internal-inside-uml", 0, "DIR", NULL },
	{ LH_OPTION_INTERNAL_PEER, "internal-peer-program", 0, "PATH", NULL },
	{ LH_OPTION_INTERNAL_DATA, "internal-data-dir", 0, "DIR", NULL },
	{ LH_OPTION_INTERNAL_CATALOGUE, "internal-catalogue", 0, "PATH", NULL },
	{ LH_OPTION_INTERNAL_FAULTS, "internal-faults", 0, "TEXT", NULL },
	{ LH_OPTION_INTERNAL_ANIMATE, "internal-animate", 0, NULL, NULL },
	{ LH_OPTION_HELP, "help", 'h', NULL, NULL },
};
enum { NOPTIONS = sizeof options / sizeof options[0] };

static const unsigned long long always_allowed = 1ull << LH_OPTION_HELP | 1ull << LH_OPTION_INSIDE_UML |
				       1ull << LH_OPTION_INTERNAL_PEER | 1ull << LH_OPTION_INTERNAL_DATA |
				       1ull << LH_OPTION_INTERNAL_CATALOGUE | 1ull << LH_OPTION_INTERNAL_FAULTS | 1ull << LH_OPTION_INTERNAL_ANIMATE;

const struct lh_command lh_commands[] = {
#define LH_COMMAND(name, operands, bits, summary, description)                                                         \
	{ #name, operands, summary, description, bits, cmd_##name },
#define LH_SUBCOMMAND(name, word, operands, bits, summary, description)                                                \
	{ #name, operands, summary, description, bits, cmd_##name##_##word },
#define O(bit) (1ull << LH_OPTION_##bit)
#include "commands.def"
#undef LH_COMMAND
#undef LH_SUBCOMMAND
#undef O
	{ 0 },
};

int lh_fail(const struct lh_err *err)
{
	fflush(stdout); /* both may be one file */
	fprintf(stderr, "longhaul: %s\n", err->text);
	return err->exit;
}

/* ---- suggestions ---- */

enum { WORD_MAX = 64 };

/* Edit distance with one row of memory; words are short. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[WORD_MAX + 1];
	size_t nb = strlen(b);
	if (nb > WORD_MAX || strlen(a) > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= nb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; a[i - 1]; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[nb];
}

const char *lh_cli_suggest(const char *word, const char *const *names)
{
	const char *best = NULL;
	unsigned limit = strlen(word) < 4 ? 1 : 2, least = limit + 1;
	for (; *names; names++) {
		unsigned d = distance(word, *names);
		if (d < least) {
			least = d;
			best = *names;
		}
	}
	return best;
}

/* ---- commands ---- */

static const struct lh_command *command_find(const char *name)
{
	for (const struct lh_command *c = lh_commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

static int unknown_command(const char *word, struct lh_err *err)
{
	const char *names[64];
	size_t n = 0;
	for (const struct lh_command *c = lh_commands; c->name && n < 62; c++)
		names[n++] = c->name;
	names[n++] = "help";
	names[n] = NULL;
	const char *near = lh_cli_suggest(word, names);
	if (near)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "unknown command '%s'; did you mean '%s'?", word, near);
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "unknown command '%s'; 'longhaul help' lists the commands",
			  word);
}

/* ---- values ---- */

static int parse_count(const char *option, const char *text, unsigned long long max, unsigned long long *ret,
		       struct lh_err *err)
{
	char *end;
	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno || v > max)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--%s wants a whole number up to %llu, not '%s'", option,
				  max, text);
	*ret = v;
	return 0;
}

static int parse_unsigned(const char *option, const char *text, unsigned *ret, struct lh_err *err)
{
	unsigned long long v;
	int rc = parse_count(option, text, LH_SWEEP_RUNS_MAX, &v, err);
	if (!rc)
		*ret = (unsigned)v;
	return rc;
}

static int parse_kernel(const char *text, enum lh_kernel_choice *ret, struct lh_err *err)
{
	static const char *const names[] = { "auto", "host", "uml", NULL };
	for (unsigned i = 0; names[i]; i++)
		if (!strcmp(text, names[i])) {
			*ret = (enum lh_kernel_choice)i;
			return 0;
		}
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--kernel wants auto, host or uml, not '%s'", text);
}

static int append_override(struct lh_invocation *inv, const char *text, struct lh_err *err)
{
	const char *eq = strchr(text, '=');
	if (!eq || eq == text)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--set wants KEY=VALUE, not '%s'", text);
	if (inv->noverrides == sizeof inv->overrides / sizeof inv->overrides[0])
		return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "--set may be given %zu times at most", inv->noverrides);
	inv->overrides[inv->noverrides++].text = text;
	return 0;
}

static int append_list(struct lh_invocation *inv, const char *text, struct lh_err *err)
{
	const char *eq = strchr(text, '=');
	if (!eq || eq == text || !eq[1])
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--list wants KEY=V1,V2,..., not '%s'", text);
	if (inv->nlists == sizeof inv->lists / sizeof inv->lists[0])
		return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "--list may be given %zu times at most", inv->nlists);
	inv->lists[inv->nlists++] = text;
	return 0;
}

static int option_store(struct lh_invocation *inv, const struct lh_option *o, const char *value, struct lh_err *err)
{
	int rc = 0;
	if (o->argument && !value[0] && o->bit != LH_OPTION_INSIDE_UML)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--%s needs a value that is not empty", o->name);
	switch (o->bit) {
	case LH_OPTION_SET:
		return append_override(inv, value, err);
	case LH_OPTION_OUTPUT:
		inv->out_dir = value;
		break;
	case LH_OPTION_JSON:
		inv->json = true;
		break;
	case LH_OPTION_FORMAT:
		inv->format = value;
		break;
	case LH_OPTION_QUIET:
		inv->quiet = true;
		break;
	case LH_OPTION_KERNEL:
		return parse_kernel(value, &inv->kernel, err);
	case LH_OPTION_BASELINE:
		inv->baseline_dir = value;
		break;
	case LH_OPTION_PROBE:
		inv->probe_dir = value;
		break;
	case LH_OPTION_PEER:
		inv->peer = value;
		break;
	case LH_OPTION_ALL:
		inv->all = true;
		break;
	case LH_OPTION_LIST:
		return append_list(inv, value, err);
	case LH_OPTION_RUNS:
		return parse_unsigned(o->name, value, &inv->runs, err);
	case LH_OPTION_WARMUP:
		return parse_unsigned(o->name, value, &inv->warmup, err);
	case LH_OPTION_SEED:
		rc = parse_count(o->name, value, ~0ull, &inv->seed, err);
		inv->has_seed = !rc;
		break;
	case LH_OPTION_INSIDE_UML:
		inv->inside_uml = value;
		break;
	case LH_OPTION_INTERNAL_PEER:
		inv->peer_program = value;
		break;
	case LH_OPTION_INTERNAL_DATA:
		inv->data_dir = value;
		break;
	case LH_OPTION_INTERNAL_CATALOGUE:
		inv->catalogue = value;
		break;
	case LH_OPTION_INTERNAL_FAULTS:
		inv->faults = value;
		break;
	case LH_OPTION_INTERNAL_ANIMATE:
		inv->animate = true;
		break;
	case LH_OPTION_RESUME:
		inv->resume_dir = value;
		break;
	case LH_OPTION_BEGIN:
		inv->begin = value;
		break;
	case LH_OPTION_END:
		inv->end = value;
		break;
	case LH_OPTION_FACTOR:
		return parse_unsigned(o->name, value, &inv->factor, err);
	case LH_OPTION_ALGORITHM:
		inv->algorithms = value;
		break;
	case LH_OPTION_STREAMS:
		inv->streams = value;
		break;
	case LH_OPTION_CODEC:
		inv->codec = value;
		break;
	case LH_OPTION_PAUSE:
		inv->pause = value;
		break;
	case LH_OPTION_MODEL:
		inv->model = value;
		break;
	case LH_OPTION_ENGINE:
		inv->engine = value;
		break;
	case LH_OPTION_PRECISION:
		inv->precision = value;
		break;
	case LH_OPTION_MICROBATCH:
		inv->microbatch = value;
		break;
	case LH_OPTION_SECONDS:
		inv->seconds = value;
		break;
	case LH_OPTION_DEVICE:
		inv->device = value;
		break;
	case LH_OPTION_HELP:
		inv->help = true;
		break;
	}
	return rc;
}

/* ---- words ---- */

static bool allowed(const struct lh_command *c, const struct lh_option *o)
{
	return (c->options | always_allowed) & 1ull << o->bit;
}

static int unknown_option(const struct lh_command *c, const char *word, const struct lh_option *elsewhere,
			  struct lh_err *err)
{
	const char *names[NOPTIONS + 1];
	size_t n = 0;
	if (elsewhere)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "'longhaul %s' has no option --%s; 'longhaul help %s' "
				  "lists its options",
				  c->name, elsewhere->name, c->name);
	for (size_t i = 0; i < NOPTIONS; i++)
		if (options[i].help && allowed(c, &options[i]))
			names[n++] = options[i].name;
	names[n++] = "help";
	names[n] = NULL;
	const char *near = word[1] == '-' ? lh_cli_suggest(word + 2, names) : NULL;
	/* A beginning of exactly one name is what getopt users type. */
	for (size_t i = 0; !near && word[1] == '-' && word[2] && i < n; i++)
		if (!strncmp(names[i], word + 2, strlen(word + 2)))
			near = names[i];
	if (near)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "unknown option %s; did you mean --%s?", word, near);
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "unknown option %s; 'longhaul help %s' lists the options", word,
			  c->name);
}

/* One option at argv[*at]; advances *at past its value. */
static int parse_option(struct lh_invocation *inv, int *at, struct lh_err *err)
{
	const char *word = inv->argv[*at], *value = NULL;
	const struct lh_option *found = NULL;
	char name[WORD_MAX + 3];
	size_t len = word[1] == '-' ? strcspn(word, "=") : 2;
	if (len >= sizeof name)
		len = sizeof name - 1;
	memcpy(name, word, len);
	name[len] = 0;
	for (size_t i = 0; i < NOPTIONS; i++)
		if (word[1] == '-' ? !strcmp(options[i].name, name + 2) : options[i].letter == word[1])
			found = &options[i];
	if (!found || !allowed(inv->command, found))
		return unknown_option(inv->command, name, found, err);
	if (word[len])
		value = word + len + (word[1] == '-');
	if (!found->argument && value)
		return word[1] == '-' ? lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--%s takes no value", found->name)
				      : lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
						   "write each option by itself: '%s' is more than -%c", word, word[1]);
	if (found->argument && !value) {
		if (*at + 1 >= inv->argc)
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--%s needs a value: %s", found->name,
					  found->argument);
		value = inv->argv[++*at];
	}
	return option_store(inv, found, value, err);
}

/* Length of the word that the command line must say before its operands ("allreduce FILE"); 0: none. */
static size_t leading_word(const struct lh_command *c)
{
	return islower((unsigned char)c->operands[0]) ? strcspn(c->operands, " ") : 0;
}

static const char *operands_of(const struct lh_command *c)
{
	size_t len = leading_word(c);
	return c->operands + len + (len && c->operands[len]);
}

static int wrong_word(const struct lh_command *c, const char *word, struct lh_err *err)
{
	char words[64] = "";
	size_t used = 0;
	for (const struct lh_command *o = c; o->name && !strcmp(o->name, c->name) && used < sizeof words; o++)
		used += (size_t)snprintf(words + used, sizeof words - used, "%s'%.*s'", used ? " or " : "",
					 (int)leading_word(o), o->operands);
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "'longhaul %s' needs the word %s%s%s%s", c->name, words,
			  word ? ", not '" : "", word ? word : "", word ? "'" : "");
}

static bool is_leading_word(const struct lh_command *c, const char *word)
{
	size_t len = leading_word(c);
	return len && !strncmp(word, c->operands, len) && !word[len];
}

/* Of the rows with this name the one whose word is said first; the first row where none is. */
static const struct lh_command *row_of(const struct lh_command *c, int argc, char *const *argv)
{
	for (int i = 2; i < argc; i++)
		for (const struct lh_command *o = c; leading_word(c) && o->name && !strcmp(o->name, c->name); o++)
			if (is_leading_word(o, argv[i]))
				return o;
	return c;
}

static int check_operands(struct lh_invocation *inv, bool had_dashes, struct lh_err *err)
{
	const struct lh_command *c = inv->command;
	bool wants_file = !strncmp(operands_of(c), "FILE", 4), wants_program = strstr(c->operands, "CMD");
	if (inv->help)
		return 0;
	if (wants_file && !inv->file)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "'longhaul %s' needs an experiment file", c->name);
	if (wants_program && !had_dashes && inv->nrest)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "write -- before the program: longhaul %s %s -- %s ...",
				  c->name, inv->file, inv->rest[0]);
	if (wants_program && !inv->nrest)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "'longhaul %s' needs a program after --", c->name);
	if (!strncmp(c->operands, "DIR", 3) && !inv->nrest)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "'longhaul %s' needs %s", c->name,
				  strcmp(c->operands, "DIR...") ? "two run directories or more" : "a run directory");
	if (!wants_program && strncmp(c->operands, "DIR", 3) && strcmp(c->operands, "[MODEL...]") && inv->nrest)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "'longhaul %s' has no use for '%s'", c->name,
				  inv->rest[0]);
	if (inv->all && inv->peer)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--all and --peer %s exclude each other", inv->peer);
	return 0;
}

int lh_cli_parse(int argc, char **argv, struct lh_invocation *ret, struct lh_err *err)
{
	struct lh_invocation inv = *ret;
	bool had_dashes = false;
	inv.argc = argc;
	inv.argv = argv;
	inv.runs = inv.warmup = ~0u;
	if (argc < 2)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "no command given; 'longhaul help' lists the commands");
	inv.command = command_find(argv[1]);
	if (!inv.command)
		return unknown_command(argv[1], err);
	inv.command = row_of(inv.command, argc, argv);
	const char *operands = operands_of(inv.command);
	bool takes_file = !strncmp(operands, "FILE", 4) || !strcmp(operands, "[FILE]");
	bool wants_word = leading_word(inv.command);
	for (int i = 2; i < argc; i++) {
		char *word = argv[i];
		if (!strcmp(word, "--") && !had_dashes) {
			had_dashes = true;
			if (!strstr(inv.command->operands, "CMD"))
				continue; /* only ends the options */
			if (inv.nrest)
				return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
						  "'longhaul %s' has no use for '%s' before --", inv.command->name,
						  inv.rest[0]);
			inv.rest = argv + i + 1;
			inv.nrest = argc - i - 1;
			break;
		}
		if (word[0] == '-' && word[1] && !had_dashes) {
			int rc = parse_option(&inv, &i, err);
			if (rc)
				return rc;
		} else if (wants_word) {
			if (!is_leading_word(inv.command, word))
				return wrong_word(command_find(argv[1]), word, err);
			wants_word = false;
		} else if (takes_file && !inv.file) {
			inv.file = word;
		} else {
			/* Operands move to the front so that rest is one array; options were taken already. */
			if (!inv.rest)
				inv.rest = argv + i;
			for (int k = i; &argv[k] > &inv.rest[inv.nrest]; k--) {
				char *swap = argv[k];
				argv[k] = argv[k - 1];
				argv[k - 1] = swap;
			}
			inv.nrest++;
		}
	}
	if (wants_word && !inv.help)
		return wrong_word(command_find(argv[1]), NULL, err);
	int rc = check_operands(&inv, had_dashes, err);
	if (rc)
		return rc;
	*ret = inv;
	return 0;
}

/* ---- help ---- */

static void print_wrapped(const char *text, unsigned indent, FILE *out)
{
	unsigned column = 0;
	while (*text) {
		size_t len = strcspn(text, " ");
		if (column && column + 1 + len > 96) {
			fputc('\n', out);
			column = 0;
		}
		if (!column)
			column = (unsigned)fprintf(out, "%*s", (int)indent, "");
		else
			column += (unsigned)fprintf(out, " ");
		column += (unsigned)fprintf(out, "%.*s", (int)len, text);
		text += len;
		while (*text == ' ')
			text++;
	}
	fputc('\n', out);
}

static void print_command_help(const struct lh_command *c, FILE *out)
{
	fprintf(out, "usage: longhaul %s%s%s%s\n\n%s.\n\n", c->name, c->options ? " [OPTION...]" : "",
		c->operands[0] ? " " : "", c->operands, c->summary);
	print_wrapped(c->description, 0, out);
	if (c->options)
		fputs("\noptions:\n", out);
	for (size_t i = 0; i < NOPTIONS; i++) {
		const struct lh_option *o = &options[i];
		if (!o->help || !(c->options & 1ull << o->bit))
			continue;
		if (o->letter)
			fprintf(out, "  -%c, ", o->letter);
		else
			fputs("      ", out);
		fprintf(out, "--%s%s%s\n", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
		print_wrapped(o->help, 10, out);
	}
}

static void print_summary_line(const char *name, const char *operands, const char *summary, FILE *out)
{
	enum { SUMMARY_COLUMN = 34 };
	int column = fprintf(out, "  %-9s %s", name, operands);

	if (column >= SUMMARY_COLUMN)
		column = fprintf(out, "\n") - 1;
	fprintf(out, "%*s%s\n", SUMMARY_COLUMN - column, "", summary);
}

void lh_cli_print_help(const struct lh_command *command, FILE *out)
{
	if (command) {
		print_command_help(command, out);
		return;
	}
	fputs("usage: longhaul COMMAND [OPTION...] [OPERAND...]\n\n"
	      "How does the granularity of a training job (calculation time / communication time) meet the delay\n"
	      "between sites? One file describes sites, links and a training; longhaul builds that network on this\n"
	      "host, measures it, and trains across it.\n\ncommands:\n",
	      out);
	for (const struct lh_command *c = lh_commands; c->name; c++)
		print_summary_line(c->name, c->operands, c->summary, out);
	print_summary_line("help", "[COMMAND]", "this, or the options of one command", out);
	fputs("\n"
	      "exit status: 0 ok, 1 gate failed, 2 bad input (nothing touched), 3 this machine cannot,\n"
	      "4 the run broke, 5 inconclusive, 128+n ended by signal n\n",
	      out);
}

static int help_main(int argc, char **argv)
{
	struct lh_err err = LH_ERR_INIT;
	const struct lh_command *c = NULL;
	if (argc > 3) {
		lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "'longhaul help' has no use for '%s'", argv[3]);
		return lh_fail(&err);
	}
	if (argc == 3 && strcmp(argv[2], "help")) {
		c = command_find(argv[2]);
		if (!c) {
			unknown_command(argv[2], &err);
			return lh_fail(&err);
		}
	}
	for (lh_cli_print_help(c, stdout); c && c[1].name && !strcmp(c->name, c[1].name);) {
		putchar('\n');
		lh_cli_print_help(++c, stdout);
	}
	return LH_EXIT_OK;
}

int lh_cli_main(int argc, char **argv, const struct lh_invocation *preset)
{
	struct lh_invocation inv = *preset;
	struct lh_err err = LH_ERR_INIT;
	if (argc >= 2 && !strcmp(argv[1], "--version")) {
		puts("longhaul " LH_VERSION);
		return LH_EXIT_OK;
	}
	if (argc >= 2 && (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
		return help_main(argc, argv);
	if (lh_cli_parse(argc, argv, &inv, &err))
		return lh_fail(&err);
	if (inv.help) {
		lh_cli_print_help(inv.command, stdout);
		return LH_EXIT_OK;
	}
	/* What reads an experiment may find the user's own devices in it. */
	if (strstr(inv.command->operands, "FILE") && inv.catalogue && lh_catalogue_load(inv.catalogue, &err))
		return lh_fail(&err);
	return inv.command->run(&inv);
}
