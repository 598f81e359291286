/* See checkpoint.h. */
#include "checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash.h"
#include "state_run.h"

enum { CHUNK = 256 * 1024, KEEP_DEFAULT = 2 };


void lh_checkpoint_path(const struct lh_peer_config *c, uint32_t round, char ret[LH_CHECKPOINT_PATH])
{
	snprintf(ret, LH_CHECKPOINT_PATH, "%s/" LH_STATE_FILE_NAME, c->checkpoint_dir, c->rank, round);
}

/* ---- what it says of itself ---- */

static void say_all(struct lh_state_text *t, const struct lh_checkpoint_of *of, const struct lh_checkpoint *where)
{
	const struct lh_peer_config *c = of->c;
	t->n = 0;
	lh_state_say_run(t, c);
	lh_state_say(t, "parameters", "%llu", (unsigned long long)of->ops->parameters(of->engine));
	lh_state_say(t, "engine", "%s", of->ops->name);
	lh_state_say_pace(t, c);
	lh_state_say(t, "epochs", "%u", c->epochs);
	lh_state_say(t, "membership", "%s", lh_membership_names[c->membership]);
	lh_state_say(t, "peer", "%s", c->peers[c->rank].name);
	lh_state_say(t, "rank", "%u", c->rank);
	lh_state_say(t, "size", "%u", c->size);
	lh_state_say(t, "round", "%u", where->round);
	lh_state_say(t, "samples", "%llu", (unsigned long long)where->samples);
	lh_state_say(t, "shared", "%s", where->shared ? "yes" : "no");
}

/* ---- parts ---- */

static int gather(const struct lh_checkpoint_of *of, struct lh_parts *p, struct lh_err *err)
{
	int rc = lh_parts_add_engine(p, of->ops, of->engine, err);
	if (!rc && of->strategy && of->strategy->ops->state)
		rc = of->strategy->ops->state(of->strategy, p, err);
	return rc;
}

static int part_read(const struct lh_checkpoint_of *of, const struct lh_part *p, uint64_t at, size_t n, uint8_t *dst,
		     struct lh_err *err)
{
	if (!p->at && !p->own && of->strategy && of->strategy->ops->shared_read) /* as the last commit left it */
		return of->strategy->ops->shared_read(of->strategy, p->from + at, n, dst, err);
	if (!p->at)
		return (p->own ? of->ops->own_read : of->ops->state_read)(of->engine, p->from + at, n, dst, err);
	memcpy(dst, (const uint8_t *)p->at + at, n);
	return 0;
}

static int part_write(const struct lh_checkpoint_of *of, const struct lh_part *p, uint64_t at, size_t n, const uint8_t *src,
		      bool add, struct lh_err *err)
{
	if (!p->at)
		return (p->own ? of->ops->own_write : of->ops->state_write)(of->engine, p->from + at, n, src, err);
	if (!add) {
		memcpy((uint8_t *)p->at + at, src, n);
		return 0;
	}
	for (size_t i = 0; i < n / sizeof(float); i++) {
		float more;
		memcpy(&more, src + i * sizeof more, sizeof more);
		((float *)p->at)[at / sizeof(float) + i] += more;
	}
	return 0;
}

/* ---- writing ---- */

static int write_all(int fd, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)data + done, len - done);
		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int write_part(int fd, const struct lh_checkpoint_of *of, const struct lh_part *p, uint64_t *ret_hash, uint8_t *chunk,
		      struct lh_err *err)
{
	struct lh_hash64_state hash;
	int rc = 0;
	lh_hash64_init(&hash, 0);
	for (uint64_t at = 0; !rc && at < p->t.bytes; at += CHUNK) {
		size_t n = p->t.bytes - at < CHUNK ? (size_t)(p->t.bytes - at) : CHUNK;
		rc = part_read(of, p, at, n, chunk, err);
		lh_hash64_update(&hash, chunk, n);
		if (!rc)
			rc = write_all(fd, chunk, n);
	}
	*ret_hash = lh_hash64_final(&hash);
	return rc;
}

/* The tensors behind a head that is written last, when their hashes are known. */
static int write_file(int fd, const struct lh_checkpoint_of *of, const struct lh_parts *p, struct lh_state_head *h,
		      struct lh_err *err)
{
	uint8_t *head = calloc(1, h->bytes), *chunk = malloc(CHUNK);
	int rc = head && chunk ? write_all(fd, head, h->bytes) : -ENOMEM;
	for (uint32_t i = 0; !rc && i < p->n; i++)
		rc = write_part(fd, of, &p->part[i], &h->tensors[i].hash, chunk, err);
	if (!rc) {
		lh_state_head_print(h, head);
		rc = lseek(fd, 0, SEEK_SET) < 0 ? -errno : write_all(fd, head, h->bytes);
	}
	if (!rc && fsync(fd))
		rc = -errno;
	free(head);
	free(chunk);
	return rc;
}

