#include "pattern_butterfly.h"

static unsigned blocks(unsigned npeers)
{
	return npeers;
}

/* The first n % npeers blocks are one element longer than the rest; with n < npeers the rest are empty. */
static struct lh_block block(unsigned npeers, uint64_t n, unsigned b)
{
	uint64_t base = n / npeers, longer = n % npeers;
	return (struct lh_block){
		.offset = b * base + (b < longer ? b : longer),
		.length = base + (b < longer),
	};
}

static size_t transfers(unsigned npeers, unsigned rank, struct lh_transfer *ret, size_t cap)
{
	size_t n = 0;
	for (unsigned round = 0; round < 2; round++)
		for (unsigned from = 0; from < npeers; from++)
			for (unsigned to = 0; to < npeers; to++) {
				if (from == to || (from != rank && to != rank))
					continue;
				if (n < cap)
					ret[n] = (struct lh_transfer){
						.round = round,
						.kind = round ? LH_TRANSFER_RESULT : LH_TRANSFER_REDUCE,
						.from = from, .to = to, .block = round ? from : to,
					};
				n++;
			}
	return n;
}

const struct lh_pattern lh_pattern_butterfly = {
	.name = "butterfly", .blocks = blocks, .block = block, .transfers = transfers,
};
