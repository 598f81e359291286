/* See resume.h. */
#include "resume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


/* More files than peers could have kept are somebody else's. */
enum { FILES_MAX = 1 << 20 };

struct found { unsigned rank; uint32_t round; char path[sizeof ((struct lh_resume *)0)->path]; };

struct search {
	const char *dir;
	struct found *file;
	size_t n;
};

static int add(struct search *s, const char *folder, const char *name, struct lh_err *err)
{
	struct found f, *more;

	if (!lh_state_file_name(name, &f.rank, &f.round))
		return 0;
	if (snprintf(f.path, sizeof f.path, "%s/%s", folder, name) >= (int)sizeof f.path)
		return lh_err_set(err, LH_EXIT_INPUT, -ENAMETOOLONG, "%s/%s: longer than %zu characters, the most for a "
				  "checkpoint", folder, name, sizeof f.path - 1);
	if (s->n == FILES_MAX || !(more = realloc(s->file, (s->n + 1) * sizeof *more)))
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "--resume %s", s->dir);
	s->file = more;
	s->file[s->n++] = f;
	return 0;
}

/* checkpoints/PEER/peer-RANK-round-ROUND.checkpoint */
static int search_folder(struct search *s, const char *folder, struct lh_err *err)
{
	DIR *d = opendir(folder);
	const struct dirent *e;
	int rc = 0;

	while (d && rc == 0 && (e = readdir(d)))
		rc = add(s, folder, e->d_name, err);
	if (d)
		closedir(d);
	return rc;
}

static int search(struct search *s, struct lh_err *err)
{
	char path[PATH_MAX], root[PATH_MAX], folder[PATH_MAX + 300];
	const struct dirent *e;
	int rc = 0;

	snprintf(path, sizeof path, "%s/checkpoints", s->dir);
	DIR *d = realpath(path, root) ? opendir(root) : NULL;
	if (!d)
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "--resume %s: %s", s->dir, path);
	while (rc == 0 && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(folder, sizeof folder, "%s/%s", root, e->d_name);
		rc = search_folder(s, folder, err);
	}
	closedir(d);
	if (rc == 0 && !s->n)
		rc = lh_err_set(err, LH_EXIT_INPUT, -ENOENT, "--resume %s: no checkpoint in %s (training.checkpoint-rounds "
				"writes them)", s->dir, path);
	return rc;
}

/* Its head, or with `whole` every byte. */
static int look(const struct found *f, const struct lh_peer_config *c, bool whole, struct lh_state_where *ret,
		struct lh_state_changes *changed, struct lh_err *err)
{
	struct lh_state_head h;
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "checkpoint %s", f->path);
	int rc = lh_state_file_read(fd, whole, &h, err);
	close(fd);
	if (rc == 0) {
		rc = lh_state_check_run(&h, c, err);
		if (rc == 0)
			rc = lh_state_parse_where(&h, ret, err);
		if (rc == 0 && (ret->rank != f->rank || ret->round != f->round))
			rc = lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "renamed: it is of rank %u after round %u", ret->rank,
					ret->round);
		if (rc == 0 && changed)
			lh_state_changes(&h, c, changed);
		lh_state_head_done(&h);
	}
	if (rc < 0)
		lh_err_wrap(err, "checkpoint %s", f->path);
	return rc;
}

static const struct found *find(const struct search *s, unsigned rank, uint32_t round)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->file[i].rank == rank && s->file[i].round == round)
			return &s->file[i];
	return NULL;
}

/* The newest round that all ranks have; of an elastic group, that any has: what one member has committed, all have. */
static uint32_t newest(const struct search *s, const struct lh_state_where *w)
{
	uint32_t best = 0;

	for (size_t i = 0; i < s->n; i++) {
		unsigned have = 0;
		for (unsigned rank = 0; rank < w->size && s->file[i].round > best && !w->elastic; rank++)
			have += find(s, rank, s->file[i].round) != NULL;
		if (s->file[i].round > best && (w->elastic || have == w->size))
			best = s->file[i].round;
	}
	return best;
}

static int take(struct lh_resume_plan *p, unsigned rank, const struct found *f, enum lh_take what, struct lh_err *err)
{
	struct lh_resume *more = realloc(p->files, (p->nfiles + 1) * sizeof *more);

	if (!more)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "checkpoint %s", f->path);
	p->files = more;
	p->files[p->nfiles] = (struct lh_resume){ .rank = rank, .take = what };
	memcpy(p->files[p->nfiles++].path, f->path, sizeof f->path);
	return 0;
}

