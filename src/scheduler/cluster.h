// What the scheduler knows of the cluster, in a form that a decision can run over: nodes and pods
// with everything that filters and scores look at taken out once, strings as 64-bit hashes
// (str_hash: keyed, so nobody can make two names meet). No tree is walked and nothing is allocated
// while nodes are compared.
//
// All of it is guarded by the scheduler's one lock.
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/map.h"
#include "object/object.h"

typedef uint64_t name_hash; // of a string; 0: absent
name_hash hash_of(struct str s);

// Labels, and selectors on them.
struct label {
    name_hash key, value;
    int64_t number; // for Gt and Lt
    bool numeric;
};
struct labels {
    struct label *items;
    uint32_t n;
};
const struct label *label_find(const struct labels *l, name_hash key);

enum match_op {
    MATCH_IN,
    MATCH_NOT_IN,
    MATCH_EXISTS,
    MATCH_ABSENT,
    MATCH_GT,
    MATCH_LT,
    MATCH_NAME
};
struct requirement {
    uint8_t op;
    uint32_t n;
    name_hash key;
    name_hash *values;
    int64_t number;
};
struct term { // all of its requirements
    struct requirement *items;
    uint32_t n;
    int32_t weight; // of a preference
};
bool term_matches(const struct term *t, const struct labels *l, name_hash node_name);

struct toleration {
    name_hash key, value; // key 0: every key
    uint8_t effect;       // enum taint_effect; 0: every effect
    bool exists;
};
enum taint_effect { EFFECT_NONE, EFFECT_NO_SCHEDULE, EFFECT_PREFER_NO_SCHEDULE, EFFECT_NO_EXECUTE };
struct taint {
    name_hash key, value;
    uint8_t effect;
    struct str key_text, value_text; // for messages
};

struct host_port {
    uint32_t address; // hash of hostIP, 0: all addresses
    uint16_t port;
    uint8_t protocol; // first letter: T, U, S
};

// Resources: three with places of their own, the others by name.
enum { CPU, MEMORY, STORAGE, BASIC };
struct extended {
    name_hash name;
    int64_t amount;
    struct str text; // for messages
};
struct resources {
    int64_t basic[BASIC]; // thousandths of a core, bytes, bytes
    struct extended *more;
    uint32_t nmore;
};

struct image {
    name_hash name;
    int64_t size;
};

// A selector over the pods of one namespace, or a controller's UID, and the nodes where such pods
// are: one entry per pod. What spreading and pod affinity count.
struct group {
    name_hash key;
    name_hash ns;        // 0: by owner
    struct term *select; // NULL: by owner
    uint32_t *nodes;     // slots
    uint32_t n, cap;
    uint64_t used; // last time, for eviction of old selectors
};

struct spread {
    name_hash topology;
    int32_t max_skew, min_domains;
    bool hard;                          // DoNotSchedule
    bool ignore_affinity, honor_taints; // node inclusion policies other than the defaults
    struct term *select;
    name_hash group; // key of the group
};
struct pod_term { // of pod affinity or anti-affinity
    name_hash topology;
    struct term *select;
    name_hash *namespaces;
    uint32_t nnamespaces;
    bool all_namespaces;
    int32_t weight;
};

struct pod {
    struct arena arena; // holds everything below; begins in the block of the pod itself
    struct object *object;
    struct str ns, name, key, uid;
    name_hash uid_hash, ns_hash, owner;
    uint64_t spec_hash; // of all that matters here
    int32_t priority;
    bool never_preempts, gated;
    struct labels labels;
    struct resources request;
    int64_t nonzero[2]; // cpu and memory, with defaults for scoring where nothing is asked
    struct host_port *ports;
    uint32_t nports;
    struct toleration *tolerations;
    uint32_t ntolerations;
    struct term selector;  // spec.nodeSelector; n == 0: none
    struct term *affinity; // required node affinity: any of
    uint32_t naffinity;
    bool has_affinity; // required, though it may have no term (then nothing matches)
    struct term *preferred;
    uint32_t npreferred;
    struct spread *spreads;
    uint32_t nspreads;
    struct pod_term *affine, *anti, *prefer_affine, *prefer_anti;
    uint32_t naffine, nanti, nprefer_affine, nprefer_anti;
    name_hash *images;
    uint32_t nimages;
    struct str node_name; // where it is (or STR_NULL)
    // In the cluster.
    int32_t slot; // node that it counts on; -1: none
    struct pod *next_on_node, **at_on_node;
    struct pod *next_anti, **at_anti; // pods with required anti-affinity
    // In the queues (pending.h).
    uint8_t state;
    uint32_t heap; // position + 1
    uint32_t attempts;
    uint64_t due, sequence;
    uint32_t rejected; // filters that rejected it, as bits
    struct pod *next_waiting, **at_waiting;
    // At the scheduler.
    uint64_t reported; // hash of the last message
    uint32_t jobs;     // bindings and reports that refer to it
    bool forgotten;    // freed when the last job ends
};

struct node {
    // Hot: what every decision reads.
    struct resources room, used; // allocatable, and what its pods ask for
    int64_t nonzero[2];
    double hundredth[2]; // 100 / room: scores multiply, since dividing costs more than all the rest
    uint32_t npods, max_pods;
    bool present, unschedulable;
    uint16_t ntaints;
    struct taint *taints;
    struct labels labels;
    struct host_port *ports; // in use
    uint32_t nports, ports_cap;
    struct image *images;
    uint32_t nimages;
    name_hash name_hash, zone;
    uint64_t shape; // hash of what filters read
    struct str name;
    struct arena arena; // labels, taints, images, name
    struct pod *pods;
    uint32_t order; // position in `order`
};

struct cluster {
    struct node *nodes; // slots
    uint32_t nslots, slots_cap;
    uint32_t *order; // slots of present nodes
    uint32_t norder;
    struct map by_name;           // node name -> slot + 1
    struct map owners, selectors; // key as bytes -> struct group
    struct map image_nodes;       // image name hash -> how many nodes have it
    struct pod *anti;             // assigned pods with required anti-affinity
    uint64_t tick;
};

void cluster_done(struct cluster *c);
// extract.c
struct pod *pod_new(struct object *o);               // everything that matters, from the object
void node_extract(struct node *n, struct object *o); // replaces what the arena holds
void pod_free(struct pod *p);
bool tolerates(const struct pod *p, const struct taint *t);

// Nodes. Returns the slot.
uint32_t cluster_node_set(struct cluster *c, struct object *o);
void cluster_node_remove(struct cluster *c, struct str name);
struct node *cluster_node(struct cluster *c, struct str name); // NULL: unknown
// Pods on nodes: counted on the node, in groups, ports and so on.
void cluster_add(struct cluster *c, struct pod *p, struct str node_name);
void cluster_remove(struct cluster *c, struct pod *p);
// The group of a selector in a namespace (made and counted where it is new) or of an owner (NULL:
// no pods).
struct group *cluster_group(struct cluster *c, name_hash key, name_hash ns, struct term *select);
struct group *cluster_owner_group(struct cluster *c, name_hash owner);
