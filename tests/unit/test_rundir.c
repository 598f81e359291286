/* Event lines, the files of a run directory, and what a person sees meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eventlog.h"
#include "lhtest.h"
#include "progress.h"
#include "rundir.h"

struct seen {
	unsigned lines;
	char last[64];
	int stop_at;
};

static int see(void *ctx, const char *line, size_t len, struct lh_err *err)
{
	struct seen *s = ctx;

	CU_ASSERT_EQUAL(strlen(line), len);
	snprintf(s->last, sizeof s->last, "%.60s", line);
	return ++s->lines == (unsigned)s->stop_at ? lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "stop") : 0;
}

static void test_lines_in_any_pieces(void)
{
	static const char stream[] = "one\n\nthree\nfo";

	for (size_t piece = 1; piece < sizeof stream; piece++) {
		struct lh_lines l = { 0 };
		struct seen s = { 0 };
		for (size_t at = 0; at < sizeof stream - 1; at += piece) {
			size_t n = sizeof stream - 1 - at < piece ? sizeof stream - 1 - at : piece;
			CU_ASSERT_EQUAL(lh_lines_feed(&l, stream + at, n, see, &s, NULL), 0);
		}
		CU_ASSERT_EQUAL(s.lines, 3);
		CU_ASSERT_STRING_EQUAL(s.last, "three");
		CU_ASSERT_EQUAL(l.len, 2);
	}
}

static void test_line_too_long(void)
{
	struct lh_lines l = { 0 };
	struct lh_err err = LH_ERR_INIT;
	struct seen s = { 0 };
	char block[LH_EVENT_LINE_MAX];

	memset(block, 'x', sizeof block);
	CU_ASSERT_EQUAL(lh_lines_feed(&l, block, LH_EVENT_LINE_MAX - 1, see, &s, &err), 0);
	CU_ASSERT_EQUAL(lh_lines_feed(&l, "\n", 1, see, &s, &err), 0);
	CU_ASSERT_EQUAL(s.lines, 1);
	CU_ASSERT_EQUAL(lh_lines_feed(&l, block, LH_EVENT_LINE_MAX, see, &s, &err), -EMSGSIZE);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
}

static void test_handler_stops(void)
{
	struct lh_lines l = { 0 };
	struct seen s = { .stop_at = 2 };

	CU_ASSERT_EQUAL(lh_lines_feed(&l, "a\nb\nc\n", 6, see, &s, NULL), -EPROTO);
	CU_ASSERT_STRING_EQUAL(s.last, "b");
}

struct counts {
	unsigned peer, harness;
	char kind[32];
};

static int count_peer(void *ctx, const struct lh_event *e, struct lh_err *err)
{
	((struct counts *)ctx)->peer += e->kind == LH_EVENT_FINISHED;
	return 0;
}

static int count_harness(void *ctx, const char *kind, const json_t *line, struct lh_err *err)
{
	struct counts *c = ctx;

	c->harness++;
	snprintf(c->kind, sizeof c->kind, "%s", kind);
	return 0;
}

static int read_text(const char *text, struct counts *c, size_t *ret_lines, struct lh_err *err)
{
	const struct lh_eventlog_handler h = { count_peer, count_harness, c };
	FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");

	CU_ASSERT_PTR_NOT_NULL_FATAL(in);
	int rc = lh_eventlog_read(in, &h, ret_lines, err);
	fclose(in);
	return rc;
}

static void test_eventlog(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct counts c = { 0 };
	size_t lines = 0;

	CU_ASSERT_EQUAL(read_text("{\"event\":\"go\",\"t_ns\":5}\n"
				  "{\"event\":\"finished\",\"rank\":1,\"t_ns\":6}\n"
				  "{\"event\":\"finished\",\"rank\":0,\"t_n", &c, &lines, &err), 0);
	CU_ASSERT_EQUAL(lines, 2);
	CU_ASSERT_EQUAL(c.peer, 1);
	CU_ASSERT_EQUAL(c.harness, 1);
	CU_ASSERT_STRING_EQUAL(c.kind, "go");
	static const char *const bad[] = {
		"{\"event\":\"go\"}\n", "{\"event\":\"go\",\"t_ns\":-1}\n", "[]\n", "nonsense\n",
		"{\"event\":\"finished\",\"rank\":1}\n", "{\"t_ns\":1}\n", "\n",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CU_ASSERT_TRUE(read_text(bad[i], &c, &lines, &err) < 0);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "line 1: "));
	}
}

static int write_half(void *ctx, FILE *out)
{
	fputs("half", out);
	return ctx ? -ENOSPC : 0;
}

static bool exists(const struct lh_rundir *d, const char *name)
{
	return faccessat(d->fd, name, F_OK, 0) == 0;
}

static const char finished[] = "{\"event\":\"finished\",\"rank\":1,\"t_ns\":6}";

static void test_rundir_files(void)
{
	char path[] = "/tmp/lh-rundir-XXXXXX", name[80];
	struct lh_err err = LH_ERR_INIT;
	struct lh_rundir d;
	struct counts c = { 0 };
	size_t lines = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
	CU_ASSERT_EQUAL_FATAL(lh_rundir_open(path, 10000, &d, &err), 0);
	CU_ASSERT_TRUE(exists(&d, ".reserve"));
	CU_ASSERT_EQUAL(lh_rundir_event(&d, "go", 7, json_pack("{s:i}", "x", 1), &err), 0);
	CU_ASSERT_EQUAL(lh_rundir_line(&d, finished, strlen(finished), &err), 0);
	/* A file that fails on the way is not there, nor is its temporary. */
	CU_ASSERT_EQUAL(lh_rundir_write(&d, "links.csv", write_half, &d, &err), -ENOSPC);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "links.csv: No space left on device"));
	CU_ASSERT_FALSE(exists(&d, "links.csv") || exists(&d, ".links.csv.tmp"));
	CU_ASSERT_EQUAL(lh_rundir_write(&d, "links.csv", write_half, NULL, &err), 0);
	CU_ASSERT_TRUE(exists(&d, "links.csv"));
	/* A second run may not write over the first. */
	struct lh_rundir again;
	CU_ASSERT_EQUAL(lh_rundir_open(path, 10, &again, &err), -EEXIST);
	lh_rundir_close(&d);
	snprintf(name, sizeof name, "%s/.reserve", path);
	CU_ASSERT_NOT_EQUAL(access(name, F_OK), 0);
	snprintf(name, sizeof name, "%s/peers.log", path);
	CU_ASSERT_NOT_EQUAL(access(name, F_OK), 0); /* empty: removed */
	snprintf(name, sizeof name, "%s/links.csv", path);
	CU_ASSERT_EQUAL(unlink(name), 0);
	snprintf(name, sizeof name, "%s/events.jsonl", path);
	FILE *in = fopen(name, "re");
	const struct lh_eventlog_handler h = { count_peer, count_harness, &c };
	CU_ASSERT_PTR_NOT_NULL_FATAL(in);
	CU_ASSERT_EQUAL(lh_eventlog_read(in, &h, &lines, &err), 0);
	fclose(in);
	CU_ASSERT_EQUAL(lines, 2);
	unlink(name);
	CU_ASSERT_EQUAL(rmdir(path), 0); /* nothing else is left */
}

