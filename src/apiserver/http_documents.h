// Large documents that are the same for everybody (OpenAPI), rendered once and kept for a while,
// plain and packed: however many clients ask and do not read, the bytes exist once. Any thread.
#pragma once
#include "base/blob.h"
#include "base/buf.h"

struct documents;
struct documents *documents_new(void);
void documents_free(struct documents *d); // NULL is nothing
// A reference to the document of that name, packed with gzip if asked; rendered if it is not kept.
// NULL: render says that there is none.
struct blob *documents_get(struct documents *d, struct str name, bool gzip,
                           bool (*render)(void *ctx, struct buf *b), void *ctx);
