#include "model/own.h"

#include <errno.h>
#include <string.h>

/* Samples at a time: changes no result. */
enum { CHUNK_DIGITS = 8, CHUNK_TEXT = 2 };

static const struct lh_digits_shape digits = LH_DIGITS_SHAPE;
static const struct lh_text_shape text = LH_TEXT_SHAPE;

bool lh_own_is(const char *name) { return !strcmp(name, "digits") || !strcmp(name, "text"); }

int lh_own_input(const char *name, struct lh_input_shape *ret, struct lh_err *err)
{
	const bool is_digits = !strcmp(name, "digits");
	if (!lh_own_is(name))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %s: not one of digits, text", name);
	*ret = (struct lh_input_shape){
		.kind = is_digits ? LH_INPUT_PIXELS : LH_INPUT_WINDOW, .side = digits.side, .length = text.window,
		.symbols = is_digits ? digits.classes : text.symbols, .max_value = digits.max_value };
	return 0;
}

int lh_own_new(const char *name, struct lh_model **ret, struct lh_err *err)
{
	if (!lh_own_is(name))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %s: not one of digits, text", name);
	return !strcmp(name, "digits") ? lh_digits_new(&digits, CHUNK_DIGITS, ret, err) : lh_text_new(&text, CHUNK_TEXT, ret, err);
}
