// CRC-32C (Castagnoli), the checksum of all that is kept on the disk. Chainable: start with 0, pass
// the last result on.
#pragma once
#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *p, size_t n);
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n); // for comparing, in tests
