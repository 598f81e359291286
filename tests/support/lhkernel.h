/* lhkernel.h - tests that need a kernel with sch_netem: on this one where it has it, else inside User-Mode Linux.
 *
 * A test program calls lh_kernel_main() where others call lh_test_main(), and is done: where the running kernel has
 * no netem, the program runs itself again in a guest and passes the guest's TAP through. Where there is neither,
 * every test is skipped with the capability "kernel" and both reasons.
 */
#ifndef LHKERNEL_H
#define LHKERNEL_H

#include "lhtest.h"

int lh_kernel_main(int argc, char **argv, const char *suite, const struct lh_test *tests, size_t ntests);

#endif
