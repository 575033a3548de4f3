// The parts of a role (base/part.h) that this room supplies: the node's loop with its clients and
// informers, the container runtime, the agent, and, behind all who use the loop, its thread.
#pragma once
#include "base/part.h"

// Fills host.node_loop, node_client, node_informers, proxy_informers.
extern const struct part node_part;
extern const struct part node_part_runtime; // fills host.runtime
extern const struct part node_part_agent;
extern const struct part node_part_loop;
