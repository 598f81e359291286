#include "longhaul/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void cut(char *text, size_t size, int len)
{
	if (len >= 0 && (size_t)len >= size)
		memcpy(text + size - 4, "...", 4);
}

__attribute__((format(printf, 5, 0)))
static int set(struct lh_err *err, enum lh_exit exit, int code, const char *tail, const char *fmt, va_list ap)
{
	if (!err)
		return code;
	err->code = code;
	err->exit = exit;
	int len = vsnprintf(err->text, sizeof err->text, fmt, ap);
	cut(err->text, sizeof err->text, len);
	if (tail && len >= 0 && (size_t)len < sizeof err->text) {
		int n = snprintf(err->text + len, sizeof err->text - (size_t)len, ": %s", tail);
		cut(err->text, sizeof err->text, n < 0 ? n : len + n);
	}
	return code;
}

int lh_err_set(struct lh_err *err, enum lh_exit exit, int code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;
	va_start(ap, fmt);
	set(err, exit, code, NULL, fmt, ap);
	va_end(ap);
	errno = saved;
	return code;
}

int lh_err_sys(struct lh_err *err, enum lh_exit exit, int code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;
	va_start(ap, fmt);
	set(err, exit, code, strerror(-code), fmt, ap);
	va_end(ap);
	errno = saved;
	return code;
}

int lh_err_wrap(struct lh_err *err, const char *fmt, ...)
{
	if (!err)
		return -EIO;
	int saved = errno;
	char old[sizeof err->text];
	memcpy(old, err->text, sizeof old);
	va_list ap;
	va_start(ap, fmt);
	set(err, err->exit, err->code, old, fmt, ap);
	va_end(ap);
	errno = saved;
	return err->code;
}
