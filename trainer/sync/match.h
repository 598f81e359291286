/* match.h - which peers average with whom, as hivemind's matchmaking finds groups. Pure.
 *
 * A peer that looks for a group declares until when: so long after it began. Of those who look, the one whose time is
 * up first leads; who has begun to look by then is in its group, who begins later is not, and finds another. A leader
 * whom nobody has found by then declares itself anew, since nobody averages alone who could do it with others.
 * docs/decisions/0032-split-groups.md has what this stands for and what it leaves out.
 */
#ifndef TRAINER_SYNC_MATCH_H
#define TRAINER_SYNC_MATCH_H

#include "longhaul/units.h"

struct lh_match {
	unsigned leader;  /* of this peer's group: a rank; groups have different ones */
	lh_ns close_ns;   /* when the group is found: no exchange of it begins before */
};

/* search_ns: [n] when each began to look. Fills ret[n]; returns how many groups there are. */
unsigned lh_match(const lh_ns *search_ns, unsigned n, lh_ns window_ns, struct lh_match *ret);

#endif
