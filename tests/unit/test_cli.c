/* The command line: the tables agree with the parser, and each wrong word gets one sentence and a suggestion.
 * cli.c is compiled into this program with commands that only remember how they were called. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "lhtest.h"
#include "tables.h"

static struct lh_invocation seen;
static const char *called;

#define LH_COMMAND(name, operands, bits, summary, description) \
	int cmd_##name(const struct lh_invocation *inv) \
	{ \
		seen = *inv; \
		called = #name; \
		return 42; \
	}
#define LH_SUBCOMMAND(name, word, operands, bits, summary, description) \
	LH_COMMAND(name##_##word, operands, bits, summary, description)
#include "commands.def"
#undef LH_COMMAND
#undef LH_SUBCOMMAND

static const char *catalogue; /* the last that was loaded */
int lh_catalogue_load(const char *path, struct lh_err *err)
{
	catalogue = path;
	return strstr(path, "bad") ? lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: bad", path) : 0;
}

enum { ARGS_MAX = 16 };

/* Split at spaces; the words live until the next call. */
static int parse(const char *line, struct lh_invocation *inv, struct lh_err *err)
{
	static char text[512];
	static char *argv[ARGS_MAX + 1];
	int argc = 0;
	snprintf(text, sizeof text, "%s", line);
	for (char *w = strtok(text, " "); w && argc < ARGS_MAX; w = strtok(NULL, " "))
		argv[argc++] = w;
	argv[argc] = NULL;
	memset(inv, 0, sizeof *inv);
	*err = (struct lh_err)LH_ERR_INIT;
	return lh_cli_parse(argc, argv, inv, err);
}

static void refused(const char *line, const char *text)
{
	struct lh_invocation inv;
	struct lh_err err;
	CU_ASSERT_EQUAL(parse(line, &inv, &err), err.code);
	CU_ASSERT(err.code < 0);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
	if (strcmp(err.text, text))
		printf("# %s\n#   wanted: %s\n#   got:    %s\n", line, text, err.text);
	CU_ASSERT_STRING_EQUAL(err.text, text);
	CU_ASSERT_PTR_NULL(inv.command); /* written only on success */
}

static void test_words(void)
{
	struct lh_invocation inv;
	struct lh_err err;
	CU_ASSERT_EQUAL_FATAL(parse("longhaul probe --set a.b=1 x.yaml -o out --set=c=d=e --json -q --kernel uml", &inv, &err), 0);
	CU_ASSERT_STRING_EQUAL(inv.command->name, "probe");
	CU_ASSERT_STRING_EQUAL(inv.file, "x.yaml");
	CU_ASSERT_STRING_EQUAL(inv.out_dir, "out");
	CU_ASSERT_EQUAL_FATAL(inv.noverrides, 2);
	CU_ASSERT_STRING_EQUAL(inv.overrides[0].text, "a.b=1");
	CU_ASSERT_STRING_EQUAL(inv.overrides[1].text, "c=d=e");
	CU_ASSERT(inv.json && inv.quiet && !inv.help);
	CU_ASSERT_EQUAL(inv.kernel, LH_KERNEL_UML);
	CU_ASSERT_EQUAL(inv.runs, ~0u);

	CU_ASSERT_EQUAL_FATAL(parse("longhaul probe x.yaml -oout --output=out2", &inv, &err), 0);
	CU_ASSERT_STRING_EQUAL(inv.out_dir, "out2");
	CU_ASSERT_EQUAL_FATAL(parse("longhaul check -- -x.yaml", &inv, &err), 0);
	CU_ASSERT_STRING_EQUAL(inv.file, "-x.yaml");
}

static void test_program(void)
{
	struct lh_invocation inv;
	struct lh_err err;
	CU_ASSERT_EQUAL_FATAL(parse("longhaul exec x.yaml --all -- ping -c 3 --all host", &inv, &err), 0);
	CU_ASSERT(inv.all);
	CU_ASSERT_EQUAL_FATAL(inv.nrest, 5);
	CU_ASSERT_STRING_EQUAL(inv.rest[0], "ping");
	CU_ASSERT_STRING_EQUAL(inv.rest[3], "--all");
	refused("longhaul exec x.yaml ping host", "write -- before the program: longhaul exec x.yaml -- ping ...");
	refused("longhaul exec x.yaml ping -- host", "'longhaul exec' has no use for 'ping' before --");
	refused("longhaul exec x.yaml --", "'longhaul exec' needs a program after --");
	refused("longhaul exec x.yaml --all --peer a -- true", "--all and --peer a exclude each other");
}

