/* cpuwatch.c - see cpuwatch.h. */
#include "cpuwatch.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* /proc/stat with its interrupt counters; the lines of CPUs come first. */
#define STAT_BYTES 32768
#define WINDOWS_LEAST_S 0.5

void lh_cpuwatch_init(struct lh_cpuwatch *w)
{
	*w = (struct lh_cpuwatch){ .ticks_per_s = sysconf(_SC_CLK_TCK) };
}

void lh_cpuwatch_done(struct lh_cpuwatch *w)
{
	free(w->samples);
	*w = (struct lh_cpuwatch){ 0 };
}

static struct lh_cpu_sample *next_sample(struct lh_cpuwatch *w)
{
	if (w->n == w->room) {
		size_t room = w->room ? 2 * w->room : 64;
		struct lh_cpu_sample *more = realloc(w->samples, room * sizeof *more);
		if (!more)
			return NULL;
		w->samples = more;
		w->room = room;
	}
	return &w->samples[w->n];
}

void lh_cpuwatch_sample_text(struct lh_cpuwatch *w, lh_ns now_ns, const char *text)
{
	struct lh_cpu_sample *s = next_sample(w);
	unsigned ncpus = 0;

	if (!s || (w->n && now_ns <= w->samples[w->n - 1].t_ns))
		return;
	*s = (struct lh_cpu_sample){ .t_ns = now_ns };
	for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
		unsigned cpu;
		unsigned long long idle, iowait;
		/* user nice system idle iowait ...; "cpu " is the sum */
		if (strncmp(line, "cpu", 3) != 0)
			break;
		if (line[3] != ' ' && sscanf(line, "cpu%u %*u %*u %*u %llu %llu", &cpu, &idle, &iowait) == 3 &&
		    ncpus < LH_CPUWATCH_CPUS)
			s->idle[ncpus++] = idle + iowait;
	}
	if (ncpus == 0 || (w->ncpus && ncpus != w->ncpus))
		return; /* a CPU came or went: the columns do not match any more */
	w->ncpus = ncpus;
	w->n++;
}

void lh_cpuwatch_sample(struct lh_cpuwatch *w, lh_ns now_ns)
{
	char text[STAT_BYTES];
	int fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return;
	text[n] = 0;
	lh_cpuwatch_sample_text(w, now_ns, text);
}

/* Idle ticks of a CPU at a time between the first and the last sample. */
static double idle_at(const struct lh_cpuwatch *w, unsigned cpu, lh_ns t_ns)
{
	size_t i = 1;

	while (i + 1 < w->n && w->samples[i].t_ns < t_ns)
		i++;
	const struct lh_cpu_sample *a = &w->samples[i - 1], *b = &w->samples[i];
	double part = (double)(t_ns - a->t_ns) / (double)(b->t_ns - a->t_ns);
	return (double)a->idle[cpu] + part * ((double)b->idle[cpu] - (double)a->idle[cpu]);
}

void lh_cpuwatch_window(struct lh_cpuwatch *w, lh_ns from_ns, lh_ns to_ns, bool counts)
{
	if (counts && w->n >= 2 && from_ns < to_ns && from_ns >= w->samples[0].t_ns &&
	    to_ns <= w->samples[w->n - 1].t_ns) {
		w->window_s += (double)(to_ns - from_ns) / 1e9;
		for (unsigned c = 0; c < w->ncpus; c++)
			w->idle_s[c] += (idle_at(w, c, to_ns) - idle_at(w, c, from_ns)) / (double)w->ticks_per_s;
	}
	/* The last sample may be the first that the next window needs. */
	if (w->n > 1) {
		w->samples[0] = w->samples[w->n - 1];
		w->n = 1;
	}
}

double lh_cpuwatch_busiest(const struct lh_cpuwatch *w)
{
	double most = NAN;

	if (w->window_s < WINDOWS_LEAST_S)
		return NAN;
	for (unsigned c = 0; c < w->ncpus; c++) {
		double busy = 1 - w->idle_s[c] / w->window_s;
		busy = busy < 0 ? 0 : busy > 1 ? 1 : busy;
		if (!(busy <= most))
			most = busy;
	}
	return most;
}
