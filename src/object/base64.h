// Standard base64 with padding, as Go's encoding/json has it for []byte.
#pragma once
#include "base/buf.h"

void base64_encode(struct buf *b, struct str bytes);
// Appends the bytes. CR and LF are skipped. false: not base64 (part of it may have been appended).
bool base64_decode(struct buf *b, struct str text);
