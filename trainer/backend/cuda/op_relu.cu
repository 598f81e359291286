/* max(x, 0). NaN stays NaN, so that a broken number is seen. */
#include "backend/cuda/pointwise.h"

namespace
{
struct relu {
	static constexpr const char *name = "relu";
	static constexpr bool KEEPS_Y = true;
	static LH_MEMBER float value(float x) { return x < 0 ? 0 : x; }
	static LH_MEMBER float back(float d, float y) { return y > 0 ? d : 0; }
};
} // namespace

LH_CUDA_TABLE(relu, NULL, NULL, lh_pointwise<relu>::forward, lh_pointwise<relu>::backward);