/* Who has a file of its own takes that; others start from somebody's replica. What a rank that is no more still had to give,
 * another gives. */
static int deal(struct lh_resume_plan *p, const struct search *s, unsigned npeers, struct lh_err *err)
{
	const struct found *any = NULL;
	int rc = 0;

	for (unsigned rank = 0; rank < p->size && !any; rank++)
		any = find(s, rank, p->round);
	for (unsigned i = 0; rc == 0 && any && i < npeers; i++) {
		const struct found *own = i < p->size ? find(s, i, p->round) : NULL;
		const struct found *other = find(s, i % p->size, p->round);
		rc = take(p, i, own ? own : other ? other : any, own ? LH_TAKE_ALL : LH_TAKE_SHARED, err);
		for (unsigned old = i + npeers; rc == 0 && old < p->size; old += npeers)
			if (find(s, old, p->round))
				rc = take(p, i, find(s, old, p->round), LH_TAKE_HELD, err);
	}
	return rc;
}

static int check_files(const struct lh_resume_plan *p, const struct search *s, const struct lh_peer_config *c, bool whole,
		       const struct lh_state_where *first, struct lh_err *err)
{
	for (unsigned rank = 0; rank < p->size; rank++) {
		const struct found *f = find(s, rank, p->round);
		struct lh_state_where w;
		int rc = f ? look(f, c, whole, &w, NULL, err) : 0;
		if (rc == 0 && f && (w.size != first->size || w.shared != first->shared || w.samples != first->samples))
			rc = lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "checkpoint %s: of another group than the others (%u peers, "
					"%llu samples)", f->path, w.size, (unsigned long long)w.samples);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* What can be said of the run before its network is there. */
static struct lh_peer_config run_of(const struct lh_experiment *exp)
{
	const struct lh_training *tr = &exp->training;
	struct lh_peer_config c = { .data = tr->data, .wire = tr->wire, .codec = tr->codec, .sync = tr->sync, .target_batch = tr->target_batch,
				    .seed = tr->seed, .learning_rate = tr->learning_rate, .optim = tr->optim,
				    .epochs = tr->epochs, .precision = tr->precision, .microbatch = tr->microbatch };

	snprintf(c.model, sizeof c.model, "%s", tr->model);
	return c;
}

static int plan(const struct search *s, const struct lh_experiment *exp, bool whole, struct lh_resume_plan *p,
		struct lh_err *err)
{
	const struct lh_peer_config c = run_of(exp);
	struct lh_state_where w;
	size_t latest = 0;

	for (size_t i = 1; i < s->n; i++)
		latest = s->file[i].round > s->file[latest].round ? i : latest;
	int rc = look(&s->file[latest], &c, false, &w, NULL, err);
	if (rc < 0)
		return rc;
	p->size = w.size;
	p->round = newest(s, &w);
	if (!p->round)
		return lh_err_set(err, LH_EXIT_INPUT, -ENOENT, "--resume %s: no round of which all %u peers have a checkpoint",
				  s->dir, w.size);
	for (unsigned rank = 0; rank < p->size; rank++)
		if (find(s, rank, p->round)) {
			rc = look(find(s, rank, p->round), &c, false, &w, &p->changed, err);
			break;
		}
	p->shared = w.shared;
	p->samples = w.samples;
	if (rc == 0)
		rc = check_files(p, s, &c, whole, &w, err);
	if (rc < 0)
		return rc;
	if (p->round >= exp->training.epochs)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--resume %s: it has %u rounds, and training.epochs is %u: "
				  "nothing is left to do", s->dir, p->round, exp->training.epochs);
	if (exp->topology.npeers != p->size && !p->shared)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--resume %s: after round %u its %u peers held different "
				  "parameters (strategy %s), so only as many can go on, and these are %u; a round that ends with an "
				  "exchange will do", s->dir, p->round, p->size,
				  lh_strategy_names[exp->training.sync.strategy], exp->topology.npeers);
	return deal(p, s, exp->topology.npeers, err);
}

int lh_resume_find(const char *dir, const struct lh_experiment *exp, bool whole, struct lh_resume_plan *ret,
		   struct lh_err *err)
{
	struct search s = { .dir = dir };
	struct lh_resume_plan p = { 0 };
	int rc = search(&s, err);

	if (rc == 0)
		rc = plan(&s, exp, whole, &p, err);
	free(s.file);
	if (rc < 0)
		lh_resume_done(&p);
	else
		*ret = p;
	return rc;
}

void lh_resume_done(struct lh_resume_plan *p)
{
	free(p->files);
	*p = (struct lh_resume_plan){ 0 };
}
