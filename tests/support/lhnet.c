#include "lhnet.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhtest.h"
#include "longhaul/cell.h"

enum { ORDINARY_USER = 54321 };

struct lh_topology *lh_test_topology(unsigned sites, unsigned peers)
{
	struct lh_topology *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->nsites = sites;
	t->npeers = sites * peers;
	t->seed = 1;
	strcpy(t->name, "test");
	t->sites = calloc(sites, sizeof *t->sites);
	t->peers = calloc((size_t)t->npeers + 1, sizeof *t->peers);
	t->links = calloc((size_t)sites * sites, sizeof *t->links);
	if (!t->sites || !t->peers || !t->links) {
		lh_test_topology_free(t);
		return NULL;
	}
	for (unsigned s = 0; s < sites; s++) {
		char name[8] = { (char)('a' + s % 26), s < 26 ? 0 : (char)('a' + s / 26 - 1) };
		strcpy(t->sites[s].name, name);
		t->sites[s].first_peer = s * peers;
		t->sites[s].npeers = peers;
		for (unsigned k = 0; k < peers; k++) {
			struct lh_peer *p = &t->peers[s * peers + k];
			*p = (struct lh_peer){ .site = s, .device = "cpu", .tcp = LH_TCP_DEFAULT };
			snprintf(p->name, sizeof p->name, "%s-%u", name, k);
		}
	}
	for (size_t i = 0; i < (size_t)sites * sites; i++)
		t->links[i].given = true;
	return t;
}

void lh_test_topology_free(struct lh_topology *t)
{
	if (!t)
		return;
	free(t->sites);
	free(t->peers);
	free(t->links);
	free(t);
}

void lh_test_rate_all(struct lh_topology *t, lh_bps rate_bps)
{
	for (size_t i = 0; i < (size_t)t->nsites * t->nsites; i++)
		t->links[i].imp.rate_bps = rate_bps;
}

void lh_test_in_cell(int (*body)(void *ctx), void *ctx, bool as_user)
{
	struct lh_cell_options opt = { .need_net = true };
	struct lh_cell_caps caps;
	struct lh_err err = LH_ERR_INIT;
	int status = -1;
	if (as_user && getuid() == 0) {
		CU_ASSERT_EQUAL_FATAL(setresgid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER), 0);
		CU_ASSERT_EQUAL_FATAL(setresuid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER), 0);
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* or /proc/self would be root's */
	}
	CU_ASSERT_EQUAL_FATAL(lh_cell_probe(&caps, NULL), 0);
	if (!caps.pid_ns || !caps.net_ns || !caps.mount_ns)
		lh_test_skip("netns", "%s", caps.why);
	int rc = lh_cell_run(&opt, body, ctx, &status, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(status, 0);
}

int lh_test_up(const struct lh_topology *t, struct lh_net **ret, struct lh_err *err)
{
	struct lh_plan *plan;
	int rc = lh_plan_new(t, NULL, &plan, err);
	if (rc)
		return rc;
	rc = lh_net_up(t, plan, NULL, NULL, ret, err);
	lh_plan_free(plan); /* the network has its own reference */
	return rc;
}

static uint16_t checksum(const void *data, size_t len)
{
	const uint16_t *p = data;
	uint32_t sum = 0;
	for (size_t i = 0; i < len / 2; i++)
		sum += p[i];
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)~(sum + (sum >> 16));
}

struct echo {
	uint8_t type, code;
	uint16_t sum, id, seq;
	uint64_t padding;
};

static int send_echo(int fd4, int fd6, const char *address, uint16_t id, uint16_t seq)
{
	struct sockaddr_in to4 = { .sin_family = AF_INET };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6 };
	struct echo e = { .id = id, .seq = htons(seq) };
	ssize_t n;
	if (inet_pton(AF_INET, address, &to4.sin_addr) == 1) {
		e.type = ICMP_ECHO;
		e.sum = checksum(&e, sizeof e);
		n = sendto(fd4, &e, sizeof e, 0, (struct sockaddr *)&to4, sizeof to4);
	} else if (inet_pton(AF_INET6, address, &to6.sin6_addr) == 1) {
		e.type = ICMP6_ECHO_REQUEST; /* the kernel fills in the checksum */
		n = sendto(fd6, &e, sizeof e, 0, (struct sockaddr *)&to6, sizeof to6);
	} else {
		return -EINVAL;
	}
	return n == sizeof e ? 0 : -errno;
}

static bool is_answer(const char *buf, ssize_t n, bool v6, uint16_t id)
{
	size_t header = v6 ? 0 : (size_t)(buf[0] & 15) * 4;
	struct echo e;
	if (n < (ssize_t)(header + sizeof e))
		return false;
	memcpy(&e, buf + header, sizeof e);
	return e.type == (v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) && e.id == id;
}

