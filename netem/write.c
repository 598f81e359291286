#include "write.h"

#include <errno.h>
#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A batch is bounded by the socket's send buffer (the kernel refuses longer messages) and, in requests, by the receive
 * buffer: should all of them fail, all their error messages must fit. */
enum { BATCH_BYTES = 64 * 1024, BATCH_REQUESTS = 64, SEND_BUFFER = 128 * 1024, RECEIVE_BUFFER = 128 * 1024 };

struct lh_writer {
	struct nl_sock *sock;
	struct nl_cb *cb;
	uint32_t seq, first_seq; /* next number; number of the batch's first request */
	size_t used, last;       /* bytes in buf; where the last request starts */
	size_t tags[BATCH_REQUESTS];
	bool answered;           /* the last request's answer has come */
	int code;                /* of the first failure, negative errno */
	uint32_t failed_seq;
	char words[256];         /* the kernel's, for that failure */
	_Alignas(NLMSG_ALIGNTO) char buf[BATCH_BYTES];
};

static int on_seq_check(struct nl_msg *msg, void *arg)
{
	return NL_OK; /* answers of a batch carry its numbers; on_error and on_ack compare them */
}

static int on_ack(struct nl_msg *msg, void *arg)
{
	struct lh_writer *w = arg;
	if (nlmsg_hdr(msg)->nlmsg_seq == w->seq - 1)
		w->answered = true;
	return NL_OK;
}

/* Extended-ack text behind the error, if the kernel gave one. */
static void take_words(const struct nlmsgerr *e, char *words, size_t size)
{
	const struct nlmsghdr *hdr = (const struct nlmsghdr *)e - 1; /* libnl passes the payload of its message */
	size_t len = sizeof *e;
	if (!(hdr->nlmsg_flags & NLM_F_CAPPED))
		len += NLMSG_ALIGN(e->msg.nlmsg_len) - NLMSG_HDRLEN;
	if (!(hdr->nlmsg_flags & NLM_F_ACK_TLVS) || hdr->nlmsg_len < NLMSG_HDRLEN + len)
		return;
	struct nlattr *a = nla_find((const struct nlattr *)((const char *)e + len),
				    (int)(hdr->nlmsg_len - NLMSG_HDRLEN - len), NLMSGERR_ATTR_MSG);
	if (a)
		snprintf(words, size, "%.*s", nla_len(a), (const char *)nla_data(a));
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *e, void *arg)
{
	struct lh_writer *w = arg;
	if (e->error && !w->code) {
		w->code = e->error;
		w->failed_seq = e->msg.nlmsg_seq;
		w->words[0] = 0;
		take_words(e, w->words, sizeof w->words);
	}
	if (e->msg.nlmsg_seq == w->seq - 1)
		w->answered = true;
	return NL_SKIP;
}

int lh_writer_open(struct lh_writer **ret, struct lh_err *err)
{
	struct lh_writer *w = malloc(sizeof *w);
	if (!w)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "netlink socket");
	w->sock = nl_socket_alloc();
	w->cb = nl_cb_alloc(NL_CB_DEFAULT);
	w->seq = w->first_seq = 1;
	w->used = w->last = 0;
	int rc = !w->sock || !w->cb ? -ENOMEM : 0;
	if (!rc && nl_connect(w->sock, NETLINK_ROUTE) < 0)
		rc = errno ? -errno : -EIO;
	if (rc) {
		lh_writer_close(w);
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "netlink socket");
	}
	nl_cb_set(w->cb, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, on_seq_check, NULL);
	nl_cb_set(w->cb, NL_CB_ACK, NL_CB_CUSTOM, on_ack, w);
	nl_cb_err(w->cb, NL_CB_CUSTOM, on_error, w);
	nl_socket_disable_msg_peek(w->sock);
	nl_socket_set_buffer_size(w->sock, RECEIVE_BUFFER, SEND_BUFFER);
	int fd = nl_socket_get_fd(w->sock), one = 1;
	/* Both only improve messages; kernels before 4.12 lack the first. */
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one);
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
	*ret = w;
	return 0;
}

void lh_writer_close(struct lh_writer *w)
{
	if (!w)
		return;
	nl_cb_put(w->cb);
	nl_socket_free(w->sock);
	free(w);
}

int lh_writer_fd(const struct lh_writer *w)
{
	return nl_socket_get_fd(w->sock);
}

static void receive(struct lh_writer *w)
{
	while (!w->answered) {
		errno = 0;
		if (nl_recvmsgs(w->sock, w->cb) < 0 && !w->answered) {
			if (!w->code)
				w->code = errno ? -errno : -EIO;
			return;
		}
	}
}

int lh_writer_flush(struct lh_writer *w, size_t *ret_failed_tag, struct lh_err *err)
{
	if (!w->used)
		return 0;
	((struct nlmsghdr *)(void *)(w->buf + w->last))->nlmsg_flags |= NLM_F_ACK;
	w->code = 0;
	w->answered = false;
	w->failed_seq = w->first_seq;
	w->words[0] = 0;
	errno = 0;
	if (nl_sendto(w->sock, w->buf, w->used) < 0)
		w->code = errno ? -errno : -EIO;
	else
		receive(w);
	int code = w->code;
	size_t tag = w->tags[w->failed_seq - w->first_seq < BATCH_REQUESTS ? w->failed_seq - w->first_seq : 0];
	w->first_seq = w->seq;
	w->used = 0;
	if (!code)
		return 0;
	if (ret_failed_tag)
		*ret_failed_tag = tag;
	return w->words[0] ? lh_err_sys(err, LH_EXIT_MACHINE, code, "%s", w->words)
			   : lh_err_set(err, LH_EXIT_MACHINE, code, "%s", strerror(-code));
}

int lh_writer_queue(struct lh_writer *w, struct nl_msg *msg, size_t tag, size_t *ret_failed_tag, struct lh_err *err)
{
	if (!msg) {
		if (ret_failed_tag)
			*ret_failed_tag = tag;
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "netlink request");
	}
	struct nlmsghdr *hdr = nlmsg_hdr(msg);
	size_t len = NLMSG_ALIGN(hdr->nlmsg_len);
	int rc = 0;
	if (w->used + len > sizeof w->buf || w->seq - w->first_seq == BATCH_REQUESTS)
		rc = lh_writer_flush(w, ret_failed_tag, err);
	if (!rc && len > sizeof w->buf) {
		if (ret_failed_tag)
			*ret_failed_tag = tag;
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -EMSGSIZE, "netlink request");
	}
	if (!rc) {
		hdr->nlmsg_flags |= NLM_F_REQUEST;
		hdr->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
		w->tags[w->seq - w->first_seq] = tag;
		hdr->nlmsg_seq = w->seq++;
		hdr->nlmsg_pid = nl_socket_get_local_port(w->sock);
		memset(w->buf + w->used + hdr->nlmsg_len, 0, len - hdr->nlmsg_len);
		memcpy(w->buf + w->used, hdr, hdr->nlmsg_len);
		w->last = w->used;
		w->used += len;
	}
	nlmsg_free(msg);
	return rc;
}

int lh_writer_do(struct lh_writer *w, struct nl_msg *msg, struct lh_err *err)
{
	int rc = lh_writer_queue(w, msg, 0, NULL, err);
	return rc ? rc : lh_writer_flush(w, NULL, err);
}
