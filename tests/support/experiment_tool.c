/* experiment_tool.c - the loader from a shell: check FILE [a.b=c ...], canonical FILE [a.b=c ...], schema, reference. */
#include <stdio.h>
#include <string.h>

#include "longhaul/experiment.h"

int main(int argc, char **argv)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_override set[64];
	if (argc == 2 && !strcmp(argv[1], "schema"))
		return lh_schema_print(stdout, &err) != 0;
	if (argc == 2 && !strcmp(argv[1], "reference"))
		return lh_schema_print_reference(stdout, &err) != 0;
	if (argc < 3 || argc > 3 + 64)
		return 2;
	for (int i = 3; i < argc; i++)
		set[i - 3].text = argv[i];
	struct lh_experiment exp;
	if (lh_experiment_load(argv[2], set, (size_t)argc - 3, stderr, &exp, &err)) {
		fprintf(stderr, "%s\n", err.text);
		return (int)err.exit;
	}
	if (!strcmp(argv[1], "canonical"))
		fputs(exp.canonical, stdout);
	lh_experiment_done(&exp);
	return 0;
}