static int by_round(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? 1 : x > y ? -1 : 0;
}

/* Rounds of this peer's checkpoints, the newest first; *ret is the caller's to free. */
static int list(const struct lh_peer_config *c, uint32_t **ret, size_t *ret_n)
{
	DIR *dir = opendir(c->checkpoint_dir);
	const struct dirent *e;
	uint32_t *all = NULL, *more;
	size_t n = 0;
	int rc = dir ? 0 : -errno;
	while (!rc && (e = readdir(dir))) {
		unsigned rank;
		uint32_t round;
		if (!lh_state_file_name(e->d_name, &rank, &round) || rank != c->rank)
			continue;
		if (!(more = realloc(all, (n + 1) * sizeof *all))) {
			rc = -ENOMEM;
			break;
		}
		all = more;
		all[n++] = round;
	}
	if (dir)
		closedir(dir);
	if (n)
		qsort(all, n, sizeof *all, by_round);
	*ret = all;
	*ret_n = n;
	return rc;
}

/* A name that lasts, and no more files than asked. Neither is a reason to stop where the file system cannot. */
static void settle(const struct lh_peer_config *c, uint32_t round)
{
	uint32_t *rounds = NULL;
	size_t n = 0, kept = 0, keep = c->checkpoint_keep ? c->checkpoint_keep : KEEP_DEFAULT;
	int dir = open(c->checkpoint_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0) {
		fsync(dir);
		close(dir);
	}
	list(c, &rounds, &n);
	for (size_t i = 0; i < n; i++) {
		char path[LH_CHECKPOINT_PATH];
		lh_checkpoint_path(c, rounds[i], path);
		if (rounds[i] <= round && ++kept > keep)
			unlink(path);
	}
	free(rounds);
}

static int write_beside(const struct lh_checkpoint_of *of, const struct lh_parts *p, struct lh_state_head *h,
			const char *path, struct lh_err *err)
{
	char beside[LH_CHECKPOINT_PATH];
	struct lh_err why = LH_ERR_INIT;
	snprintf(beside, sizeof beside, "%s/.peer-%u.new", of->c->checkpoint_dir, of->c->rank);
	int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "checkpoint %s", beside);
	int rc = write_file(fd, of, p, h, &why);
	if (close(fd) && !rc)
		rc = -errno;
	if (!rc && rename(beside, path))
		rc = -errno;
	if (!rc)
		return 0;
	unlink(beside);
	if (why.code)
		return lh_err_set(err, why.exit, rc, "checkpoint %s: %s", path, why.text);
	return lh_err_sys(err, LH_EXIT_MACHINE, rc, "checkpoint %s (those before it are whole)", path);
}

int lh_checkpoint_write(const struct lh_checkpoint_of *of, struct lh_checkpoint *where, struct lh_err *err)
{
	char path[LH_CHECKPOINT_PATH];
	struct lh_state_text *facts = malloc(sizeof *facts);
	struct lh_parts p = { .n = 0 };
	struct lh_state_head h = { .bytes = 0 };
	lh_checkpoint_path(of->c, where->round, path);
	int rc = facts ? gather(of, &p, err) : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "checkpoint %s", path);
	if (!rc && !(h.tensors = calloc(p.n ? p.n : 1, sizeof *h.tensors)))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "checkpoint %s", path);
	for (uint32_t i = 0; !rc && i < p.n; i++)
		h.tensors[i] = p.part[i].t;
	if (!rc) {
		say_all(facts, of, where);
		h.facts = facts->bytes;
		h.fact_bytes = (uint32_t)facts->n;
		h.ntensors = p.n;
		rc = lh_state_lay_out(&h, err);
	}
	if (!rc)
		rc = write_beside(of, &p, &h, path, err);
	if (!rc) {
		settle(of->c, where->round);
		where->bytes = h.file_bytes;
	}
	free(h.tensors);
	free(facts);
	lh_parts_done(&p);
	return rc;
}

/* ---- reading ---- */

static bool wanted(enum lh_take take, enum lh_state_kind kind)
{
	bool held = kind == LH_STATE_HELD;
	return take == LH_TAKE_ALL || (take == LH_TAKE_HELD ? held : !held && kind != LH_STATE_OWN);
}

static bool same_shape(const struct lh_state_tensor *a, const struct lh_state_tensor *b)
{
	return a->kind == b->kind && a->type == b->type && a->ndim == b->ndim && a->bytes == b->bytes &&
	       !memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape);
}

