// Content negotiation: which representation the client wants most among those that we have for a
// thing.
//
// Clauses are walked by quality, then in their order; a clause that we cannot serve is passed over;
// none left is 406. Between JSON and protobuf of the same quality JSON is taken: its bytes are at
// hand, and every client that asks for protobuf reads it.
#pragma once
#include "base/arena.h"
#include "base/err.h"

enum media { MEDIA_JSON, MEDIA_YAML, MEDIA_PROTOBUF };
enum shape_as { AS_OBJECT, AS_TABLE, AS_PARTIAL, AS_PARTIAL_LIST };

struct accept_clause {
    struct str type;     // "application/json", "*/*"
    struct str as, g, v; // parameters, or STR_NULL
    bool pretty;
    int q; // thousandths
};
#define ACCEPT_CLAUSES 64
struct accept {
    struct accept_clause clause[ACCEPT_CLAUSES]; // by preference
    size_t n;
};
// An absent header accepts everything. More clauses than ACCEPT_CLAUSES are not looked at.
void accept_parse(struct str header, struct accept *ret);
// Whether the clause covers a media type ("application/json"), wildcards included.
bool accept_covers(const struct accept_clause *c, const char *type);

enum offer {
    OFFER_TABLE = 1,
    OFFER_PARTIAL = 2,      // PartialObjectMetadata
    OFFER_PARTIAL_LIST = 4, // PartialObjectMetadataList
    OFFER_PROTOBUF = 8,
    OFFER_YAML = 16,
};
struct negotiated {
    enum media media;
    enum shape_as as;
    const char *meta_version; // "v1" or "v1beta1" of meta.k8s.io, for transforms
    bool pretty;
};
// ERR_NOT_ACCEPTABLE with the originals' text.
int negotiate(struct str header, unsigned offers, struct negotiated *ret, struct err *e);
const char *media_type(enum media m);

// A Content-Type without its parameters, trimmed.
struct str content_type_base(struct str header);
