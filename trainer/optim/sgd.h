/* sgd.h - plain gradient descent: no momentum, no decay, no warm-up, so that what it does can be said in one line. */
#ifndef OPTIM_SGD_H
#define OPTIM_SGD_H

#include <stddef.h>

/* params[i] -= rate * grads[i], the rate rounded once. */
void lh_sgd_apply(double rate, size_t n, float *params, const float *grads);

#endif
