/* read.c - the exchange with the kernel: ask, receive, decode each message, begin again where the kernel says that
 * the answer is not consistent. */
#include "read_internal.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	BUFFER_BYTES = 64 * 1024,  /* the kernel sends at most 32 KiB at once */
	DUMP_TRIES = 8,
	ITEMS_MAX = 1 << 20,
};

struct lh_reader {
	struct mnl_socket *nl;
	uint32_t seq, port;
	_Alignas(8) char buf[BUFFER_BYTES];
};

/* A growing array of decoded items. */
struct list {
	lh_decode_fn *decode;
	size_t item_bytes, n, room;
	char *items;
	bool interrupted;
	int code; /* of the first message that was refused */
	struct lh_err *err;
};

int lh_reader_open(struct lh_reader **ret, struct lh_err *err)
{
	struct lh_reader *r = calloc(1, sizeof *r);
	if (!r)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "netlink socket");
	r->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!r->nl || mnl_socket_bind(r->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		int code = -errno;
		lh_reader_close(r);
		return lh_err_sys(err, LH_EXIT_MACHINE, code, "netlink socket");
	}
	r->port = mnl_socket_get_portid(r->nl);
	*ret = r;
	return 0;
}

void lh_reader_close(struct lh_reader *r)
{
	if (!r)
		return;
	if (r->nl)
		mnl_socket_close(r->nl);
	free(r);
}

static int grow(struct list *l)
{
	if (l->n < l->room)
		return 0;
	size_t room = l->room ? 2 * l->room : 16;
	char *items = room > ITEMS_MAX ? NULL : realloc(l->items, room * l->item_bytes);
	if (!items)
		return lh_err_sys(l->err, LH_EXIT_MACHINE, -ENOMEM, "netlink dump");
	l->items = items;
	l->room = room;
	return 0;
}

static void take_message(const struct nlmsghdr *nlh, struct list *l)
{
	int rc = grow(l);
	if (!rc)
		rc = l->decode(nlh, l->items + l->n * l->item_bytes, l->err);
	if (!rc)
		l->n++;
	if (rc < 0 && !l->code)
		l->code = rc;
}

/* The number at the end of a dump or in an acknowledgement: 0 or the kernel's refusal. */
static int verdict(const struct nlmsghdr *nlh)
{
	int code = 0; /* struct nlmsgerr starts with it too */
	if (mnl_nlmsg_get_payload_len(nlh) >= sizeof code)
		memcpy(&code, mnl_nlmsg_get_payload(nlh), sizeof code);
	return code < 0 ? code : 0;
}

/* Send the request in r->buf and decode all answers. Always read to the end, also past a message that was refused or
 * marked as interrupted: what is left in the socket would answer the next question. The kernel's refusal is returned
 * as it is, without a text. */
static int exchange(struct lh_reader *r, struct nlmsghdr *request, struct list *l)
{
	request->nlmsg_seq = ++r->seq;
	if (mnl_socket_sendto(r->nl, request, request->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(r->nl, r->buf, sizeof r->buf);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		int len = (int)n;
		for (struct nlmsghdr *nlh = (struct nlmsghdr *)r->buf; mnl_nlmsg_ok(nlh, len);
		     nlh = mnl_nlmsg_next(nlh, &len)) {
			if (nlh->nlmsg_seq != r->seq || nlh->nlmsg_pid != r->port)
				continue;
			if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
				l->interrupted = true;
			if (nlh->nlmsg_type == NLMSG_DONE || nlh->nlmsg_type == NLMSG_ERROR)
				return verdict(nlh);
			if (nlh->nlmsg_type >= NLMSG_MIN_TYPE)
				take_message(nlh, l);
		}
	}
}

static struct nlmsghdr *request(struct lh_reader *r, uint16_t type, uint16_t flags, const void *body, size_t size)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(r->buf);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	memcpy(mnl_nlmsg_put_extra_header(nlh, size), body, size);
	return nlh;
}

struct dump {
	const char *what;
	uint16_t type;
	const void *body;
	size_t body_bytes, item_bytes;
	lh_decode_fn *decode;
};

static int dump(struct lh_reader *r, const struct dump *d, void **ret, size_t *ret_n, struct lh_err *err)
{
	int rc = -EINTR;
	for (int i = 0; i < DUMP_TRIES && rc == -EINTR; i++) {
		struct list l = { .decode = d->decode, .item_bytes = d->item_bytes, .err = err };
		rc = exchange(r, request(r, d->type, NLM_F_DUMP, d->body, d->body_bytes), &l);
		if (!rc && l.interrupted)
			rc = -EINTR;
		if (!rc && l.code) {
			free(l.items);
			return lh_err_wrap(err, "reading %s", d->what);
		}
		if (!rc) {
			*ret = l.items;
			*ret_n = l.n;
			return 0;
		}
		free(l.items);
	}
	return lh_err_sys(err, LH_EXIT_MACHINE, rc, "reading %s", d->what);
}

