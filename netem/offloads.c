/* offloads.c - ETHTOOL_GSTRINGS for the names, ETHTOOL_GFEATURES for the bits. */
#include "offloads.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum { WORDS_MAX = 8, NAMES_MAX = WORDS_MAX * 32 };

static const struct { const char *ours, *kernels; } names[LH_OFFLOADS] = {
	[LH_OFFLOAD_TSO] = { "tso", "tx-tcp-segmentation" },
	[LH_OFFLOAD_GSO] = { "gso", "tx-generic-segmentation" },
	[LH_OFFLOAD_GRO] = { "gro", "rx-gro" },
	[LH_OFFLOAD_UDP_GSO] = { "tx-udp-segmentation", "tx-udp-segmentation" },
};

const char *lh_offload_name(enum lh_offload f)
{
	return (unsigned)f < LH_OFFLOADS ? names[f].ours : "?";
}

static int ask(int fd, const char *ifname, void *command)
{
	struct ifreq req = { .ifr_data = command };
	snprintf(req.ifr_name, sizeof req.ifr_name, "%s", ifname);
	return ioctl(fd, SIOCETHTOOL, &req) ? -errno : 0;
}

static int count_features(int fd, const char *ifname, uint32_t *ret)
{
	_Alignas(8) char room[sizeof(struct ethtool_sset_info) + sizeof(uint32_t)] = { 0 };
	struct ethtool_sset_info *info = (void *)room;
	info->cmd = ETHTOOL_GSSET_INFO;
	info->sset_mask = 1ull << ETH_SS_FEATURES;
	int rc = ask(fd, ifname, info);
	if (!rc && (!info->sset_mask || info->data[0] > NAMES_MAX))
		rc = -EOPNOTSUPP;
	*ret = info->data[0];
	return rc;
}

static void find(const char *name, uint32_t bit, const struct ethtool_get_features_block *words, struct lh_offloads *f)
{
	for (unsigned i = 0; i < LH_OFFLOADS; i++) {
		if (strncmp(name, names[i].kernels, ETH_GSTRING_LEN))
			continue;
		f->known[i] = true;
		f->on[i] = words[bit / 32].active >> bit % 32 & 1;
	}
}

int lh_offloads_read(int fd, const char *ifname, struct lh_offloads *ret, struct lh_err *err)
{
	struct lh_offloads f = { .known = { false } };
	struct ethtool_gfeatures *bits;
	_Alignas(8) char room[sizeof *bits + WORDS_MAX * sizeof bits->features[0]] = { 0 };
	bits = (void *)room;
	uint32_t count;
	int rc = count_features(fd, ifname, &count);
	if (rc)
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "ethtool %s: count features", ifname);
	struct ethtool_gstrings *strings = calloc(1, sizeof *strings + (size_t)NAMES_MAX * ETH_GSTRING_LEN);
	if (!strings)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "ethtool %s", ifname);
	*strings = (struct ethtool_gstrings){ .cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES, .len = count };
	bits->cmd = ETHTOOL_GFEATURES;
	bits->size = (count + 31) / 32;
	rc = ask(fd, ifname, strings);
	if (!rc)
		rc = ask(fd, ifname, bits);
	for (uint32_t i = 0; !rc && i < count; i++)
		find((const char *)strings->data + (size_t)i * ETH_GSTRING_LEN, i, bits->features, &f);
	free(strings);
	if (rc)
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "ethtool %s: read features", ifname);
	*ret = f;
	return 0;
}
