#include "optim/adamw.h"

#include <math.h>

void lh_adamw_begin(struct lh_adamw *o)
{
	o->power1 *= o->beta1;
	o->power2 *= o->beta2;
}

/*     m = beta1 m + (1 - beta1) g          v = beta2 v + (1 - beta2) g^2
 *     p -= lr (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay p)
 * Constants are computed in double and rounded once. */
void lh_adamw_apply(const struct lh_adamw *o, double learning_rate, double decay, double grad_scale, size_t n,
		    float *params, const float *grads, float *m, float *v)
{
	const float scale = (float)grad_scale, b1 = (float)o->beta1, b2 = (float)o->beta2;
	const float c1 = (float)(1 - o->beta1), c2 = (float)(1 - o->beta2), epsilon = (float)o->epsilon;
	const float step = (float)(learning_rate / (1 - o->power1)), unbias2 = (float)(1 / (1 - o->power2));
	const float keep = (float)(1 - learning_rate * decay * o->weight_decay);
	for (size_t i = 0; i < n; i++) {
		float g = grads[i] * scale;
		m[i] = b1 * m[i] + c1 * g;
		v[i] = b2 * v[i] + c2 * g * g;
		params[i] = keep * params[i] - step * m[i] / (sqrtf(v[i] * unbias2) + epsilon);
	}
}