static void test_progress_texts(void)
{
	const struct lh_epoch_metrics e = { .epoch = 3, .wall_s = 2, .calc_s = 1.5, .comm_s = 0.5, .samples = 256 };
	const struct lh_epoch_metrics none = { .epoch = 1, .warmup = true, .wall_s = 1, .calc_s = 1, .samples = 8 };
	char buf[200];

	CU_ASSERT_STRING_EQUAL(
	    lh_progress_epoch_text(&e, 6, "us->eu", 0.1032, buf, sizeof buf),
	    "epoch 3/6  128.0 samples/s  calc 1.500 s  comm 0.500 s  granularity 3.00  slowest us->eu 103.2 ms");
	CU_ASSERT_STRING_EQUAL(lh_progress_epoch_text(&none, 6, NULL, NAN, buf, sizeof buf),
			       "epoch 1/6 (warm-up)  8.000 samples/s  calc 1.000 s  comm 0.000 s");
	CU_ASSERT_STRING_EQUAL(lh_progress_duration_text(14.2, buf, sizeof buf), "14s");
	CU_ASSERT_STRING_EQUAL(lh_progress_duration_text(200, buf, sizeof buf), "3m 20s");
	CU_ASSERT_STRING_EQUAL(lh_progress_duration_text(3723, buf, sizeof buf), "1h 02m");
	CU_ASSERT_STRING_EQUAL(lh_progress_duration_text(NAN, buf, sizeof buf), "0s");
}

static void test_progress_lines(void)
{
	char text[256] = "";
	FILE *out = fmemopen(text, sizeof text, "w");
	struct lh_progress p = { .out = out };

	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	lh_progress_draw(&p, "not shown where lines are plain");
	lh_progress_note(&p, "epoch %d", 1);
	CU_ASSERT_STRING_EQUAL(text, "epoch 1\n");
	fclose(out);
	out = fmemopen(text, sizeof text, "w");
	p = (struct lh_progress){ .out = out, .animate = true };
	lh_progress_draw(&p, "long line");
	lh_progress_draw(&p, "short");
	lh_progress_note(&p, "end");
	fclose(out);
	CU_ASSERT_STRING_EQUAL(text, "\rlong line\rshort    \r     \rend\n");
}

static void test_progress_animates(void)
{
	static const struct {
		bool terminal;
		const char *env;
		bool animates;
	} cases[] = {
	    {true, "TERM=xterm", true},  {false, "TERM=xterm", false}, {true, "TERM=dumb", false},
	    {true, "CI=true", false},    {true, "CI=1", false},        {true, "CI=false", true},
	    {true, "CIRCUS=true", true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *env[] = { strdup(cases[i].env), NULL };
		CU_ASSERT_EQUAL(lh_progress_animates(cases[i].terminal, env), cases[i].animates);
		free(env[0]);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "lines_in_any_pieces", test_lines_in_any_pieces },
		{ "line_too_long", test_line_too_long },
		{ "handler_stops", test_handler_stops },
		{ "eventlog", test_eventlog },
		{ "rundir_files", test_rundir_files },
		{ "progress_texts", test_progress_texts },
		{ "progress_lines", test_progress_lines },
		{ "progress_animates", test_progress_animates },
	};

	return lh_test_main(argc, argv, "rundir", tests, sizeof tests / sizeof *tests);
}
