// Base64 in its two alphabets (RFC 4648). The standard one with padding is what Go's encoding/json
// has for []byte: Secrets, binaryData, kubeconfigs, Basic credentials. The URL-safe one without
// padding is that of JSON web tokens.
#pragma once
#include "base/arena.h"
#include "base/buf.h"

// Appends the text of the bytes.
void base64_encode(struct buf *b, struct str bytes);
void base64url_encode(struct buf *b, struct str bytes);
// The same as a string of the arena.
struct str base64_text(struct arena *a, struct str bytes);

// Appends the bytes. CR and LF are skipped, padding is required. false: not base64 (part of it may
// have been appended).
bool base64_decode(struct buf *b, struct str text);
// The same as a string of the arena; *ret is untouched on false.
bool base64_bytes(struct arena *a, struct str text, struct str *ret);
// As base64_bytes, unpadded; false on any other character, an impossible length, or bits
// left over, so that bytes have one text and no two tokens are the same token.
bool base64url_decode(struct arena *a, struct str text, struct str *ret);
