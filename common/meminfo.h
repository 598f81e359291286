/* meminfo.h - what memory the running kernel still has to give. */
#ifndef COMMON_MEMINFO_H
#define COMMON_MEMINFO_H

#include <stdint.h>

/* MemAvailable of /proc/meminfo in bytes; 0 when /proc does not tell. */
uint64_t lh_memory_available(void);

#endif