static void test_wrong_words(void)
{
	refused("longhaul", "no command given; 'longhaul help' lists the commands");
	refused("longhaul chekc x", "unknown command 'chekc'; did you mean 'check'?");
	refused("longhaul ru x", "unknown command 'ru'; did you mean 'run'?");
	refused("longhaul frobnicate", "unknown command 'frobnicate'; 'longhaul help' lists the commands");
	refused("longhaul check --jsn x", "unknown option --jsn; 'longhaul help check' lists the options");
	refused("longhaul plan --jsn x", "unknown option --jsn; did you mean --json?");
	refused("longhaul plan --form=text x", "unknown option --form; did you mean --format?");
	refused("longhaul check -o out x", "'longhaul check' has no option --output; 'longhaul help check' lists its options");
	refused("longhaul check -z x", "unknown option -z; 'longhaul help check' lists the options");
	refused("longhaul check", "'longhaul check' needs an experiment file");
	refused("longhaul check a b", "'longhaul check' has no use for 'b'");
	refused("longhaul schema a", "'longhaul schema' has no use for 'a'");
	refused("longhaul plan --json=yes x", "--json takes no value");
	refused("longhaul probe -qo x y", "write each option by itself: '-qo' is more than -q");
	refused("longhaul probe x -o", "--output needs a value: DIR");
}

static void test_values(void)
{
	refused("longhaul probe x --set a", "--set wants KEY=VALUE, not 'a'");
	refused("longhaul probe x --set =a", "--set wants KEY=VALUE, not '=a'");
	refused("longhaul probe x --kernel", "--kernel needs a value: auto|host|uml");
	refused("longhaul probe x --kernel=", "--kernel needs a value that is not empty");
	refused("longhaul probe x --kernel vm", "--kernel wants auto, host or uml, not 'vm'");
	struct lh_invocation inv;
	struct lh_err err;
	char command[] = "check", file[] = "x", option[] = "--set", value[] = "a=b";
	char *argv[2 * 70 + 3] = { command, command, file };
	for (int i = 0; i < 70; i++) {
		argv[3 + 2 * i] = option;
		argv[4 + 2 * i] = value;
	}
	memset(&inv, 0, sizeof inv);
	CU_ASSERT_EQUAL(lh_cli_parse(2 * 70 + 3, argv, &inv, &err), -E2BIG);
	CU_ASSERT_STRING_EQUAL(err.text, "--set may be given 64 times at most");
}

/* Every option of every command is accepted by the parser and named by that command's help; no other is accepted. */
static void test_tables(void)
{
	static const struct { const char *name, *argument; } options[] = {
#define LH_OPTION(bit, long_name, short_name, argument, help_text) [LH_OPTION_##bit] = { long_name, argument },
#include "options.def"
#undef LH_OPTION
	};
	for (const struct lh_command *c = lh_commands; c->name; c++) {
		char *help = NULL;
		size_t len;
		FILE *f = open_memstream(&help, &len);
		CU_ASSERT_PTR_NOT_NULL_FATAL(f);
		lh_cli_print_help(c, f);
		fclose(f);
		for (unsigned i = 0; i < sizeof options / sizeof options[0]; i++) {
			struct lh_invocation inv;
			struct lh_err err;
			char line[256], in_help[80];
			snprintf(in_help, sizeof in_help, "--%s%s%s\n", options[i].name, options[i].argument ? " " : "",
				 options[i].argument ? options[i].argument : "");
			snprintf(line, sizeof line, "longhaul %s --help %.*s --%s%s", c->name,
				 islower((unsigned char)c->operands[0]) ? (int)strcspn(c->operands, " ") : 0, c->operands, options[i].name,
				 options[i].argument ? "=a=1" : "");
			int rc = parse(line, &inv, &err);
			bool belongs = c->options >> i & 1;
			CU_ASSERT_EQUAL(strstr(help, in_help) != NULL, belongs);
			CU_ASSERT_EQUAL(rc && strstr(err.text, "has no option") != NULL, !belongs);
		}
		free(help);
	}
}

