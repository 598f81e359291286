/* What is asked of the kernel's TCP, and what it says. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tcp_internal.h"

/* With several streams, a stream is given no more than so many bytes that it has not yet sent: the next part goes to
 * the one that gets rid of its bytes, and a slow one holds no more than this and one part. */
enum { UNSENT_BYTES = 256 * 1024 };

static bool has_several(const struct tcp *t)
{
	return t->c->streams > 1 || (!t->c->streams && t->c->sockets == LH_SOCKETS_TUNED);
}

void tcp_option_listener(const struct tcp *t, int fd)
{
	int one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
}

void tcp_option_set(const struct tcp *t, int fd)
{
	int one = 1, unsent = UNSENT_BYTES;
	lh_ns ms = t->c->deadline_ns / LH_NS_PER_MS;
	unsigned timeout = ms > INT32_MAX ? INT32_MAX : (unsigned)ms;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
	if (has_several(t))
		setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
}

lh_ns tcp_option_rtt(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof info;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return 0;
	return (lh_ns)info.tcpi_rtt * LH_NS_PER_US;
}

unsigned tcp_option_streams(const struct tcp *t, int fd)
{
	return t->c->streams ? t->c->streams : 1;
}
