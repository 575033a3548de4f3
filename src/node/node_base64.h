// Base64 (RFC 4648, standard alphabet) as Secrets and binaryData carry it. White space and padding
// are skipped; any other character is refused.
#pragma once
#include "base/arena.h"

bool node_base64_decode(struct arena *a, struct str in, struct str *ret);
