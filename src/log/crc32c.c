// CRC-32C by the processor's own instruction where it has one (SSE 4.2, ARMv8 CRC), else by eight
// tables, eight bytes a step. Which one is decided once, before main.
#include "log/crc32c.h"
#include <string.h>

static uint32_t table[8][256];

static uint32_t (*best)(uint32_t crc, const void *p, size_t n) = crc32c_portable;

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n)
{
    const unsigned char *at = p;
    crc = ~crc;
    for (; n >= 8; at += 8, n -= 8) {
        uint32_t x = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                            (uint32_t)at[3] << 24);
        crc = table[7][x & 255] ^ table[6][x >> 8 & 255] ^ table[5][x >> 16 & 255] ^
              table[4][x >> 24] ^ table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^
              table[0][at[7]];
    }
    while (n--)
        crc = table[0][(crc ^ *at++) & 255] ^ crc >> 8;
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse(uint32_t crc, const void *p, size_t n)
{
    const unsigned char *at = p;
    uint64_t c = ~crc;
    for (; n >= 8; at += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        c = __builtin_ia32_crc32di(c, word);
    }
    uint32_t low = (uint32_t)c;
    while (n--)
        low = __builtin_ia32_crc32qi(low, *at++);
    return ~low;
}
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
__attribute__((target("+crc"))) static uint32_t crc32c_arm(uint32_t crc, const void *p, size_t n)
{
    const unsigned char *at = p;
    crc = ~crc;
    for (; n >= 8; at += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        crc = __crc32cd(crc, word);
    }
    while (n--)
        crc = __crc32cb(crc, *at++);
    return ~crc;
}
#endif

__attribute__((constructor)) static void choose(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 255];
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2"))
        best = crc32c_sse;
#elif defined(__aarch64__)
    if (getauxval(AT_HWCAP) & (1 << 7)) // HWCAP_CRC32
        best = crc32c_arm;
#endif
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    return best(crc, p, n);
}