/* A command of two rows: the word chooses, wherever it stands. */
static void test_subcommands(void)
{
	static const struct { const char *line, *called, *says; } rows[] = {
		{ "longhaul bench allreduce x.yaml", "bench", NULL },
		{ "longhaul bench train --model m", "bench_train", NULL },
		{ "longhaul bench --json train --model m", "bench_train", NULL },
		{ "longhaul bench", NULL, "'longhaul bench' needs the word 'allreduce' or 'train'" },
		{ "longhaul bench x", NULL, "'longhaul bench' needs the word 'allreduce' or 'train', not 'x'" },
		{ "longhaul bench train --streams 2", NULL,
		  "'longhaul bench' has no option --streams; 'longhaul help bench' lists its options" },
		{ "longhaul bench allreduce --model m x", NULL,
		  "'longhaul bench' has no option --model; 'longhaul help bench' lists its options" },
		{ "longhaul bench train x", NULL, "'longhaul bench' has no use for 'x'" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct lh_invocation inv;
		struct lh_err err;
		int rc = parse(rows[i].line, &inv, &err);
		CU_ASSERT_EQUAL(rc != 0, rows[i].says != NULL);
		if (rc) {
			CU_ASSERT_STRING_EQUAL(err.text, rows[i].says);
			continue;
		}
		called = NULL;
		CU_ASSERT_EQUAL(inv.command->run(&inv), 42);
		CU_ASSERT_STRING_EQUAL(called, rows[i].called);
	}
}

/* The user's devices are read for what reads an experiment, and only then. */
static void test_catalogue(void)
{
	char me[] = "longhaul", check[] = "check", models[] = "models", file[] = "x.yaml";
	char *with[] = { me, check, file, NULL }, *without[] = { me, models, NULL };
	struct lh_invocation preset = { .catalogue = "/c.json" };
	catalogue = NULL;
	CU_ASSERT_EQUAL(lh_cli_main(2, without, &preset), 42);
	CU_ASSERT_PTR_NULL(catalogue);
	CU_ASSERT_EQUAL(lh_cli_main(3, with, &preset), 42);
	CU_ASSERT_STRING_EQUAL(catalogue, "/c.json");
	preset.catalogue = "/bad.json";
	called = NULL;
	CU_ASSERT_EQUAL(lh_cli_main(3, with, &preset), LH_EXIT_INPUT);
	CU_ASSERT_PTR_NULL(called);
}

static void test_suggest(void)
{
	static const char *const names[] = { "us-0", "us-1", "eu-0", "geographic", NULL };
	CU_ASSERT_STRING_EQUAL(lh_cli_suggest("geografic", names), "geographic");
	CU_ASSERT_STRING_EQUAL(lh_cli_suggest("us0", names), "us-0");
	CU_ASSERT_PTR_NULL(lh_cli_suggest("zz", names));
	CU_ASSERT_PTR_NULL(lh_cli_suggest("", names));
}

static void test_main_runs(void)
{
	struct lh_invocation preset = { .peer_program = "/p" };
	char me[] = "longhaul", check[] = "check", file[] = "x.yaml";
	char mark[] = "--internal-inside-uml=", peer[] = "--internal-peer-program=/q";
	char *argv[] = { me, check, file, NULL };
	called = NULL;
	CU_ASSERT_EQUAL(lh_cli_main(3, argv, &preset), 42);
	CU_ASSERT_STRING_EQUAL(called, "check");
	CU_ASSERT_STRING_EQUAL(seen.peer_program, "/p");
	char *inside[] = { me, check, mark, peer, file, NULL };
	CU_ASSERT_EQUAL(lh_cli_main(5, inside, &preset), 42);
	CU_ASSERT_STRING_EQUAL(seen.inside_uml, "");
	CU_ASSERT_STRING_EQUAL(seen.peer_program, "/q");
}

static const struct lh_test tests[] = {
	{ "words", test_words, 0 },
	{ "program", test_program, 0 },
	{ "wrong_words", test_wrong_words, 0 },
	{ "values", test_values, 0 },
	{ "tables", test_tables, 0 },
	{ "a command of two rows", test_subcommands, 0 },
	{ "the user's catalogue", test_catalogue, 0 },
	{ "suggest", test_suggest, 0 },
	{ "main_runs", test_main_runs, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "cli", tests, sizeof tests / sizeof tests[0]);
}
