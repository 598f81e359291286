#include "ethtool.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static int ethtool(int fd, const char *ifname, void *command)
{
	struct ifreq req = { .ifr_data = command };
	snprintf(req.ifr_name, sizeof req.ifr_name, "%s", ifname);
	return ioctl(fd, SIOCETHTOOL, &req) ? -errno : 0;
}

/* ETHTOOL_STSO and its like are old names for bits of the feature words; udp segmentation has only the bit, whose
 * number is the kernel's own affair: found by name, once per call. */
static int udp_segmentation_off(int fd, const char *ifname)
{
	enum { FEATURE_WORDS_MAX = 8 };
	union { struct ethtool_sset_info head; uint32_t words[sizeof(struct ethtool_sset_info) / 4 + 1]; } info = {
		.head = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES } };
	int rc = ethtool(fd, ifname, &info);
	if (rc || !info.head.sset_mask)
		return rc ? rc : -EOPNOTSUPP;
	uint32_t count = info.head.data[0];
	if (count > FEATURE_WORDS_MAX * 32)
		return -EOVERFLOW;
	struct ethtool_gstrings *names = calloc(1, sizeof *names + (size_t)count * ETH_GSTRING_LEN);
	if (!names)
		return -ENOMEM;
	*names = (struct ethtool_gstrings){ .cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES, .len = count };
	rc = ethtool(fd, ifname, names);
	union {
		struct ethtool_sfeatures head;
		uint8_t room[sizeof(struct ethtool_sfeatures) +
			     FEATURE_WORDS_MAX * sizeof(struct ethtool_set_features_block)];
	} set = { .room = { 0 } };
	set.head = (struct ethtool_sfeatures){ .cmd = ETHTOOL_SFEATURES, .size = (count + 31) / 32 };
	bool found = false;
	for (uint32_t i = 0; !rc && i < count; i++) {
		if (strncmp((char *)names->data + (size_t)i * ETH_GSTRING_LEN, "tx-udp-segmentation", ETH_GSTRING_LEN))
			continue;
		set.head.features[i / 32].valid = 1u << i % 32;
		found = true;
	}
	free(names);
	if (rc || !found)
		return rc;
	struct ifreq req = { .ifr_data = (void *)&set };
	snprintf(req.ifr_name, sizeof req.ifr_name, "%s", ifname);
	return ioctl(fd, SIOCETHTOOL, &req) < 0 ? -errno : 0; /* positive: flags about what else changed */
}

static int value_off(int fd, const char *ifname, uint32_t command)
{
	return ethtool(fd, ifname, &(struct ethtool_value){ .cmd = command, .data = 0 });
}

int lh_offloads_off(int fd, const char *ifname, bool sends, bool receives, struct lh_err *err)
{
	int rc = 0;
	const char *which = "tso";
	if (sends) {
		rc = value_off(fd, ifname, ETHTOOL_STSO);
		if (!rc && (which = "gso"))
			rc = value_off(fd, ifname, ETHTOOL_SGSO);
		if (!rc && (which = "tx-udp-segmentation"))
			rc = udp_segmentation_off(fd, ifname);
	}
	if (receives && !rc && (which = "gro"))
		rc = value_off(fd, ifname, ETHTOOL_SGRO);
	return rc ? lh_err_sys(err, LH_EXIT_MACHINE, rc, "ethtool %s %s off", ifname, which) : 0;
}

int lh_link_settle(int fd, const char *ifname, struct lh_err *err)
{
	struct ethtool_value link = { .cmd = ETHTOOL_GLINK };
	int rc = ethtool(fd, ifname, &link);
	if (!rc && !link.data)
		rc = -ENETDOWN;
	return rc ? lh_err_sys(err, LH_EXIT_MACHINE, rc, "interface %s", ifname) : 0;
}
