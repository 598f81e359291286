/* longhaul-peer: one training process. It knows ranks, addresses and a rate, and nothing of the network between. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "backend/plugin.h"
#include "bench.h"
#include "bench_train.h"
#include "memory.h"
#include "models_cmd.h"
#include "store/server.h"
#include "train.h"

#ifndef LH_VERSION
#define LH_VERSION "unknown"
#endif

static const char help[] =
	"usage: longhaul-peer --config FILE [--rank N]\n"
	"       longhaul-peer --config-fd N [--event-fd N] [--control-fd N]\n"
	"       longhaul-peer store --config FILE | --config-fd N [--event-fd N] [--control-fd N]\n"
	"       longhaul-peer models [--json] [MODEL...]\n"
	"       longhaul-peer gpu\n"
	"       longhaul-peer bench-train --model MODEL\n"
	"\n"
	"One peer of a data-parallel training run: it joins the peers that its configuration\n"
	"lists, trains, and tells what happened as one JSON object a line. `longhaul run` starts\n"
	"it; by hand it runs on any network, one process a machine, the same file everywhere.\n"
	"\n"
	"  -c, --config FILE     configuration (JSON); - is standard input\n"
	"  -r, --rank N          take this rank instead of the file's\n"
	"      --config-fd N     configuration from an inherited descriptor, to its end\n"
	"      --event-fd N      events to this descriptor (default: standard output)\n"
	"      --control-fd N    wait for 'g' before the first round, finish at 's' or at its end;\n"
	"                        the peer then dies with its parent (default: begin at once)\n"
	"  -h, --help            this text\n"
	"  -V, --version         version\n"
	"\n"
	"exit status: 0 finished, 2 bad configuration, 3 this machine cannot, 4 the run broke,\n"
	"128 + N stopped by signal N\n";

struct options {
	const char *config;
	int config_fd, event_fd, control_fd, turns_fd;
	long rank;
};

enum { OPT_CONFIG_FD = 256, OPT_EVENT_FD, OPT_CONTROL_FD, OPT_TURNS_FD };

static int complain(const struct lh_err *err)
{
	fprintf(stderr, "longhaul-peer: %s\n", err->text);
	return err->exit;
}

static int parse_number(const char *what, const char *text, long max, long *ret, struct lh_err *err)
{
	char *end;
	errno = 0;
	long v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < 0 || v > max || *text == '+' || *text == ' ')
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--%s: \"%s\" is not a number from 0 to %ld", what,
				  text, max);
	*ret = v;
	return 0;
}

static int parse_fd(const char *what, int *ret, struct lh_err *err)
{
	long fd = 0;
	int rc = parse_number(what, optarg, 1 << 20, &fd, err);
	if (!rc && fcntl((int)fd, F_GETFD) < 0)
		rc = lh_err_sys(err, LH_EXIT_INPUT, -errno, "--%s %ld", what, fd);
	if (!rc)
		*ret = (int)fd;
	return rc;
}

/* 0: go on; 1: help or version was printed; negative: wrong usage. */
static int parse_options(int argc, char **argv, struct options *o, struct lh_err *err)
{
	static const struct option table[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "rank", required_argument, NULL, 'r' },
		{ "config-fd", required_argument, NULL, OPT_CONFIG_FD },
		{ "event-fd", required_argument, NULL, OPT_EVENT_FD },
		{ "control-fd", required_argument, NULL, OPT_CONTROL_FD },
		{ "turns-fd", required_argument, NULL, OPT_TURNS_FD },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int rc = 0;
	for (int c; !rc && (c = getopt_long(argc, argv, "c:r:hV", table, NULL)) != -1;) {
		switch (c) {
		case 'c': o->config = optarg; break;
		case 'r': rc = parse_number("rank", optarg, LH_PEER_SIZE_MAX - 1, &o->rank, err); break;
		case OPT_CONFIG_FD: rc = parse_fd("config-fd", &o->config_fd, err); break;
		case OPT_EVENT_FD: rc = parse_fd("event-fd", &o->event_fd, err); break;
		case OPT_TURNS_FD: rc = parse_fd("turns-fd", &o->turns_fd, err); break;
		case OPT_CONTROL_FD: rc = parse_fd("control-fd", &o->control_fd, err); break;
		case 'h': fputs(help, stdout); return 1;
		case 'V': puts("longhaul-peer " LH_VERSION); return 1;
		default: return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "try longhaul-peer --help");
		}
	}
	if (!rc && (optind != argc || (o->config != NULL) == (o->config_fd >= 0)))
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				"one of --config and --config-fd is needed; try longhaul-peer --help");
	return rc;
}

