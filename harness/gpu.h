/* gpu.h - may an experiment calculate on a GPU of this machine? */
#ifndef HARNESS_GPU_H
#define HARNESS_GPU_H

#include "session.h"

/* Engine cuda: exit 3 with the reason where it cannot. Engine auto: becomes cuda or, with a notice on standard error, cpu.
 * uml: the run will be, or is, in User-Mode Linux, where no GPU is. */
int lh_gpu_settle(const struct lh_session *s, struct lh_training *t, bool uml, struct lh_err *err);

#endif
