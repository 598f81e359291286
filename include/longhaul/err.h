/* err.h - how every function of longhaul that can fail reports it.
 *
 * A function that can fail returns 0 or a negative errno and takes a
 * `struct lh_err *` as its last argument (NULL is allowed). The storage belongs
 * to the caller and nothing is allocated, so that ENOMEM can be told too.
 * The message is one line, starts with the user's object (link us->eu, peer
 * eu-1, file.yaml:3:7) and ends with the kernel's own words where it had any.
 */
#ifndef LONGHAUL_ERR_H
#define LONGHAUL_ERR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the process should exit with; the two mains return it as it is. */
enum lh_exit {
	LH_EXIT_OK = 0,
	LH_EXIT_GATE = 1,         /* a gate failed */
	LH_EXIT_INPUT = 2,        /* bad input; nothing was touched */
	LH_EXIT_MACHINE = 3,      /* this machine cannot do it, or a link is not what was asked */
	LH_EXIT_BROKE = 4,        /* the run broke: a peer died, a deadline passed, replicas differ */
	LH_EXIT_INCONCLUSIVE = 5, /* too noisy to decide */
};

struct lh_err {
	int code;          /* negative errno; 0 = no error */
	enum lh_exit exit; /* class of the failure */
	char text[1024];   /* one line, no final newline */
};

#define LH_ERR_INIT { 0, LH_EXIT_OK, "" }

/* Fill *err (unless NULL) and return `code`, which must be negative.
 * errno is preserved. A text that does not fit is cut with "...". */
int lh_err_set(struct lh_err *err, enum lh_exit exit, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Like lh_err_set, with ": " and strerror(-code) appended. */
int lh_err_sys(struct lh_err *err, enum lh_exit exit, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Put "context: " before the text already in *err; returns err->code
 * (-EIO for a NULL err). Once per layer, going up. */
int lh_err_wrap(struct lh_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
