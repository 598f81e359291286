/* GELU with the normal distribution itself: x Phi(x), Phi(x) = erfc(-x / sqrt 2) / 2. */
#include "backend/cuda/pointwise.h"

namespace
{
constexpr float SQRT_HALF = 0.70710678118654752440f, DENSITY_AT_0 = 0.39894228040143267794f;

struct gelu {
	static constexpr const char *name = "gelu";
	static constexpr bool KEEPS_Y = false;
	static LH_MEMBER float phi(float x) { return 0.5f * erfcf(-x * SQRT_HALF); }
	static LH_MEMBER float value(float x) { return x * phi(x); }
	static LH_MEMBER float back(float d, float x) { return d * (phi(x) + x * DENSITY_AT_0 * expf(-0.5f * x * x)); }
};
} // namespace

LH_CUDA_TABLE(gelu, NULL, NULL, lh_pointwise<gelu>::forward, lh_pointwise<gelu>::backward);
