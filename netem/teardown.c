/* teardown.c - backwards through the journal.
 *
 * Deleting interfaces costs the kernel grace periods of RCU (some 30 ms a request on the machines we measured, however
 * many interfaces it covers), which pass for several requests at once when these come from several threads. So all
 * interfaces of a router go by one request, and the routers' requests are sent side by side. A namespace itself goes when
 * its last fd is closed; the kernel frees it later in a worker of its own, but nothing can be found in it any more.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "link.h"
#include "op.h"
#include "write.h"

enum { DROPPERS = 16, DROPPER_STACK = 256 * 1024 };

struct dropper {
	pthread_mutex_t lock;
	struct lh_net *net;
	size_t next; /* namespace to look at */
};

static bool has_links(const struct lh_net *net, size_t i)
{
	enum lh_netns_kind kind = net->plan->netns[i].kind;
	return (kind == LH_NETNS_GATEWAY || kind == LH_NETNS_ACCESS) && net->netns[i].writer && !net->netns[i].links_gone;
}

static void *drop(void *ctx)
{
	struct dropper *d = ctx;
	for (;;) {
		pthread_mutex_lock(&d->lock);
		while (d->next < d->net->plan->nnetns && !has_links(d->net, d->next))
			d->next++;
		size_t i = d->next++;
		pthread_mutex_unlock(&d->lock);
		if (i >= d->net->plan->nnetns)
			return NULL;
		int rc = lh_writer_do(d->net->netns[i].writer, lh_msg_delete_group(), NULL);
		/* A failure is left to the journal, which tries again and reports. */
		d->net->netns[i].links_gone = !rc || rc == -ENODEV;
	}
}

/* Threads live only during this call; signals stay with the caller's. */
static void drop_links(struct lh_net *net)
{
	struct dropper d = { PTHREAD_MUTEX_INITIALIZER, net, 0 };
	pthread_t threads[DROPPERS];
	pthread_attr_t attr;
	sigset_t all, old;
	size_t n = 0, want = 0;
	for (size_t i = 0; i < net->plan->nnetns; i++)
		want += has_links(net, i);
	if (pthread_attr_init(&attr))
		return;
	pthread_attr_setstacksize(&attr, DROPPER_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (n < DROPPERS && n + 1 < want && !pthread_create(&threads[n], &attr, drop, &d))
		n++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	drop(&d);
	while (n > 0)
		pthread_join(threads[--n], NULL);
	pthread_attr_destroy(&attr);
}

int lh_net_undo(struct lh_net *net, struct lh_err *err)
{
	int first = 0;
	drop_links(net);
	for (size_t i = net->done; i-- > 0;) {
		const struct lh_op *op = &net->plan->ops[i];
		struct lh_err one = LH_ERR_INIT;
		int rc = lh_op_table[op->kind].undo ? lh_op_table[op->kind].undo(net, op, &one) : 0;
		if (!rc || first)
			continue;
		char what[256];
		first = rc;
		lh_err_set(err, LH_EXIT_MACHINE, rc, "undo of %s: %s",
			   lh_op_print(net->plan, op, what, sizeof what), one.text);
	}
	net->done = 0;
	return first;
}
