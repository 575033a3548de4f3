// Facts about the machine for the Node object: what does not change while the agent runs, and the
// three pressures that do.
#pragma once
#include "base/arena.h"
#include "object/value.h"

struct node_info {
    int64_t cpus, memory, disk;                    // bytes
    struct value *capacity, *allocatable, *system; // status.capacity, .allocatable, .nodeInfo
    const char *arch;                              // "amd64"
    struct str hostname;
};
// runtime: "oci://crun-1.8.1".
void node_info_read(struct arena *a, const char *data_dir, unsigned max_pods, struct str runtime,
                    struct node_info *ret);

struct node_pressure {
    bool memory, disk, pid;
};
void node_pressure_read(const char *data_dir, struct node_pressure *ret);
