/* turn.c - see turn.h. The lock is held for microseconds; who waits for its turn sleeps on a futex that every change of
 * holder moves on, and wakes by itself now and then to see whether the holder is still there. */
#include "turn.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x6e7275746c756168)
#define LOOK_NS (20 * LH_NS_PER_MS) /* so long a dead holder holds up the others at most */

enum { NOBODY = -1 };

struct rank {
	pthread_mutex_t life;  /* held by the rank's process while it is there */
	uint32_t present, waits;
	lh_ns held_ns;         /* how long it had the device; a rank that comes begins with the least of the others */
};

struct shared {
	uint64_t magic;
	uint32_t ranks;
	pthread_mutex_t lock;
	int32_t holder;
	_Atomic uint32_t moves; /* futex: changes of holder */
	lh_ns since_ns;
	struct rank rank[LH_TURN_RANKS_MAX];
};

struct lh_turn {
	struct shared *s;
	unsigned rank;
	bool holds;
	lh_ns since_ns;
};

static int init_mutex(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;
	int rc = pthread_mutexattr_init(&a);
	if (rc)
		return rc;
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	rc = pthread_mutex_init(m, &a);
	pthread_mutexattr_destroy(&a);
	return rc;
}

/* Whoever died with it left nothing half done: each change under it is one store. */
static int lock(pthread_mutex_t *m)
{
	int rc = pthread_mutex_lock(m);
	return rc == EOWNERDEAD ? pthread_mutex_consistent(m) : rc;
}

static void wake(struct shared *s)
{
	atomic_fetch_add(&s->moves, 1);
	syscall(SYS_futex, &s->moves, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* With the lock: is that rank's process there? One that is not is forgotten. */
static bool alive(struct shared *s, unsigned rank)
{
	struct rank *r = &s->rank[rank];
	if (!r->present)
		return false;
	int rc = pthread_mutex_trylock(&r->life);
	if (rc == EBUSY)
		return true;
	if (rc == EOWNERDEAD)
		pthread_mutex_consistent(&r->life);
	if (rc == 0 || rc == EOWNERDEAD)
		pthread_mutex_unlock(&r->life);
	r->present = r->waits = 0;
	return false;
}

static unsigned next_of(struct shared *s)
{
	unsigned best = LH_TURN_RANKS_MAX;
	for (unsigned i = 0; i < s->ranks; i++)
		if (s->rank[i].waits && (best == LH_TURN_RANKS_MAX || s->rank[i].held_ns < s->rank[best].held_ns) && alive(s, i))
			best = i;
	return best;
}

int lh_turn_create(unsigned ranks, int *ret_fd, struct lh_err *err)
{
	if (!ranks || ranks > LH_TURN_RANKS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%u peers share a device; at most %d can", ranks, LH_TURN_RANKS_MAX);
	int fd = memfd_create("longhaul-turns", MFD_CLOEXEC);
	int rc = fd < 0 || ftruncate(fd, sizeof(struct shared)) ? -errno : 0;
	struct shared *s = rc ? MAP_FAILED : mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!rc && s == MAP_FAILED)
		rc = -errno;
	if (!rc) {
		s->ranks = ranks;
		s->holder = NOBODY;
		rc = -init_mutex(&s->lock);
		for (unsigned i = 0; !rc && i < ranks; i++)
			rc = -init_mutex(&s->rank[i].life);
		s->magic = MAGIC;
		munmap(s, sizeof *s);
	}
	if (rc) {
		if (fd >= 0)
			close(fd);
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "turns of a shared device");
	}
	*ret_fd = fd;
	return 0;
}

static int map(int fd, unsigned rank, struct shared **ret, struct lh_err *err)
{
	struct stat info;
	struct shared *s = MAP_FAILED;
	if (!fstat(fd, &info) && info.st_size == sizeof *s)
		s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s != MAP_FAILED && s->magic == MAGIC && s->ranks <= LH_TURN_RANKS_MAX && rank < s->ranks) {
		*ret = s;
		return 0;
	}
	if (s != MAP_FAILED)
		munmap(s, sizeof *s);
	return lh_err_set(err, LH_EXIT_MACHINE, -EINVAL, "descriptor %d: not the turns of a shared device, or not for rank %u", fd,
			  rank);
}

