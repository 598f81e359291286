#include "longhaul/precision.h"

#include <stddef.h>

const char *const lh_precision_names[] = { "fp32", "bf16", "fp16", NULL };
