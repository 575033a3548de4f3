// The part of a role (base/part.h) that this room supplies.
#pragma once
#include "base/part.h"

extern const struct part store_part; // fills host.store
