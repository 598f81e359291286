/* tcp_nodes.h - some peers in one process, each a real TCP transport on 127/8, and turns that let all of them go on. */
#ifndef TESTS_TCP_NODES_H
#define TESTS_TCP_NODES_H

#include "comm/allreduce.h"
#include "comm/tcp_internal.h"

enum { NODES = 4, LOG_MAX = 64 };

struct said { /* what the member user was told */
	char kind; /* 'f'ound, 'l'ost, 'm'essage, 's'tate */
	unsigned peer;
	uint32_t number;
	char text[64];
};

struct node {
	struct lh_peer_config c;
	struct lh_peer_endpoint peers[NODES];
	struct lh_transport *t; /* NULL: not there */
	struct said log[LOG_MAX];
	unsigned nlog;
	float *vector;
	uint64_t n;
	struct lh_allreduce *a;
	/* As a user with hand-made frames. */
	struct lh_frame out;
	unsigned out_to, out_left;
	uint8_t payload[1000], taken[1000];
	unsigned received;
	uint32_t last_part;
	unsigned states_left;
};

extern struct node nodes[NODES];
extern unsigned nnodes;
/* Called after each turn, where there is one. */
extern void (*after_turn)(void);

/* Configurations of n peers at addresses of their own; nobody is started. */
void set_up(unsigned n, uint32_t streams, enum lh_membership membership);
void start(struct node *v);
void stop(struct node *v);
/* Everybody goes on once; fails the test where one cannot. */
void turn(void);
/* Until `over` says so; false after ten seconds. */
bool run_until(bool (*over)(void));
void run_for(lh_ns ns);
bool all_joined(void);
void stop_all(void);

#endif
