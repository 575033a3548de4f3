// Times and durations. Real time is nanoseconds since 1970 UTC (int64_t), monotonic time is
// nanoseconds since some start (uint64_t); both come from struct env, never from the system
// directly.
#pragma once
#include "base/arena.h"
#include "base/buf.h"

#define NS_PER_US 1000LL
#define NS_PER_MS 1000000LL
#define NS_PER_S  1000000000LL

// RFC 3339 in UTC. digits: 0 (metav1.Time), 6 (metav1.MicroTime), 9; trailing zeros are kept.
void time_write_rfc3339(struct buf *b, int64_t real_ns, int digits);
struct str time_rfc3339(struct arena *a, int64_t real_ns, int digits);
// Accepts any offset and 0 to 9 fractional digits. false: not RFC 3339 or out of range.
bool time_parse_rfc3339(struct str s, int64_t *ret_real_ns);

// The same for every time of the years 0 to 9999, which need not fit into nanoseconds since 1970: s
// whole seconds since then (rounded down) and ns of the next one.
void time_write_rfc3339_at(struct buf *b, int64_t s, int64_t ns, int digits);
bool time_parse_rfc3339_at(struct str text, int64_t *ret_s, int64_t *ret_ns);

// Go's time.Duration text: "1h30m", "300ms", "1.5s", "0s".
void duration_write(struct buf *b, int64_t ns);
bool duration_parse(struct str s, int64_t *ret_ns);
// kubectl's age: "5s", "2m30s", "3h", "45d", "2y" (apimachinery duration.HumanDuration).
void duration_write_human(struct buf *b, int64_t ns);

// The proleptic Gregorian calendar: days since 1970-01-01 of a date (month 1 to 12), and back.
int64_t time_days_from_civil(int64_t y, int m, int d);
void time_civil_from_days(int64_t days, int64_t *y, int *m, int *d);
