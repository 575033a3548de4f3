// What the checks of a pod's parts share: the names that its parts refer to each other by, so that
// every cross reference is one look into a hash set.
#pragma once
#include "object/key_index.h"
#include "schema/check.h"

struct pod_check {
    const struct value *spec;
    const struct value **volumes;  // by position in volume_names
    struct key_index volume_names; // of volumes, and of the claim templates of a StatefulSet
    struct key_index claim_names;  // resourceClaims
    const char *claims_said;       // of a name that is not among them
    struct key_index container_names;
    ptrdiff_t ntargets;  // so many of them may be looked into by an ephemeral container
    bool images_trimmed; // an image with white space around it is refused (not in old pods)
};

// The path is at the PodSpec.
void check_containers(struct check *c, struct pod_check *p);
void check_volumes(struct check *c, const struct value *spec);
// A resource that a container may ask for; the path is at it.
void check_resource_name(struct check *c, struct str name);
bool check_exact_resource(struct str name); // cannot be overcommitted: devices, pages
void check_overhead(struct check *c, const struct value *overhead);
void check_pod_annotations(struct check *c, const struct value *meta, const struct value *spec);
// The policies of a job (check_job.c); the path is at its spec.
void check_job_failure_policy(struct check *c, const struct value *spec);
void check_job_success_policy(struct check *c, const struct value *spec);
void check_scheduling(struct check *c, const struct value *spec);
// A fieldRef or resourceFieldRef of the environment, or of a file in a volume.
void check_field_ref_of(struct check *c, const struct value *ref, bool volume);
void check_resource_ref_of(struct check *c, const struct value *ref, bool volume);
