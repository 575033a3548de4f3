// String views. Nothing here allocates; nothing here looks past n.
//
// str_hash is SipHash-1-3 (Aumasson and Bernstein's SipHash with one compression and three
// finalisation rounds, the variant that hash tables use): map keys come from outside (labels,
// headers), and a keyed hash is what keeps an attacker from choosing names that all collide.
#include "base/str.h"
#include <pthread.h>
#include <sys/random.h>
#include <time.h>

static struct {
    pthread_once_t once;
    uint64_t k0, k1;
    bool fixed;
} seed = {.once = PTHREAD_ONCE_INIT};

static void seed_make(void)
{
    if (seed.fixed)
        return;
    uint64_t k[2];
    if (getrandom(k, sizeof k, 0) != sizeof k) {
        // Early boot of a strange machine: worse than random, better than constant.
        struct timespec ts;
        clock_gettime(CLOCK_REALTIME, &ts);
        k[0] = (uint64_t)ts.tv_sec * 1000000007u ^ (uint64_t)ts.tv_nsec;
        k[1] = (uintptr_t)&seed;
    }
    seed.k0 = k[0];
    seed.k1 = k[1];
}

// Before main, so that str_hash needs no check of its own. (This file is linked wherever str_hash
// is, which is why a constructor is safe here.)
__attribute__((constructor)) static void seed_init(void)
{
    pthread_once(&seed.once, seed_make);
}

void str_hash_seed(uint64_t k0, uint64_t k1)
{
    seed.fixed = true;
    seed.k0 = k0;
    seed.k1 = k1;
}

struct str str_of(const char *cstr)
{
    return cstr ? (struct str){cstr, strlen(cstr)} : STR_NULL;
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eqc(struct str a, const char *cstr)
{
    return str_eq(a, str_of(cstr));
}

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

bool str_ieq(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower((unsigned char)a.p[i]) != lower((unsigned char)b.p[i]))
            return false;
    return true;
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

ptrdiff_t str_find(struct str s, struct str needle)
{
    if (needle.n == 0)
        return 0;
    if (s.n < needle.n)
        return -1;
    const char *p = memmem(s.p, s.n, needle.p, needle.n);
    return p ? p - s.p : -1;
}

ptrdiff_t str_chr(struct str s, char c)
{
    const char *p = s.n ? memchr(s.p, c, s.n) : NULL;
    return p ? p - s.p : -1;
}

ptrdiff_t str_rchr(struct str s, char c)
{
    const char *p = s.n ? memrchr(s.p, c, s.n) : NULL;
    return p ? p - s.p : -1;
}

struct str str_sub(struct str s, size_t from, size_t n)
{
    if (!s.p)
        return STR_NULL;
    if (from > s.n)
        from = s.n;
    if (n > s.n - from)
        n = s.n - from;
    return (struct str){s.p + from, n};
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s)
{
    while (s.n && is_space(s.p[0]))
        s.p++, s.n--;
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

struct str str_cut(struct str *rest, char sep)
{
    struct str s = *rest;
    ptrdiff_t at = str_chr(s, sep);
    if (at < 0) {
        *rest = STR_NULL;
        return s;
    }
    *rest = (struct str){s.p + at + 1, s.n - (size_t)at - 1};
    return (struct str){s.p, (size_t)at};
}

bool str_to_u64(struct str s, uint64_t *ret)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned char)s.p[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
            return false;
    }
    *ret = v;
    return true;
}

bool str_to_i64(struct str s, int64_t *ret)
{
    bool negative = s.n && s.p[0] == '-';
    uint64_t v;
    if (s.n && (negative || s.p[0] == '+'))
        s = str_from(s, 1);
    if (!str_to_u64(s, &v) || v > (uint64_t)INT64_MAX + negative)
        return false;
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static inline uint64_t rotl(uint64_t x, int b)
{
    return x << b | x >> (64 - b);
}

#define SIP_ROUND                                                                                  \
    do {                                                                                           \
        v0 += v1, v1 = rotl(v1, 13), v1 ^= v0, v0 = rotl(v0, 32);                                  \
        v2 += v3, v3 = rotl(v3, 16), v3 ^= v2;                                                     \
        v0 += v3, v3 = rotl(v3, 21), v3 ^= v0;                                                     \
        v2 += v1, v1 = rotl(v1, 17), v1 ^= v2, v2 = rotl(v2, 32);                                  \
    } while (0)

uint64_t str_hash_keyed(struct str s, uint64_t k0, uint64_t k1)
{
    uint64_t v0 = k0 ^ 0x736f6d6570736575u, v1 = k1 ^ 0x646f72616e646f6du;
    uint64_t v2 = k0 ^ 0x6c7967656e657261u, v3 = k1 ^ 0x7465646279746573u;
    const char *p = s.p;
    size_t left = s.n;
    for (; left >= 8; p += 8, left -= 8) {
        uint64_t m;
        memcpy(&m, p, 8);
        v3 ^= m;
        SIP_ROUND;
        v0 ^= m;
    }
    uint64_t last = (uint64_t)s.n << 56;
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)(unsigned char)p[i] << (8 * i);
    v3 ^= last;
    SIP_ROUND;
    v0 ^= last;
    v2 ^= 0xff;
    SIP_ROUND;
    SIP_ROUND;
    SIP_ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

uint64_t str_hash(struct str s)
{
    return str_hash_keyed(s, seed.k0, seed.k1);
}
