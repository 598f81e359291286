/* caps.c - what the running kernel can do, found by doing it: a veth pair in a scratch namespace, each queueing
 * discipline on it, read back. Reading a list of modules would say what is loaded, not what works. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netlink/msg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "link.h"
#include "netns.h"
#include "read.h"
#include "write.h"

enum { SCRATCH_IFINDEX = 100 };

static bool try_veth(struct lh_writer *w, int netns_fd)
{
	struct lh_plan_if a = { .ifindex = SCRATCH_IFINDEX, .name = "lh0" };
	struct lh_plan_if b = { .ifindex = SCRATCH_IFINDEX + 1, .name = "lh1" };
	lh_mac_make(1, a.mac);
	lh_mac_make(2, b.mac);
	return lh_writer_do(w, lh_msg_veth(&a, netns_fd, &b, netns_fd), NULL) == 0;
}

/* Put `q` on the scratch interface and see it there. */
static int try_qdisc(struct lh_writer *w, struct lh_reader *r, const struct lh_qdisc *q, struct lh_qdisc_seen *ret,
		     struct lh_err *err)
{
	struct nl_msg *msg;
	int rc = lh_msg_qdisc(SCRATCH_IFINDEX, q, &msg, err);
	rc = rc ? rc : lh_writer_do(w, msg, err);
	rc = rc ? rc : lh_read_root_qdisc(r, SCRATCH_IFINDEX, ret, err);
	if (!rc && ret->q.kind != q->kind)
		rc = lh_err_set(err, LH_EXIT_MACHINE, -EBADE, "accepted, but not there afterwards");
	return rc;
}

static void try_qdiscs(struct lh_caps *caps, struct lh_writer *w, struct lh_reader *r)
{
	struct lh_qdisc netem = { .kind = LH_QDISC_NETEM, .limit_packets = 1, .imp = { .delay_ns = 1000, .seed = 1 } };
	struct lh_qdisc tbf;
	struct lh_qdisc_seen seen;
	struct lh_err err = LH_ERR_INIT;
	caps->netem = try_qdisc(w, r, &netem, &seen, &err) == 0;
	caps->netem_seed = caps->netem && seen.seed_known;
	if (!caps->netem)
		snprintf(caps->netem_why, sizeof caps->netem_why, "%.*s", (int)sizeof caps->netem_why - 1, err.text);
	lh_qdisc_for_rate(1000000000, 0, &tbf);
	caps->tbf = try_qdisc(w, r, &tbf, &seen, &err) == 0;
}

static bool try_cubic(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool can = fd >= 0 && !setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
	if (fd >= 0)
		close(fd);
	return can;
}

static bool try_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		close(fd);
	return fd >= 0 && !access("/proc/sys/net/ipv6/conf/all/forwarding", F_OK);
}

static void try_all(struct lh_caps *caps, int netns_fd)
{
	struct lh_writer *w = NULL;
	struct lh_reader *r = NULL;
	struct lh_err err = LH_ERR_INIT;
	caps->ipv6 = try_ipv6();
	caps->tcp_cubic = try_cubic();
	if (!lh_writer_open(&w, &err) && !lh_reader_open(&r, &err)) {
		caps->veth = try_veth(w, netns_fd);
		if (caps->veth)
			try_qdiscs(caps, w, r);
		else
			snprintf(caps->netem_why, sizeof caps->netem_why, "this kernel has no veth to try it on");
	} else {
		snprintf(caps->netem_why, sizeof caps->netem_why, "%.*s", (int)sizeof caps->netem_why - 1, err.text);
	}
	lh_reader_close(r);
	lh_writer_close(w);
}

int lh_caps_probe(struct lh_caps *ret_caps, struct lh_err *err)
{
	struct lh_caps caps = { .veth = false };
	struct utsname u;
	int home, scratch;
	if (!uname(&u))
		snprintf(caps.kernel_release, sizeof caps.kernel_release, "%s", u.release);
	int rc = lh_netns_current(&home, err);
	if (rc)
		return rc;
	rc = lh_netns_make(&scratch, err);
	if (!rc) {
		try_all(&caps, scratch);
		close(scratch);
		rc = lh_netns_enter(home, "scratch namespace: back", err);
	}
	close(home);
	if (!rc)
		*ret_caps = caps;
	return rc;
}
