/* mkman.c - runs at build time: the manual page and the shell completion from the tables of the command line.
 *
 *     mkman man TEMPLATE      a line @COMMANDS@ of the template becomes the generated part
 *     mkman completion        for bash
 */
#include <stdio.h>
#include <string.h>

#include "tables.h"

struct command {
	const char *name, *operands, *summary, *description;
	unsigned long long options;
};

static const struct lh_option options[] = {
#define LH_OPTION(bit, long_name, short_name, argument, help_text)                                                     \
	{ LH_OPTION_##bit, long_name, short_name, argument, help_text },
#include "options.def"
#undef LH_OPTION
};
static const struct command commands[] = {
#define O(bit) (1ull << LH_OPTION_##bit)
#define LH_COMMAND(name, operands, bits, summary, description) { #name, operands, summary, description, bits },
#define LH_SUBCOMMAND(name, word, operands, bits, summary, description) LH_COMMAND(name, operands, bits, summary, description)
#include "commands.def"
#undef LH_COMMAND
#undef LH_SUBCOMMAND
};
enum { NOPTIONS = sizeof options / sizeof options[0], NCOMMANDS = sizeof commands / sizeof commands[0] };

/* roff text: hyphens that are typed, no line that begins with a request. */
static void roff(const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", stdout);
	for (; *text; text++)
		switch (*text) {
		case '-':
			fputs("\\-", stdout);
			break;
		case '\\':
			fputs("\\e", stdout);
			break;
		default:
			putchar(*text);
		}
}

static void man_commands(void)
{
	for (size_t c = 0; c < NCOMMANDS; c++) {
		printf(".SS longhaul %s ", commands[c].name);
		roff(commands[c].operands);
		putchar('\n');
		roff(commands[c].description);
		putchar('\n');
		for (size_t i = 0; i < NOPTIONS; i++) {
			const struct lh_option *o = &options[i];
			if (!(commands[c].options & 1ull << o->bit))
				continue;
			fputs(".TP\n.B ", stdout);
			if (o->letter)
				printf("\\-%c, ", o->letter);
			fputs("\\-\\-", stdout);
			roff(o->name);
			if (o->argument) {
				putchar(' ');
				roff(o->argument);
			}
			putchar('\n');
			roff(o->help);
			putchar('\n');
		}
	}
}

static int man(const char *template)
{
	char line[1024];
	FILE *f = fopen(template, "r");
	if (!f) {
		perror(template);
		return 1;
	}
	while (fgets(line, sizeof line, f)) {
		if (!strcmp(line, "@COMMANDS@\n"))
			man_commands();
		else
			fputs(line, stdout);
	}
	fclose(f);
	return 0;
}

/* A command with several rows is one word to complete. */
static int again(size_t c)
{
	return c && !strcmp(commands[c].name, commands[c - 1].name);
}

static int completion(void)
{
	puts("# bash completion of longhaul; made from its tables\n_longhaul()\n{\n"
	     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} words=\n"
	     "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\tCOMPREPLY=($(compgen -W \"help --version --help \\");
	for (size_t c = 0; c < NCOMMANDS; c++)
		if (!again(c))
			printf("\t\t\t%s \\\n", commands[c].name);
	puts("\t\t\t\" -- \"$cur\"))\n\t\treturn\n\tfi\n\tcase ${COMP_WORDS[1]} in");
	for (size_t c = 0; c < NCOMMANDS; c++) {
		unsigned long long all = commands[c].options;
		if (again(c))
			continue;
		for (size_t k = c + 1; k < NCOMMANDS && again(k); k++)
			all |= commands[k].options;
		printf("\t%s) words=\"--help", commands[c].name);
		for (size_t i = 0; i < NOPTIONS; i++)
			if (all & 1ull << options[i].bit)
				printf(" --%s", options[i].name);
		puts("\" ;;");
	}
	puts("\tesac\n\tcase $cur in\n\t-*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
	     "\t*) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n\tesac\n}\ncomplete -o filenames -F _longhaul longhaul");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "man"))
		return man(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "completion"))
		return completion();
	fputs("usage: mkman man TEMPLATE | mkman completion\n", stderr);
	return 2;
}
