/* tcp_pace.c - how fast each pair may send, so that what peers share is full and no fuller.
 *
 * Windows that fill an empty path are much more than a busy one holds: a card that seven streams share would drop most of
 * seven windows. The harness says how many bytes of the vector a second the fullest thing lets through
 * (config.pace_byte_per_s); a pair gets of that what it carries of the vector by the algorithm's trees, and TCP spreads
 * its segments accordingly (SO_MAX_PACING_RATE).
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "pattern/pattern.h"
#include "tcp_internal.h"

/* A vector long enough that no block of it is rounded. */
#define ELEMENTS (UINT64_C(1) << 40)

int tcp_pace_init(struct tcp *t, struct lh_err *err)
{
	const struct lh_peer_config *c = t->c;
	const struct lh_pattern *p = lh_pattern_find(c->algorithm);
	struct lh_group g;
	if (c->sockets != LH_SOCKETS_TUNED || c->size < 2)
		return 0;
	t->carries = calloc(c->size, sizeof *t->carries);
	int rc = t->carries ? lh_group_of(c, &g, err) : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "pacing");
	if (rc)
		return rc;
	for (unsigned b = 0; b < p->blocks(&g); b++) {
		double share = (double)p->block(&g, ELEMENTS, b).length / (double)ELEMENTS;
		unsigned root = p->root(&g, b);
		if (c->rank != root)
			t->carries[p->up(&g, b, c->rank)] += share;
		for (unsigned r = 0; r < c->size; r++)
			if (r != root && p->down(&g, b, r) == c->rank)
				t->carries[r] += share;
	}
	lh_group_done(&g);
	return 0;
}

void tcp_pace_pair(const struct tcp *t, const struct tcp_pair *p)
{
	double pace = t->carries ? t->carries[p->rank] * (double)t->c->pace_byte_per_s : 0;
	if (!(pace > 0))
		return;
	for (unsigned k = 0; k < p->nstreams; k++) {
		uint64_t rate = (uint64_t)(pace / p->nstreams) + 1;
		if (p->conns[k])
			setsockopt(p->conns[k]->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate);
	}
}
