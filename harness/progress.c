/* progress.c - see progress.h. */
#include "progress.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "stats.h"

#define LINE_MAX_CHARS 200

static const char *env_get(char *const *envp, const char *name)
{
	size_t len = strlen(name);

	for (; envp && *envp; envp++)
		if (!strncmp(*envp, name, len) && (*envp)[len] == '=')
			return *envp + len + 1;
	return "";
}

bool lh_progress_animates(bool is_terminal, char *const *envp)
{
	const char *ci = env_get(envp, "CI");

	return is_terminal && strcmp(env_get(envp, "TERM"), "dumb") != 0 &&
		(!*ci || !strcmp(ci, "false") || !strcmp(ci, "0"));
}

void lh_progress_clear(struct lh_progress *p)
{
	if (!p->out || !p->drawn)
		return;
	fprintf(p->out, "\r%*s\r", (int)p->drawn, "");
	fflush(p->out);
	p->drawn = 0;
}

void lh_progress_draw(struct lh_progress *p, const char *fmt, ...)
{
	char line[LINE_MAX_CHARS];
	va_list ap;

	if (!p->out || !p->animate)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	/* Blanks over what the shorter line before leaves; no escape codes, so any terminal will do. */
	size_t len = strlen(p->prefix) + strlen(line);
	fprintf(p->out, "\r%s%s%*s", p->prefix, line, p->drawn > len ? (int)(p->drawn - len) : 0, "");
	fflush(p->out);
	p->drawn = len;
}

void lh_progress_note(struct lh_progress *p, const char *fmt, ...)
{
	va_list ap;

	if (!p->out)
		return;
	lh_progress_clear(p);
	fputs(p->prefix, p->out);
	va_start(ap, fmt);
	vfprintf(p->out, fmt, ap);
	va_end(ap);
	fputc('\n', p->out);
	fflush(p->out);
}

char *lh_progress_epoch_text(const struct lh_epoch_metrics *e, uint32_t nepochs, const char *slowest,
			     double slowest_rtt_s, char *buf, size_t size)
{
	double rate = e->wall_s > 0 ? (double)e->samples / e->wall_s : 0.0, granularity = e->calc_s / e->comm_s;
	int n = snprintf(buf, size, "epoch %u/%u%s  %.*f samples/s  calc %.3f s  comm %.3f s", e->epoch, nepochs,
			 e->warmup ? " (warm-up)" : "", lh_digits_after(rate, 4), rate, e->calc_s, e->comm_s);

	if (e->comm_s > 0 && n > 0 && (size_t)n < size)
		n += snprintf(buf + n, size - (size_t)n, "  granularity %.*f", lh_digits_after(granularity, 3),
			      granularity);
	if (slowest && isfinite(slowest_rtt_s) && n > 0 && (size_t)n < size)
		snprintf(buf + n, size - (size_t)n, "  slowest %s %.4g ms", slowest, slowest_rtt_s * 1e3);
	return buf;
}

char *lh_progress_duration_text(double s, char *buf, size_t size)
{
	long t = isfinite(s) && s > 0 ? lround(s) : 0;

	if (t >= 3600)
		snprintf(buf, size, "%ldh %02ldm", t / 3600, t % 3600 / 60);
	else if (t >= 60)
		snprintf(buf, size, "%ldm %02lds", t / 60, t % 60);
	else
		snprintf(buf, size, "%lds", t);
	return buf;
}
