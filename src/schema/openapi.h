// OpenAPI descriptions, rendered from the tables when they are asked for. Nothing is kept: clients
// keep what they fetched as long as the hash stands, and rendering takes milliseconds.
#pragma once
#include "base/buf.h"
#include "base/str.h"

// Changes when a table or the renderer does. Use as ETag (in quotes) and as ?hash=… of v3.
struct str openapi_hash(void);
// GET /openapi/v3
void openapi_v3_index(struct buf *b);
// GET /openapi/v3/<path>, path "api/v1", "apis/apps/v1". JSON. False: no such group version.
bool openapi_v3(struct buf *b, struct str path);
// GET /openapi/v2: JSON, and the gnostic protobuf document. Clients ask for the latter as
// application/com.github.proto-openapi.spec.v2@v1.0+protobuf; the answer's Content-Type must have a
// dot for the @ (…spec.v2.v1.0+protobuf), since clients parse it as a media type, which has no @.
void openapi_v2(struct buf *b);
void openapi_v2_protobuf(struct buf *b);
