/* tables.h - the shape of a row of options.def, for the parser (cli.c) and the maker of the manual page (mkman.c). */
#ifndef HARNESS_TABLES_H
#define HARNESS_TABLES_H

enum lh_option_bit {
#define LH_OPTION(bit, long_name, short_name, argument, help) LH_OPTION_##bit,
#include "options.def"
#undef LH_OPTION
	LH_OPTION_INSIDE_UML,
	LH_OPTION_INTERNAL_PEER,
	LH_OPTION_INTERNAL_DATA,
	LH_OPTION_INTERNAL_CATALOGUE,
	LH_OPTION_INTERNAL_FAULTS,
	LH_OPTION_INTERNAL_ANIMATE,
	LH_OPTION_HELP,
};

struct lh_option {
	enum lh_option_bit bit;
	const char *name;
	char letter;          /* 0: none */
	const char *argument; /* NULL: takes none */
	const char *help;     /* NULL: not shown */
};

/* Bound of --runs and --warmup: a grid cell run more often than this is a typing error. */
#define LH_SWEEP_RUNS_MAX 10000ull

#endif
