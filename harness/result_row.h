/* result_row.h - a run's result.json read back as one row of a table; for `report` and `sweep`. */
#ifndef HARNESS_RESULT_ROW_H
#define HARNESS_RESULT_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "longhaul/peer.h"

struct json_t;

struct lh_result_row {
	char dir[4352];             /* as given */
	char name[64], engine[16], model[LH_MODEL_SPEC_MAX], netem[16], kernel[65];
	long long peers, target_batch, epochs; /* epochs: counted ones */
	char widest[80];            /* link with the largest RTT asked, "us->eu"; "" when none was measured */
	double rtt_spec_s, rtt_measured_s;     /* of it; NaN */
	bool host_limited;          /* this machine, not the network, set comm_s */
	double throughput_sps, calc_s, comm_s; /* NaN when undefined; sums over the counted epochs */
	double latency_s, bandwidth_s, wait_s, coding_s, update_s; /* of comm_s */
	double granularity, efficiency;
	double lateness, late_steps; /* behind the paces: share of the time (latest peer), share of the steps; NaN */
	long long dilation;         /* everything above is divided back; 1: was not dilated */
	bool complete, valid;
	int replicas_identical;     /* 1, 0, -1 not known */
	char reason[256];
	long long interruptions;    /* peers that went; 0: none, or membership is fixed */
	long long samples_redealt, samples_lost, rounds_aborted;
	double detect_s, regroup_s, back_s; /* the longest; NaN */
	double throughput_lost;     /* share of the throughput of the same run undisturbed, or of its undisturbed epochs; NaN */
	char metric[32];            /* held-out evaluation; "" none */
	double value, reference;
};

/* The document DIR/result.json, or the file `path` itself where it is no directory; to be released with json_decref.
 * LH_EXIT_INPUT names it and what is wrong. Its schema is not looked at. */
int lh_result_load(const char *path, struct json_t **ret, struct lh_err *err);
/* DIR/result.json. LH_EXIT_INPUT names the directory and what is wrong with it. */
int lh_result_row_read(const char *dir, struct lh_result_row *ret, struct lh_err *err);
int lh_result_row_parse(const struct json_t *doc, struct lh_result_row *ret, struct lh_err *err);
enum { LH_RESULT_LABEL = 64 };
/* The last part of a run directory's name (or of that of the result.json in it). */
void lh_result_label(const char *path, char *ret, size_t size);
/* Rows side by side; those whose experiments have one name are called by their directories. */
void lh_result_rows_print(const struct lh_result_row *rows, size_t n, FILE *out);
struct json_t *lh_result_row_json(const struct lh_result_row *row);

#endif
