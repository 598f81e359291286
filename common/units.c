#include "longhaul/units.h"
