// The parts of a role (base/part.h) that this room supplies: what the loops of the control plane
// share, and, behind all who have asked for an informer, its start.
#pragma once
#include "base/part.h"

extern const struct part client_part_control; // fills host.control_client, informers, executor
extern const struct part client_part_informers;
