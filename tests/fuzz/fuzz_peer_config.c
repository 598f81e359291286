/* The reader of a peer's configuration: whatever comes in, what is accepted prints and reads back the same. */
#include <stdlib.h>
#include <string.h>

#include "longhaul/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lh_peer_config c, again;
	struct lh_err err = LH_ERR_INIT;
	char *text, *text2;
	if (lh_peer_config_read((const char *)data, size, &c, &err)) {
		if (!err.code || !err.text[0])
			abort();
		return 0;
	}
	if (lh_peer_config_print(&c, &text, &err) || lh_peer_config_read(text, strlen(text), &again, &err) ||
	    lh_peer_config_print(&again, &text2, &err) || strcmp(text, text2))
		abort();
	free(text);
	free(text2);
	lh_peer_config_done(&c);
	lh_peer_config_done(&again);
	return 0;
}
