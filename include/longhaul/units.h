/* units.h - the quantities of longhaul, their one internal unit, and the only
 * parser and printer for them.
 *
 * Time is int64 nanoseconds, rate uint64 bits per second, size uint64 bytes,
 * probability uint32 parts per billion. A time or a rate without a unit is
 * refused, and so are inf, nan, hex, signs, trailing text, overflow, and
 * `mbps`, which tc reads as megabytes and people as megabits per second.
 */
#ifndef LONGHAUL_UNITS_H
#define LONGHAUL_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int64_t lh_ns;     /* nanoseconds */
typedef uint64_t lh_bps;   /* bits per second */
typedef uint64_t lh_bytes; /* bytes */
typedef uint32_t lh_ppb;   /* parts per billion, 0 ... LH_PPB_ONE */

#define LH_NS_PER_US INT64_C(1000)
#define LH_NS_PER_MS INT64_C(1000000)
#define LH_NS_PER_S INT64_C(1000000000)
#define LH_PPB_ONE UINT32_C(1000000000)

/* "100ms" "1.5s" "250us" "80ns" "2min" "1h"; "0" alone is allowed. Rounded to the nearest nanosecond. */
int lh_ns_parse(const char *text, lh_ns *ret_ns, struct lh_err *err);
/* "200mbit" "1.5Gbit" "64kbit" "10tbit" (SI; bits per second, "200mbit/s" too). */
int lh_bps_parse(const char *text, lh_bps *ret_bps, struct lh_err *err);
/* "64KiB" "4MiB" "1GiB" (1024) "1kB" "1MB" "1GB" (1000) "512B"; a bare number is refused. */
int lh_bytes_parse(const char *text, lh_bytes *ret_bytes, struct lh_err *err);
/* "0.1%" or a decimal fraction "0.001"; 0 ... 100 %. A bare whole number other than 0 is refused: 1 % or 100 %? */
int lh_ppb_parse(const char *text, lh_ppb *ret_ppb, struct lh_err *err);

/* Text without superfluous digits, in the largest unit that does not need a leading "0.", that parses
 * back to the same value (a negative time is printed, though none is read). Returns buf; 32 bytes suffice. */
char *lh_ns_print(lh_ns ns, char *buf, size_t size);
char *lh_bps_print(lh_bps bps, char *buf, size_t size);
char *lh_bytes_print(lh_bytes bytes, char *buf, size_t size);
char *lh_ppb_print(lh_ppb ppb, char *buf, size_t size);

/* Bandwidth-delay product in bytes: rate x RTT / 8, rounded up; saturates. */
lh_bytes lh_bdp_bytes(lh_bps rate_bps, lh_ns rtt_ns);

/* CLOCK_MONOTONIC now. The only clock that a printed number may come from. */
lh_ns lh_clock_ns(void);

#ifdef __cplusplus
}
#endif
#endif
