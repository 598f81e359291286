/* Turns on a shared device: one at a time, fair by time and not by number, and no death holds up the others. */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lhtest.h"
#include "turn.h"

struct room { /* what the processes of a test see of each other */
	_Atomic int inside, most_inside, ready, go;
	_Atomic long steps[4];
	double share[4];
};

static struct room *make_room(void)
{
	struct room *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_PTR_NOT_EQUAL_FATAL(r, MAP_FAILED);
	return r;
}

static void pass(lh_ns ns)
{
	struct timespec t = { .tv_sec = ns / LH_NS_PER_S, .tv_nsec = ns % LH_NS_PER_S };
	nanosleep(&t, NULL);
}

/* Steps of so long until `until_ns`; more than one inside is seen. */
static void work(int fd, unsigned rank, lh_ns step_ns, lh_ns for_ns, struct room *room)
{
	struct lh_turn *t;
	lh_ns waited = 0, held = 0;
	if (lh_turn_open(fd, rank, &t, NULL))
		_exit(2);
	atomic_fetch_add(&room->ready, 1);
	while (!atomic_load(&room->go))
		pass(LH_NS_PER_MS);
	const lh_ns until = lh_clock_ns() + for_ns;
	while (lh_clock_ns() < until) {
		if (lh_turn_take(t, &waited, NULL))
			_exit(3);
		int n = atomic_fetch_add(&room->inside, 1) + 1;
		if (n > atomic_load(&room->most_inside))
			atomic_store(&room->most_inside, n);
		pass(step_ns);
		atomic_fetch_sub(&room->inside, 1);
		atomic_fetch_add(&room->steps[rank], 1);
		if (lh_turn_give(t, &held, NULL))
			_exit(4);
	}
	room->share[rank] = lh_turn_share(t);
	lh_turn_close(t);
	_exit(0);
}

static void start(struct room *room, int n)
{
	while (atomic_load(&room->ready) < n)
		pass(LH_NS_PER_MS);
	atomic_store(&room->go, 1);
}

static void reap(pid_t *pids, int n)
{
	for (int i = 0; i < n; i++) {
		int status = -1;
		CU_ASSERT_EQUAL(waitpid(pids[i], &status, 0), pids[i]);
		CU_ASSERT_EQUAL(status, 0);
	}
}