static char *shape_text(const struct lh_state_tensor *t, char *buf, size_t size)
{
	size_t used = (size_t)snprintf(buf, size, "%s %s", lh_state_kind_names[t->kind], lh_state_type_names[t->type]);
	for (uint32_t i = 0; i < t->ndim && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%llu", i ? " x " : " ", (unsigned long long)t->shape[i]);
	return buf;
}

/* Both ways: nothing is missing, and nothing is left over that would have counted. */
static int check_tensors(const struct lh_state_head *h, const struct lh_parts *p, struct lh_err *err)
{
	char a[128], b[128];
	for (uint32_t i = 0; i < p->n; i++) {
		const struct lh_state_tensor *own = &p->part[i].t, *t = i < h->ntensors ? &h->tensors[i] : NULL;
		if (!t || strcmp(t->name, own->name)) /* in the same order, but for what one of the two lacks */
			t = lh_state_find(h, own->name);
		if (!t)
			return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "of another run: it has no tensor %s", own->name);
		if (!same_shape(t, own))
			return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "of another run: its tensor %s is %s, this run's is %s",
					  own->name, shape_text(t, a, sizeof a), shape_text(own, b, sizeof b));
	}
	for (uint32_t i = 0; h->ntensors != p->n && i < h->ntensors; i++) {
		uint32_t k = 0;
		while (k < p->n && strcmp(p->part[k].t.name, h->tensors[i].name))
			k++;
		if (k == p->n)
			return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "of another run: this run has no use for its tensor %s",
					  h->tensors[i].name);
	}
	return 0;
}

static int take_part(int fd, const struct lh_checkpoint_of *of, const struct lh_part *p, const struct lh_state_tensor *t,
		     bool add, uint8_t *chunk, struct lh_err *err)
{
	struct lh_hash64_state hash;
	int rc = 0;
	lh_hash64_init(&hash, 0);
	for (uint64_t at = 0; !rc && at < t->bytes; at += CHUNK) {
		size_t n = t->bytes - at < CHUNK ? (size_t)(t->bytes - at) : CHUNK;
		ssize_t got = pread(fd, chunk, n, (off_t)(t->offset + at));
		if (got != (ssize_t)n)
			return lh_err_sys(err, LH_EXIT_INPUT, got < 0 ? -errno : -EIO, "tensor %s", t->name);
		lh_hash64_update(&hash, chunk, n);
		rc = part_write(of, p, at, n, chunk, add, err);
	}
	if (!rc && lh_hash64_final(&hash) != t->hash)
		rc = lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "tensor %s changed while it was read", t->name);
	return rc;
}

static int take_parts(int fd, enum lh_take take, const struct lh_checkpoint_of *of, const struct lh_parts *p,
		      const struct lh_state_head *h, struct lh_err *err)
{
	uint8_t *chunk = malloc(CHUNK);
	int rc = chunk ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "checkpoint");
	for (uint32_t i = 0; !rc && i < p->n; i++)
		if (wanted(take, p->part[i].t.kind))
			rc = take_part(fd, of, &p->part[i], lh_state_find(h, p->part[i].t.name), take == LH_TAKE_HELD, chunk,
				       err);
	free(chunk);
	return rc;
}

static int read_file(int fd, enum lh_take take, const struct lh_checkpoint_of *of, struct lh_checkpoint *ret,
		     struct lh_err *err)
{
	struct lh_state_head h;
	struct lh_parts p = { .n = 0 };
	struct lh_state_where where;
	int rc = lh_state_file_read(fd, true, &h, err);
	if (rc)
		return rc;
	rc = lh_state_check_run(&h, of->c, err);
	if (!rc)
		rc = lh_state_parse_where(&h, &where, err);
	if (!rc)
		rc = gather(of, &p, err);
	if (!rc)
		rc = check_tensors(&h, &p, err);
	if (!rc)
		rc = take_parts(fd, take, of, &p, &h, err);
	if (!rc && of->strategy && of->strategy->ops->restored && take != LH_TAKE_HELD)
		rc = of->strategy->ops->restored(of->strategy, where.round, err);
	const uint64_t bytes = h.file_bytes;
	lh_parts_done(&p);
	lh_state_head_done(&h);
	if (!rc)
		*ret = (struct lh_checkpoint){ .rank = where.rank, .size = where.size, .round = where.round,
					       .samples = where.samples, .shared = where.shared, .bytes = bytes };
	return rc;
}

int lh_checkpoint_read(const char *path, enum lh_take take, const struct lh_checkpoint_of *of, struct lh_checkpoint *ret,
		       struct lh_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "checkpoint %s", path);
	int rc = read_file(fd, take, of, ret, err);
	close(fd);
	if (rc)
		lh_err_wrap(err, "checkpoint %s", path);
	return rc;
}

int lh_checkpoint_newest(const struct lh_peer_config *c, char ret[LH_CHECKPOINT_PATH], struct lh_err *err)
{
	uint32_t *rounds = NULL;
	size_t n = 0;
	int rc = list(c, &rounds, &n);
	if (rc)
		lh_err_sys(err, LH_EXIT_MACHINE, rc, "checkpoints in %s", c->checkpoint_dir);
	else if (!n)
		rc = lh_err_set(err, LH_EXIT_INPUT, -ENOENT, "checkpoints in %s: none", c->checkpoint_dir);
	else
		lh_checkpoint_path(c, rounds[0], ret);
	free(rounds);
	return rc;
}
