/* supported.h - what a configuration may ask for and this peer cannot do (yet): refused at the start, never ignored. */
#ifndef TRAINER_SUPPORTED_H
#define TRAINER_SUPPORTED_H

#include "longhaul/peer.h"

int lh_peer_supported(const struct lh_peer_config *c, struct lh_err *err);

#endif
