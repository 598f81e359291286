#include "gpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer_command.h"

/* longhaul-peer knows devices, this program does not: it says why there is none. */
static int ask_peer(const struct lh_session *s, struct lh_err *err)
{
	struct lh_peer_command c;
	char *text = NULL;
	size_t len = 0;
	int status = 0;
	int rc = lh_peer_command_init(s->inv, "gpu", &c, err);
	if (!rc)
		rc = lh_peer_command_capture(&c, -1, &text, &len, &status, err);
	if (!rc && text)
		text[strcspn(text, "\n")] = 0;
	if (!rc && status == LH_EXIT_MACHINE)
		rc = lh_err_set(err, LH_EXIT_MACHINE, -ENODEV, "%s", text && *text ? text : "engine cuda: no GPU");
	else if (!rc && status)
		rc = lh_err_set(err, LH_EXIT_MACHINE, -ENODEV, "engine cuda: looking for a GPU ended with status %d", status);
	free(text);
	return rc;
}

int lh_gpu_settle(const struct lh_session *s, struct lh_training *t, bool uml, struct lh_err *err)
{
	struct lh_err why = LH_ERR_INIT;
	if (!t->given || t->engine != LH_ENGINE_CUDA)
		return 0;
	if (uml)
		lh_err_set(&why, LH_EXIT_MACHINE, -ENODEV,
			   "engine cuda needs the host's kernel: there is no GPU inside User-Mode Linux");
	if (!uml && !ask_peer(s, &why))
		return 0;
	if (t->engine_auto) {
		if (!s->inv->quiet && !s->inv->inside_uml)
			fprintf(stderr, "longhaul: engine auto: cpu, since %s\n", why.text);
		t->engine = LH_ENGINE_CPU;
		return 0;
	}
	*err = why;
	return why.code ? why.code : -ENODEV;
}
