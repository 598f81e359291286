/* diag.c - what the kernel says of a peer's TCP connections: NETLINK_SOCK_DIAG from within its network namespace. */
#include <errno.h>
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <string.h>

#include "net.h"

enum { BUFFER_BYTES = 64 * 1024, STATE_ESTABLISHED = 1 };

struct dump {
	uint16_t port;
	struct lh_tcp_counters sum;
};

/* Fields that this kernel does not send stay 0. */
static int take_info(const struct nlattr *attr, void *ctx)
{
	struct dump *d = ctx;
	struct tcp_info k = { 0 };
	size_t len = mnl_attr_get_payload_len(attr);
	if (mnl_attr_get_type(attr) != INET_DIAG_INFO)
		return MNL_CB_OK;
	memcpy(&k, mnl_attr_get_payload(attr), len < sizeof k ? len : sizeof k);
	d->sum.connections++;
	d->sum.bytes_sent += k.tcpi_bytes_sent;
	d->sum.retransmits += k.tcpi_total_retrans;
	return MNL_CB_OK;
}

static int take_socket(const struct nlmsghdr *nlh, void *ctx)
{
	const struct dump *d = ctx;
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof *m)
		return MNL_CB_OK;
	if (ntohs(m->id.idiag_sport) != d->port && ntohs(m->id.idiag_dport) != d->port)
		return MNL_CB_OK;
	return mnl_attr_parse(nlh, sizeof *m, take_info, ctx);
}

/* The kernel's refusal as it is, without a text. */
static int dump_family(struct mnl_socket *nl, uint8_t family, unsigned seq, struct dump *d)
{
	_Alignas(8) char buf[BUFFER_BYTES];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = seq;
	struct inet_diag_req_v2 *req = mnl_nlmsg_put_extra_header(nlh, sizeof *req);
	*req = (struct inet_diag_req_v2){
		.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_ext = 1 << (INET_DIAG_INFO - 1),
		.idiag_states = 1 << STATE_ESTABLISHED,
	};
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	for (int go = MNL_CB_OK; go > MNL_CB_STOP;) {
		ssize_t n = mnl_socket_recvfrom(nl, buf, sizeof buf);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		go = mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(nl), take_socket, d);
		if (go < 0)
			return -errno;
	}
	return 0;
}

static int dump_all(struct dump *d)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	if (!nl)
		return -errno;
	int rc = mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
	if (!rc)
		rc = dump_family(nl, AF_INET, 1, d);
	int v6 = rc ? 0 : dump_family(nl, AF_INET6, 2, d);
	mnl_socket_close(nl);
	return rc ? rc : v6 == -ENOENT ? 0 : v6; /* a kernel without IPv6 has no such connections */
}

int lh_net_observe_tcp(struct lh_net *net, unsigned peer, uint16_t port, struct lh_tcp_counters *ret, struct lh_err *err)
{
	const struct lh_plan_if *i = &net->plan->ifs[net->plan->peer_if[peer]];
	struct dump d = { .port = port };
	int rc = lh_net_enter(net, i->netns, err);
	if (rc)
		return rc;
	int asked = dump_all(&d);
	rc = lh_net_enter(net, LH_PLAN_NOT, err);
	if (rc)
		return rc;
	if (asked == -ENOENT || asked == -EPROTONOSUPPORT)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOTSUP, "this kernel has no inet_diag");
	if (asked)
		return lh_err_sys(err, LH_EXIT_MACHINE, asked, "%s: its connections (inet_diag)", i->object);
	*ret = d.sum;
	return 0;
}
