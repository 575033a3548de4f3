// Metrics as rows: a part says in a table what it counts, counts without a lock, and /metrics
// (Prometheus' text format 0.0.4) prints the tables of all.
//
//     enum { REQUESTS, IN_FLIGHT, DURATION };
//     static const struct metric rows[] = {
//         [REQUESTS] = {"shop_requests_total", "Requests answered.", METRIC_COUNTER,
//                       .labels = {{"verb", verbs, ARRAY_LEN(verbs)}}},
//         [IN_FLIGHT] = {"shop_in_flight", "Requests being worked on.", METRIC_GAUGE},
//         [DURATION] = {"shop_duration_seconds", "Time to the answer.", METRIC_HISTOGRAM},
//     };
//     struct metric_table shop_metrics = {.rows = rows, .n = ARRAY_LEN(rows)};
//
//     metric_add(&shop_metrics, REQUESTS, GET, 1);
//     metric_observe(&shop_metrics, DURATION, 0, env_mono(env) - began);
//
// A part of a role names its table in struct part, which registers it; anything else registers its
// own. Before metric_register and after metric_unregister a count goes nowhere and costs a load.
//
// A series is chosen by number: the index into the values of the first label, times the number of
// values of the second, plus its index; 0 without labels. So the number of series is fixed by the
// program, and nobody outside can make it grow. A count is one relaxed atomic addition: any thread.
// Series of a row with labels that are still zero are not printed.
#pragma once
#include "base/buf.h"
#include "base/list.h"
#include <stdatomic.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_label {
    const char *name;
    const char *const *values;
    size_t n;
};
struct metric {
    const char *name; // [a-z_]; counters end in _total, times in _seconds
    const char *help; // one line, a sentence
    enum metric_kind kind;
    struct metric_label labels[2];
    // A counter or gauge that is asked when it is printed, instead of being counted.
    uint64_t (*read)(void *ctx);
    // Or one that prints its series itself, with metric_write_series: for labels whose values are
    // data of the program (kinds, resources), never of its users.
    void (*write)(void *ctx, const struct metric *m, struct buf *b);
};

enum { METRIC_ROWS_MAX = 24 };
struct metric_table {
    const struct metric *rows;
    size_t n;
    // A label on all its series, for several of a kind (work queues, loops); NULL: none.
    const char *label, *value;
    void *ctx; // of read and write
    // private
    struct list link;
    _Atomic(atomic_uint_least64_t *) cells;
    uint32_t first[METRIC_ROWS_MAX]; // of each row in cells
};

// Any thread; read and write run under the lock that these take, so they take neither. Twice is
// once. The table lives until it is unregistered; nobody counts in it at that moment.
void metric_register(struct metric_table *t);
void metric_unregister(struct metric_table *t); // nothing where it is not registered

void metric_add(struct metric_table *t, size_t row, size_t series, uint64_t n);
void metric_sub(struct metric_table *t, size_t row, size_t series, uint64_t n); // of a gauge
void metric_set(struct metric_table *t, size_t row, size_t series, uint64_t v); // of a gauge
// A duration into a histogram. Its buckets end at 0.1, 0.25, 0.5, 1, 2.5, 5, ... ms up to 60 s.
void metric_observe(struct metric_table *t, size_t row, size_t series, uint64_t ns);
// What a counter or gauge says; tests.
uint64_t metric_value(struct metric_table *t, size_t row, size_t series);

// All tables, by name; one HELP and TYPE for each name, however many tables have it.
void metric_write(struct buf *b);
// One line for a row's own write: NAME{label="value"} v. The value is escaped.
void metric_write_series(struct buf *b, const struct metric *m, const char *label, struct str value,
                         uint64_t v);

// --- the unlikely ---

// What is unlikely is handled, and counted where it is handled. WARN_ON also says so in the log,
// the first time; both give the condition's value, so they stand in the `if` that handles it:
//
//     if (WARN_ON(n > LIMIT))
//         n = LIMIT;
//     if (COUNT_IF(peer_is_gone))
//         return;
//
// /metrics shows each place that was ever reached: coracle_unlikely_total{site="http.c:120",
// condition="peer_is_gone"}. What is impossible is err.h's BUG_ON.
#define WARN_ON(cond)  METRIC_SITE_(cond, true)
#define COUNT_IF(cond) METRIC_SITE_(cond, false)
#define METRIC_SITE_(cond, says)                                                                   \
    ({                                                                                             \
        bool cond_ = !!(cond);                                                                     \
        if (__builtin_expect(cond_, 0)) {                                                          \
            static struct metric_site site_ = {#cond, __FILE__, __LINE__, says, 0, NULL};          \
            metric_site_count(&site_);                                                             \
        }                                                                                          \
        cond_;                                                                                     \
    })
struct metric_site {
    const char *condition, *file;
    int line;
    bool says;
    atomic_uint_least64_t count;
    struct metric_site *next; // of the sites reached so far
};
void metric_site_count(struct metric_site *s);
