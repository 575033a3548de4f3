// Digests, by which content is named: "sha256:" and 64 hexadecimal digits (OCI descriptor.md).
// Other algorithms are refused: no registry in use requires one, and a name must have one spelling.
#pragma once
#include "base/str.h"

#define DIGEST_HEX 65 // 64 digits and a NUL

bool digest_valid(struct str digest);
// SHA-256 of bytes in memory, in hexadecimal.
void digest_sha256(struct str bytes, char ret_hex[DIGEST_HEX]);
void digest_hex(const unsigned char bytes[32], char ret_hex[DIGEST_HEX]);
