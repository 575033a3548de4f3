// A published API object: immutable, reference-counted, shared by store, cache, watchers and
// controllers of the process. Its JSON is kept as it is stored, without metadata.resourceVersion;
// since that is the revision at which the store committed it, it is spliced in when the object is
// written out. A tree is made when somebody asks, in their own arena: parsing costs about a
// microsecond a kilobyte, keeping trees would cost more memory than the objects.
//
// The JSON always begins {"kind":"K","apiVersion":"V","metadata":{ (object_from_value writes it
// so), therefore a list item without kind and apiVersion is the same bytes from another offset.
#pragma once
#include "base/blob.h"
#include "base/buf.h"
#include "base/err.h"
#include "object/value.h"

struct kind; // schema/schema.h

struct object {
    atomic_uint refs;
    uint32_t metadata;       // offset of `"metadata":{` in the JSON
    uint64_t revision;       // resourceVersion; 0: none (not stored yet)
    const struct kind *kind; // NULL where unknown (a Status from a remote server)
    struct blob *json;
    struct str key; // storage key, owned: "/registry/pods/default/web"; may be empty
    uint32_t name_at, namespace_at; // offsets in the JSON, for object_name and object_namespace
    uint16_t name_n, namespace_n;   // 0: none, or written with escapes
};

// From a tree: kind and apiVersion are moved to the front, metadata third, resourceVersion taken
// out. Error: ERR_BAD_REQUEST where the tree is no object, or kind, apiVersion or metadata is
// missing.
int object_from_value(const struct kind *kind, struct str key, uint64_t revision,
                      const struct value *v, struct object **ret, struct err *e);
// From stored bytes (written by object_from_value, or by the originals: then rewritten once).
int object_from_blob(const struct kind *kind, struct str key, uint64_t revision, struct blob *json,
                     struct object **ret, struct err *e);
// The same bytes under another revision (a DELETED event carries the revision of the deletion).
struct object *object_with_revision(const struct object *o, uint64_t revision);
struct object *object_ref(struct object *o);
void object_unref(struct object *o);
static inline void object_unrefp(struct object **o)
{
    object_unref(*o);
}
#define _cleanup_object_ __attribute__((cleanup(object_unrefp)))

// The whole object as JSON, with resourceVersion.
void object_write(struct buf *b, const struct object *o);
// As a list item: without kind and apiVersion when bare.
void object_write_item(struct buf *b, const struct object *o, bool bare);
size_t object_json_size(const struct object *o); // upper bound of what object_write appends
// The tree, with resourceVersion, in `a`; strings point into the object, which must outlive it.
// Never fails: published bytes are known to parse.
struct value *object_tree(struct arena *a, const struct object *o);
// metadata only ({"name":…,"labels":…}), cheaper than the whole tree.
struct value *object_metadata(struct arena *a, const struct object *o);

// namespace and name, from the metadata (name: else the key's tail); borrowed from the object.
// O(1).
struct str object_namespace(const struct object *o);
struct str object_name(const struct object *o);