static int take_answers(int fd4, int fd6, uint16_t id, unsigned wait_ms, unsigned want)
{
	struct pollfd fds[] = { { .fd = fd4, .events = POLLIN }, { .fd = fd6, .events = POLLIN } };
	lh_ns end = lh_clock_ns() + wait_ms * LH_NS_PER_MS;
	unsigned got = 0;
	while (got < want) {
		lh_ns left = end - lh_clock_ns();
		if (left < 0 || poll(fds, 2, (int)(left / LH_NS_PER_MS) + 1) <= 0)
			break;
		for (int v6 = 0; v6 < 2; v6++) {
			char buf[512];
			ssize_t n;
			while ((n = recv(fds[v6].fd, buf, sizeof buf, MSG_DONTWAIT)) > 0)
				got += is_answer(buf, n, v6, id);
		}
	}
	return (int)got;
}

int lh_test_echo(const char *const *addresses, size_t n, unsigned count, unsigned gap_ms, unsigned wait_ms)
{
	int fd4 = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	int fd6 = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
	uint16_t id = (uint16_t)getpid();
	int rc = fd4 < 0 || fd6 < 0 ? -errno : 0, got = 0;
	for (unsigned k = 0; !rc && k < count; k++) {
		for (size_t i = 0; !rc && i < n; i++) {
			rc = send_echo(fd4, fd6, addresses[i], id, (uint16_t)k);
			if (i % 16 == 15)
				got += take_answers(fd4, fd6, id, 0, 16); /* keep the socket's queue short */
		}
		if (k + 1 < count)
			got += take_answers(fd4, fd6, id, gap_ms, UINT32_MAX);
	}
	if (!rc)
		got += take_answers(fd4, fd6, id, wait_ms, (unsigned)(n * count) - (unsigned)got);
	if (fd4 >= 0)
		close(fd4);
	if (fd6 >= 0)
		close(fd6);
	return rc ? rc : got;
}

struct echo_child {
	const struct lh_test_echo_job *job;
	int report;
};

static int echo_child(void *ctx)
{
	const struct echo_child *c = ctx;
	const struct lh_test_echo_job *job = c->job;
	size_t room = job->nto * 2, n = 0;
	char (*text)[64] = calloc(room, sizeof *text);
	const char **addresses = calloc(room, sizeof *addresses);
	int got = !text || !addresses ? -ENOMEM : 0;
	for (size_t i = 0; !got && i < job->nto; i++)
		for (int v6 = 0; v6 < 2; v6++) {
			if (job->family && (job->family == AF_INET6) != v6)
				continue;
			got = lh_net_peer_address(job->t, job->to[i], v6, text[n], sizeof *text);
			addresses[n] = text[n];
			n++;
		}
	if (!got)
		got = lh_test_echo(addresses, n, job->count, job->gap_ms, job->wait_ms);
	free(text);
	free(addresses);
	return write(c->report, &got, sizeof got) == sizeof got ? 0 : 1;
}

int lh_test_echo_from(struct lh_net *net, unsigned from, const struct lh_test_echo_job *job)
{
	int fds[2], got = -EIO, status;
	struct lh_err err = LH_ERR_INIT;
	pid_t pid;
	if (pipe(fds))
		return -errno;
	struct echo_child c = { job, fds[1] };
	int rc = lh_net_fork(net, from, echo_child, &c, &pid, NULL, &err);
	close(fds[1]);
	if (rc) {
		printf("# %s\n", err.text);
		got = rc;
	} else {
		if (read(fds[0], &got, sizeof got) != sizeof got)
			got = -EIO;
		waitpid(pid, &status, 0);
	}
	close(fds[0]);
	return got;
}

int lh_test_reach(struct lh_net *net, const struct lh_topology *t, unsigned from, unsigned to, unsigned wait_ms)
{
	struct lh_test_echo_job job = { .t = t, .to = &to, .nto = 1, .count = 1, .wait_ms = wait_ms };
	return lh_test_echo_from(net, from, &job);
}

long lh_test_tx_packets(const char *ifname)
{
	FILE *f = fopen("/proc/net/dev", "re");
	char line[512];
	long packets = -1;
	while (f && fgets(line, sizeof line, f)) {
		char name[32];
		long tx;
		if (sscanf(line, " %31[^:]: %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld", name, &tx) == 2 &&
		    !strcmp(name, ifname))
			packets = tx;
	}
	if (f)
		fclose(f);
	return packets;
}

int lh_test_open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}
