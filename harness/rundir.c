/* rundir.c - see rundir.h. */
#include "rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESERVE ".reserve"

static int fail(const struct lh_rundir *d, const char *name, int error, struct lh_err *err)
{
	return lh_err_sys(err, LH_EXIT_BROKE, -error, "run directory %s: %s", d->path, name);
}

static int write_all(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t w = write(fd, data, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? -errno : -EIO;
		data += w;
		n -= (size_t)w;
	}
	return 0;
}

/* Real bytes, not a hole; hostfs has no fallocate. */
static int make_reserve(struct lh_rundir *d, lh_bytes bytes, struct lh_err *err)
{
	static const char zeros[4096];
	int fd = openat(d->fd, RESERVE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc = fd < 0 ? -errno : 0;

	for (lh_bytes done = 0; rc == 0 && done < bytes; done += sizeof zeros)
		rc = write_all(fd, zeros, sizeof zeros);
	if (fd >= 0 && close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc < 0) {
		unlinkat(d->fd, RESERVE, 0);
		return lh_err_sys(err, LH_EXIT_BROKE, rc, "run directory %s: no room for a result of %llu bytes",
				  d->path, (unsigned long long)bytes);
	}
	return 0;
}

int lh_rundir_attach(const char *path, struct lh_rundir *ret, struct lh_err *err)
{
	struct lh_rundir d = { .fd = -1, .events_fd = -1, .log_fd = -1 };

	if (strlen(path) >= sizeof d.path)
		return lh_err_set(err, LH_EXIT_INPUT, -ENAMETOOLONG, "run directory %.64s...: path too long", path);
	strcpy(d.path, path);
	d.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d.fd < 0)
		return lh_err_sys(err, LH_EXIT_BROKE, -errno, "run directory %s", path);
	*ret = d;
	return 0;
}

int lh_rundir_open(const char *path, lh_bytes reserve_bytes, struct lh_rundir *ret, struct lh_err *err)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC;
	struct lh_rundir d;
	int rc = lh_rundir_attach(path, &d, err);

	if (rc < 0)
		return rc;
	d.events_fd = openat(d.fd, "events.jsonl", flags, 0666);
	if (d.events_fd < 0)
		rc = fail(&d, "events.jsonl", errno, err);
	else if ((d.log_fd = openat(d.fd, "peers.log", flags, 0666)) < 0)
		rc = fail(&d, "peers.log", errno, err);
	else
		rc = make_reserve(&d, reserve_bytes, err);
	if (rc < 0) {
		lh_rundir_close(&d);
		return rc;
	}
	*ret = d;
	return 0;
}

void lh_rundir_release(struct lh_rundir *d)
{
	unlinkat(d->fd, RESERVE, 0);
}

void lh_rundir_close(struct lh_rundir *d)
{
	struct stat st;

	if (d->fd < 0)
		return;
	lh_rundir_release(d);
	if (d->log_fd >= 0) {
		if (fstat(d->log_fd, &st) == 0 && st.st_size == 0)
			unlinkat(d->fd, "peers.log", 0);
		close(d->log_fd);
	}
	if (d->events_fd >= 0)
		close(d->events_fd);
	close(d->fd);
	d->fd = d->events_fd = d->log_fd = -1;
}

int lh_rundir_line(struct lh_rundir *d, const char *line, size_t len, struct lh_err *err)
{
	char *copy = malloc(len + 1);

	if (!copy)
		return fail(d, "events.jsonl", ENOMEM, err);
	memcpy(copy, line, len);
	copy[len] = '\n';
	int rc = write_all(d->events_fd, copy, len + 1);
	free(copy);
	/* A line is there or it is not: no half of one when the disk is full. */
	if (rc == 0)
		d->events_size += (off_t)len + 1;
	else if (ftruncate(d->events_fd, d->events_size) < 0)
		rc = -errno;
	return rc < 0 ? fail(d, "events.jsonl", -rc, err) : 0;
}

int lh_rundir_event(struct lh_rundir *d, const char *kind, lh_ns t_ns, json_t *fields, struct lh_err *err)
{
	json_t *o = json_pack("{s:s, s:I}", "event", kind, "t_ns", (json_int_t)t_ns);
	char *text = NULL;
	int rc;

	if (o && (!fields || json_object_update(o, fields) == 0))
		text = json_dumps(o, JSON_COMPACT);
	rc = text ? lh_rundir_line(d, text, strlen(text), err) : fail(d, "events.jsonl", ENOMEM, err);
	free(text);
	json_decref(o);
	json_decref(fields);
	return rc;
}

int lh_rundir_write(struct lh_rundir *d, const char *name, lh_write_fn *fn, void *ctx, struct lh_err *err)
{
	char tmp[128];
	int rc = 0;

	snprintf(tmp, sizeof tmp, ".%s.tmp", name);
	int fd = openat(d->fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	if (!out) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return fail(d, name, -rc, err);
	}
	rc = fn(ctx, out);
	if (rc == 0 && (fflush(out) != 0 || ferror(out)))
		rc = errno ? -errno : -EIO;
	/* A writer that only looks at the end finds that something failed, not what; trying again tells. */
	errno = 0;
	if (rc == -EIO && ferror(out) && (fputc(' ', out) == EOF || fflush(out) != 0) && errno)
		rc = -errno;
	if (fclose(out) != 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && renameat(d->fd, tmp, d->fd, name) < 0)
		rc = -errno;
	if (rc < 0) {
		unlinkat(d->fd, tmp, 0);
		return fail(d, name, -rc, err);
	}
	return 0;
}

static int dump_json(void *ctx, FILE *out)
{
	errno = 0;
	if (json_dumpf(ctx, out, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) < 0 || fputc('\n', out) == EOF)
		return errno ? -errno : -EIO;
	return 0;
}

int lh_rundir_write_json(struct lh_rundir *d, const char *name, const json_t *doc, struct lh_err *err)
{
	return lh_rundir_write(d, name, dump_json, (void *)(uintptr_t)doc, err);
}