#define DUMP(what_, type_, header_, decode_, ret_, ret_n_)                                              \
	dump(r, &(struct dump){ .what = (what_), .type = (type_), .body = &(header_){ 0 },              \
				.body_bytes = sizeof(header_), .item_bytes = sizeof **(ret_), .decode = (decode_) }, \
	     (void **)(ret_), (ret_n_), err)

int lh_read_links(struct lh_reader *r, struct lh_seen_link **ret, size_t *ret_n, struct lh_err *err)
{
	return DUMP("interfaces", RTM_GETLINK, struct ifinfomsg, lh_decode_link, ret, ret_n);
}

int lh_read_qdiscs(struct lh_reader *r, struct lh_qdisc_seen **ret, size_t *ret_n, struct lh_err *err)
{
	return DUMP("queueing disciplines", RTM_GETQDISC, struct tcmsg, lh_decode_qdisc, ret, ret_n);
}

int lh_read_addresses(struct lh_reader *r, struct lh_seen_address **ret, size_t *ret_n, struct lh_err *err)
{
	return DUMP("addresses", RTM_GETADDR, struct ifaddrmsg, lh_decode_address, ret, ret_n);
}

int lh_read_neighbours(struct lh_reader *r, struct lh_seen_neighbour **ret, size_t *ret_n, struct lh_err *err)
{
	return DUMP("neighbours", RTM_GETNEIGH, struct ndmsg, lh_decode_neighbour, ret, ret_n);
}

int lh_read_routes(struct lh_reader *r, struct lh_seen_route **ret, size_t *ret_n, struct lh_err *err)
{
	return DUMP("routes", RTM_GETROUTE, struct rtmsg, lh_decode_route, ret, ret_n);
}

int lh_read_rules(struct lh_reader *r, struct lh_seen_rule **ret, size_t *ret_n, struct lh_err *err)
{
	/* struct fib_rule_hdr has the layout of struct rtmsg. */
	return DUMP("rules", RTM_GETRULE, struct rtmsg, lh_decode_rule, ret, ret_n);
}

/* One answer and an acknowledgement; *ret_n is 0 where the kernel acknowledged without an answer. ECHO, because for
 * queueing disciplines the answer is a notification, which the kernel sends to the asker only when asked to. */
static int ask(struct lh_reader *r, uint16_t type, const void *body, size_t size, lh_decode_fn *decode,
	       void *item, size_t item_bytes, size_t *ret_n, struct lh_err *err)
{
	struct list l = { .decode = decode, .item_bytes = item_bytes, .err = err };
	int rc = exchange(r, request(r, type, NLM_F_ACK | NLM_F_ECHO, body, size), &l);
	if (!rc && l.code)
		rc = l.code;
	else if (rc)
		lh_err_sys(err, LH_EXIT_MACHINE, rc, "reading from the kernel");
	if (!rc && l.n)
		memcpy(item, l.items, item_bytes);
	*ret_n = rc ? 0 : l.n;
	free(l.items);
	return rc;
}

int lh_read_link(struct lh_reader *r, int ifindex, struct lh_seen_link *ret, struct lh_err *err)
{
	struct ifinfomsg ifi = { .ifi_family = AF_UNSPEC, .ifi_index = ifindex };
	size_t n;
	int rc = ask(r, RTM_GETLINK, &ifi, sizeof ifi, lh_decode_link, ret, sizeof *ret, &n, err);
	return rc || n ? rc : lh_err_sys(err, LH_EXIT_MACHINE, -ENODEV, "reading interface %d", ifindex);
}

int lh_read_root_qdisc(struct lh_reader *r, int ifindex, struct lh_qdisc_seen *ret, struct lh_err *err)
{
	struct tcmsg tcm = { .tcm_family = AF_UNSPEC, .tcm_ifindex = ifindex, .tcm_parent = TC_H_ROOT };
	struct lh_err ignored;
	size_t n;
	int rc = ask(r, RTM_GETQDISC, &tcm, sizeof tcm, lh_decode_qdisc, ret, sizeof *ret, &n, err ? err : &ignored);
	/* Kernels differ in how they say "none that I show". */
	if (rc == -ENOENT || (!rc && !n)) {
		memset(ret, 0, sizeof *ret);
		return 0;
	}
	return rc;
}