static int read_all(int fd, char **ret, size_t *ret_len, struct lh_err *err)
{
	char *text = malloc(LH_PEER_CONFIG_MAX + 1);
	size_t len = 0;
	ssize_t n = 1;
	while (text && n && len <= LH_PEER_CONFIG_MAX) {
		n = read(fd, text + len, LH_PEER_CONFIG_MAX + 1 - len);
		if (n < 0 && errno != EINTR)
			break;
		len += n > 0 ? (size_t)n : 0;
		n = n < 0 ? 1 : n;
	}
	if (!text || n < 0) {
		int code = text ? -errno : -ENOMEM;
		free(text);
		return lh_err_sys(err, LH_EXIT_INPUT, code, "read the configuration");
	}
	*ret = text;
	*ret_len = len;
	return 0;
}

static int read_config(const struct options *o, struct lh_peer_config *ret, struct lh_err *err)
{
	int fd = o->config_fd;
	if (o->config)
		fd = strcmp(o->config, "-") ? open(o->config, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "%s", o->config);
	char *text = NULL;
	size_t len = 0;
	int rc = read_all(fd, &text, &len, err);
	if (fd != STDIN_FILENO)
		close(fd);
	if (!rc)
		rc = lh_peer_config_read(text, len, ret, err);
	free(text);
	if (!rc && o->rank >= (long)ret->size) {
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--rank %ld: the configuration has %u peers", o->rank,
				ret->size);
		lh_peer_config_done(ret);
	} else if (!rc && o->rank >= 0) {
		ret->rank = (unsigned)o->rank;
	}
	return rc;
}

/* SIGTERM and SIGINT are read in the loop; a closed event fd must be an error, not a death. */
static int open_signals(struct lh_err *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? lh_err_sys(err, LH_EXIT_MACHINE, -errno, "signalfd") : fd;
}

/* One descriptor a peer: as many as this process may have. */
static void raise_descriptors(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

/* Die with the harness, whatever kills it. Where it died before this call, the control fd is at its end. */
static void follow_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* How many GPUs engine cuda has here, or why none; for programs too, so on standard output either way. */
static int gpu_main(void)
{
	const struct lh_backend_plugin *plugin;
	struct lh_err err = LH_ERR_INIT;
	unsigned devices = 0;
	int rc = lh_backend_plugin_load(NULL, &plugin, &err);
	if (!rc)
		rc = plugin->probe(&devices, &err);
	if (rc)
		printf("%s\n", err.text);
	else
		printf("%u GPU%s; the plugin has code for %s\n", devices, devices == 1 ? "" : "s", plugin->built_for);
	return rc ? (int)err.exit : LH_EXIT_OK;
}

int main(int argc, char **argv)
{
	struct options o = { .config_fd = -1, .event_fd = STDOUT_FILENO, .control_fd = -1, .turns_fd = -1, .rank = -1 };
	struct lh_err err = LH_ERR_INIT;
	struct lh_peer_config config = { 0 };
	int stopped_by = 0;
	if (argc > 1 && !strcmp(argv[1], "models"))
		return lh_models_main(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "memory"))
		return lh_memory_main(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "gpu"))
		return gpu_main();
	if (argc > 1 && !strcmp(argv[1], "bench-train"))
		return lh_bench_train_main(argc - 1, argv + 1);
	const bool is_store = argc > 1 && !strcmp(argv[1], "store");
	int rc = parse_options(argc - is_store, argv + is_store, &o, &err);
	if (rc)
		return rc < 0 ? complain(&err) : 0;
	if (o.control_fd >= 0)
		follow_parent();
	raise_descriptors();
	prctl(PR_SET_TIMERSLACK, 1UL); /* pacing waits on exact instants */
	rc = read_config(&o, &config, &err);
	if (rc)
		return complain(&err);
	struct lh_train_io io = { .event_fd = o.event_fd, .control_fd = o.control_fd, .signal_fd = open_signals(&err),
				  .turns_fd = o.turns_fd };
	rc = io.signal_fd < 0 ? io.signal_fd : 0;
	if (!rc && is_store)
		rc = lh_store_serve(&config, lh_engine_of(&config), &io, &stopped_by, &err);
	else if (!rc && config.bench_elements)
		rc = lh_bench_run(&config, &io, &stopped_by, &err);
	else if (!rc)
		rc = lh_train_run(&config, lh_engine_of(&config), &io, &stopped_by, &err);
	lh_peer_config_done(&config);
	if (!rc)
		return LH_EXIT_OK;
	complain(&err);
	return stopped_by ? 128 + stopped_by : (int)err.exit;
}