/* Steps of 6 ms beside steps of 2 ms: a third of the time each, so thrice as many short ones. */
static void test_fair(void)
{
	struct room *room = make_room();
	pid_t pids[3];
	int fd = -1;
	CU_ASSERT_EQUAL_FATAL(lh_turn_create(3, &fd, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		if (!(pids[i] = fork()))
			work(fd, i, i == 0 ? 6 * LH_NS_PER_MS : 2 * LH_NS_PER_MS, 1200 * LH_NS_PER_MS, room);
	start(room, 3);
	reap(pids, 3);
	CU_ASSERT_EQUAL(room->most_inside, 1);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT(room->share[i] > 0.27 && room->share[i] < 0.40);
		CU_ASSERT(room->steps[i] > 10);
	}
	CU_ASSERT(room->steps[1] > 3 * room->steps[0] / 2);
	close(fd);
}

/* A peer is killed with the device in its hands; the next has it soon after, and the dead one may come again. */
static void test_killed_holder(void)
{
	struct room *room = make_room();
	struct lh_turn *t;
	lh_ns waited = 0, held = 0;
	int fd = -1, status = 0;
	CU_ASSERT_EQUAL_FATAL(lh_turn_create(3, &fd, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_turn_open(fd, 0, &t, NULL), 0);
	pid_t holder = fork();
	if (!holder)
		work(fd, 1, 3600 * LH_NS_PER_S, LH_NS_PER_S, room); /* takes it and keeps it */
	pid_t waiter = fork();
	if (!waiter) {
		while (!atomic_load(&room->inside))
			pass(LH_NS_PER_MS);
		work(fd, 2, LH_NS_PER_MS, LH_NS_PER_S, room); /* waits */
	}
	start(room, 1);
	while (!atomic_load(&room->inside) || atomic_load(&room->ready) < 2)
		pass(LH_NS_PER_MS);
	pass(30 * LH_NS_PER_MS);
	/* The waiter dies first: nobody may be given the device who is no more there. */
	kill(waiter, SIGKILL);
	waitpid(waiter, &status, 0);
	kill(holder, SIGKILL);
	waitpid(holder, &status, 0);
	CU_ASSERT_EQUAL(lh_turn_take(t, &waited, NULL), 0);
	CU_ASSERT(waited < LH_NS_PER_S);
	CU_ASSERT_EQUAL(lh_turn_give(t, &held, NULL), 0);
	/* Again, as rank 1: it steps, and does not stand behind its dead self. */
	atomic_store(&room->inside, 0);
	pid_t again = fork();
	if (!again)
		work(fd, 1, LH_NS_PER_MS, 50 * LH_NS_PER_MS, room);
	reap(&again, 1);
	CU_ASSERT(room->steps[1] > 3);
	lh_turn_close(t);
	close(fd);
}

/* Killed at any moment, again and again: the lock itself may be in its hands. */
static void test_killed_anywhere(void)
{
	struct room *room = make_room();
	struct lh_turn *t;
	int fd = -1;
	CU_ASSERT_EQUAL_FATAL(lh_turn_create(2, &fd, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_turn_open(fd, 0, &t, NULL), 0);
	atomic_store(&room->go, 1);
	unsigned long long seed = lh_test_seed();
	for (int i = 0; i < 40; i++) {
		lh_ns waited = 0, held = 0;
		int status;
		pid_t pid = fork();
		if (!pid)
			work(fd, 1, 1000, LH_NS_PER_S, room);
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		const lh_ns until = lh_clock_ns() + (lh_ns)(seed >> 40) % (5 * LH_NS_PER_MS);
		while (lh_clock_ns() < until) {
			CU_ASSERT_EQUAL(lh_turn_take(t, &waited, NULL), 0);
			CU_ASSERT_EQUAL(lh_turn_give(t, &held, NULL), 0);
		}
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		waited = 0;
		CU_ASSERT_EQUAL(lh_turn_take(t, &waited, NULL), 0);
		CU_ASSERT_EQUAL(lh_turn_give(t, &held, NULL), 0);
		CU_ASSERT(waited < LH_NS_PER_S);
	}
	lh_turn_close(t);
	close(fd);
}

static void test_refused(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_turn *t, *twice;
	int fd = -1, other[2];
	CU_ASSERT(lh_turn_create(0, &fd, &err) < 0);
	CU_ASSERT(lh_turn_create(LH_TURN_RANKS_MAX + 1, &fd, &err) < 0);
	CU_ASSERT_EQUAL_FATAL(lh_turn_create(2, &fd, &err), 0);
	CU_ASSERT(lh_turn_open(fd, 2, &t, &err) < 0);
	CU_ASSERT_EQUAL(lh_turn_open(fd, 1, &t, &err), 0);
	CU_ASSERT(lh_turn_open(fd, 1, &twice, &err) < 0); /* somebody is that rank */
	lh_turn_close(t);
	CU_ASSERT_EQUAL_FATAL(pipe(other), 0);
	CU_ASSERT(lh_turn_open(other[0], 0, &t, &err) < 0);
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "one at a time, fair by time", test_fair, LH_TEST_FORK },
		{ "a holder that is killed", test_killed_holder, LH_TEST_FORK },
		{ "killed at any moment", test_killed_anywhere, LH_TEST_FORK },
		{ "what is refused", test_refused, LH_TEST_FORK },
	};
	return lh_test_main(argc, argv, "turn", tests, sizeof tests / sizeof *tests);
}