int lh_turn_open(int fd, unsigned rank, struct lh_turn **ret, struct lh_err *err)
{
	struct lh_turn *t = calloc(1, sizeof *t);
	int rc = t ? map(fd, rank, &t->s, err) : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "shared device");
	if (rc) {
		free(t);
		return rc;
	}
	struct rank *r = &t->s->rank[rank];
	lh_ns least = INT64_MAX;
	t->rank = rank;
	rc = pthread_mutex_trylock(&r->life);
	if (rc == EOWNERDEAD)
		rc = pthread_mutex_consistent(&r->life);
	if (!rc && !(rc = lock(&t->s->lock))) {
		for (unsigned i = 0; i < t->s->ranks; i++)
			if (i != rank && t->s->rank[i].present && t->s->rank[i].held_ns < least)
				least = t->s->rank[i].held_ns;
		if (least != INT64_MAX && r->held_ns < least)
			r->held_ns = least; /* who comes late has no arrears to make up */
		r->present = 1;
		r->waits = 0;
		if (t->s->holder == (int32_t)rank)
			t->s->holder = NOBODY;
		pthread_mutex_unlock(&t->s->lock);
	}
	if (rc) {
		munmap(t->s, sizeof *t->s);
		free(t);
		return lh_err_sys(err, LH_EXIT_MACHINE, -rc, "shared device: rank %u", rank);
	}
	*ret = t;
	return 0;
}

static void sleep_until_moved(struct shared *s, uint32_t seen)
{
	const struct timespec look = { .tv_nsec = LOOK_NS };
	syscall(SYS_futex, &s->moves, FUTEX_WAIT, seen, &look, NULL, 0);
}

int lh_turn_take(struct lh_turn *t, lh_ns *ret_waited_ns, struct lh_err *err)
{
	struct shared *s = t->s;
	const lh_ns begin = lh_clock_ns();
	for (;;) {
		int rc = lock(&s->lock);
		if (rc)
			return lh_err_sys(err, LH_EXIT_BROKE, -rc, "device: its turns");
		s->rank[t->rank].waits = 1;
		const uint32_t seen = atomic_load(&s->moves);
		if (s->holder != NOBODY && !alive(s, (unsigned)s->holder))
			s->holder = NOBODY;
		bool mine = s->holder == NOBODY && next_of(s) == t->rank;
		bool another = s->holder == NOBODY && !mine;
		if (mine) {
			s->holder = (int32_t)t->rank;
			s->rank[t->rank].waits = 0;
		}
		pthread_mutex_unlock(&s->lock);
		if (mine)
			break;
		if (another) /* its turn, and perhaps it sleeps */
			wake(s);
		sleep_until_moved(s, another ? atomic_load(&s->moves) : seen);
	}
	t->holds = true;
	t->since_ns = lh_clock_ns();
	*ret_waited_ns += t->since_ns - begin;
	return 0;
}

int lh_turn_give(struct lh_turn *t, lh_ns *ret_held_ns, struct lh_err *err)
{
	if (!t->holds)
		return 0;
	const lh_ns held = lh_clock_ns() - t->since_ns;
	int rc = lock(&t->s->lock);
	if (rc)
		return lh_err_sys(err, LH_EXIT_BROKE, -rc, "device: its turns");
	t->s->rank[t->rank].held_ns += held;
	t->s->holder = NOBODY;
	pthread_mutex_unlock(&t->s->lock);
	t->holds = false;
	*ret_held_ns += held;
	wake(t->s);
	return 0;
}

double lh_turn_share(struct lh_turn *t)
{
	lh_ns all = 0, own = 0;
	if (lock(&t->s->lock))
		return 0;
	for (unsigned i = 0; i < t->s->ranks; i++)
		all += t->s->rank[i].held_ns;
	own = t->s->rank[t->rank].held_ns;
	pthread_mutex_unlock(&t->s->lock);
	return all ? (double)own / (double)all : 0;
}

void lh_turn_close(struct lh_turn *t)
{
	lh_ns ignored = 0;
	if (!t)
		return;
	lh_turn_give(t, &ignored, NULL);
	if (!lock(&t->s->lock)) {
		t->s->rank[t->rank].present = t->s->rank[t->rank].waits = 0;
		pthread_mutex_unlock(&t->s->lock);
	}
	pthread_mutex_unlock(&t->s->rank[t->rank].life);
	munmap(t->s, sizeof *t->s);
	free(t);
}
