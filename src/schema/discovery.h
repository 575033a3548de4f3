// Discovery documents: what resources there are. Built from the tables on first use and kept (some
// 100 kB in all); immutable after that, any thread.
#pragma once
#include "base/blob.h"
#include "schema/schema.h"

struct document {
    struct blob *body; // JSON; borrowed, lives as long as the process
    struct str etag;   // with its quotes: "\"0A1B…\"" (sha-256 of the body)
};

// GET /api and /apis with Accept …;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList: aggregated.
// core: the legacy group (/api). beta: v2beta1 instead of v2. Answer with
// `Content-Type: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`.
const struct document *discovery_aggregated(bool core, bool beta);
// GET /apis: APIGroupList.
const struct document *discovery_groups(void);
// GET /apis/<group>: APIGroup. NULL: no such group.
const struct document *discovery_group(struct str group);
// GET /api/v1 and /apis/<group>/<version>: APIResourceList. NULL: no such group version.
const struct document *discovery_resources(struct str group, struct str version);
// GET /api: APIVersions; server_address is "host:port". In `a`.
struct str discovery_versions(struct arena *a, struct str server_address);
