// Kubernetes protobuf: the "k8s\0" envelope around runtime.Unknown, and messages by type table.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "object/type.h"
#include "object/value.h"

// Splits an envelope: apiVersion, kind, raw message. ERR_BAD_REQUEST when it is none.
int protobuf_envelope(struct str in, struct str *ret_api_version, struct str *ret_kind,
                      struct str *ret_raw, struct err *e);
// Decodes a message into a tree as JSON would have it: zero values that Go's encoder writes for
// fields with omitempty are dropped. Unknown protobuf fields are skipped. More than
// VALUES_MAX values: ERR_TOO_LARGE.
int protobuf_decode(struct arena *a, const struct type *type, struct str raw, struct value **ret,
                    struct err *e);
int protobuf_encode(struct buf *b, const struct type *type, const struct value *v, struct err *e);
// Whole envelope with kind and apiVersion taken from v.
int protobuf_encode_object(struct buf *b, const struct type *type, const struct value *v,
                           struct err *e);
