/* lhtrace.h - what a viewer needs of a Chrome trace, held against one. */
#ifndef LHTRACE_H
#define LHTRACE_H

#include <jansson.h>

/* Every event has what its phase asks for; slices of a thread nest; asynchronous ones have both ends, in order; processes
 * and threads have names. */
void lhtrace_check(const json_t *doc);

#endif
