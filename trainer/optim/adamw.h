/* adamw.h - AdamW (Loshchilov and Hutter): Adam with weight decay that is not part of the gradient. */
#ifndef OPTIM_ADAMW_H
#define OPTIM_ADAMW_H

#include <stddef.h>

struct lh_adamw {
	double beta1, beta2, epsilon, weight_decay;
	double power1, power2; /* beta1^t, beta2^t after t steps; both 1 at the start */
};
#define LH_ADAMW_INIT { .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.01, .power1 = 1, .power2 = 1 }

/* Begin step t + 1: advances the powers. Then lh_adamw_apply for each run of parameters, in any order. */
void lh_adamw_begin(struct lh_adamw *o);
/* The gradient is grads[i] * grad_scale. m, v: moments, zero before the first step. decay: 0 or 1 times the
 * optimiser's weight_decay. */
void lh_adamw_apply(const struct lh_adamw *o, double learning_rate, double decay, double grad_scale, size_t n,
		    float *params, const float *grads, float *m, float *v);

#endif
