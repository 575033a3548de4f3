// Metrics: registered tables in a list under a lock, their numbers in arrays of atomics.
//
// A row's cells lie one behind the other: one for each series of a counter or gauge; of a
// histogram, for each series, a cell for each bucket, one for all that is beyond the last, and the
// sum in nanoseconds. Counts are relaxed: a reader may see one before another, never a torn one.
#include "base/metric.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/path.h"
#include "base/time.h"

static const uint64_t bounds[] = {
    100 * NS_PER_US, 250 * NS_PER_US, 500 * NS_PER_US, 1 * NS_PER_MS,    2500 * NS_PER_US,
    5 * NS_PER_MS,   10 * NS_PER_MS,  25 * NS_PER_MS,  50 * NS_PER_MS,   100 * NS_PER_MS,
    250 * NS_PER_MS, 500 * NS_PER_MS, 1 * NS_PER_S,    2500 * NS_PER_MS, 5 * NS_PER_S,
    10 * NS_PER_S,   30 * NS_PER_S,   60 * NS_PER_S};
enum { NBOUNDS = ARRAY_LEN(bounds), INFINITE = NBOUNDS, SUM, HISTOGRAM_CELLS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // guards the list of tables
static struct list tables = {&tables, &tables};
static _Atomic(struct metric_site *) sites; // those reached, the newest first

static size_t series_of(const struct metric *m)
{
    size_t n = 1;
    for (size_t i = 0; i < ARRAY_LEN(m->labels); i++)
        n *= m->labels[i].name ? m->labels[i].n : 1;
    return n;
}

static size_t width_of(const struct metric *m)
{
    return m->kind == METRIC_HISTOGRAM ? HISTOGRAM_CELLS : 1;
}

// --- tables ---

void metric_register(struct metric_table *t)
{
    BUG_ON(t->n > METRIC_ROWS_MAX);
    LOCKED(&lock);
    if (atomic_load(&t->cells))
        return;
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        t->first[i] = (uint32_t)n;
        n += series_of(&t->rows[i]) * width_of(&t->rows[i]);
    }
    list_push(&tables, &t->link);
    atomic_store(&t->cells, mem_zalloc((n + 1) * sizeof(atomic_uint_least64_t)));
}

void metric_unregister(struct metric_table *t)
{
    LOCKED(&lock);
    atomic_uint_least64_t *cells = atomic_exchange(&t->cells, NULL);
    if (!cells)
        return;
    list_remove(&t->link);
    free(cells);
}

// --- counting ---

static atomic_uint_least64_t *cell(struct metric_table *t, size_t row, size_t series)
{
    // acquire: the cells are zeroed before they are seen
    atomic_uint_least64_t *cells = atomic_load_explicit(&t->cells, memory_order_acquire);
    if (!cells)
        return NULL;
    BUG_ON(row >= t->n || series >= series_of(&t->rows[row]));
    return cells + t->first[row] + series * width_of(&t->rows[row]);
}

void metric_add(struct metric_table *t, size_t row, size_t series, uint64_t n)
{
    atomic_uint_least64_t *c = cell(t, row, series);
    if (c)
        atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

void metric_sub(struct metric_table *t, size_t row, size_t series, uint64_t n)
{
    atomic_uint_least64_t *c = cell(t, row, series);
    if (c)
        atomic_fetch_sub_explicit(c, n, memory_order_relaxed);
}

void metric_set(struct metric_table *t, size_t row, size_t series, uint64_t v)
{
    atomic_uint_least64_t *c = cell(t, row, series);
    if (c)
        atomic_store_explicit(c, v, memory_order_relaxed);
}

void metric_observe(struct metric_table *t, size_t row, size_t series, uint64_t ns)
{
    atomic_uint_least64_t *c = cell(t, row, series);
    if (!c)
        return;
    size_t at = 0;
    while (at < NBOUNDS && ns > bounds[at])
        at++;
    atomic_fetch_add_explicit(&c[at], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c[SUM], ns, memory_order_relaxed);
}

uint64_t metric_value(struct metric_table *t, size_t row, size_t series)
{
    atomic_uint_least64_t *c = cell(t, row, series);
    return c ? atomic_load_explicit(c, memory_order_relaxed) : 0;
}

// --- printing ---

// Adds to the labels of one series, which begin empty. As the text format wants values: backslash,
// quote and newline escaped.
static void write_label(struct buf *b, const char *name, struct str value)
{
    buf_char(b, b->n ? ',' : '{');
    buf_puts(b, name);
    buf_puts(b, "=\"");
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '\\' || c == '"')
            buf_char(b, '\\');
        if (c == '\n')
            buf_puts(b, "\\n");
        else
            buf_char(b, c);
    }
    buf_char(b, '"');
}

static void write_seconds(struct buf *b, uint64_t ns)
{
    char text[40];
    int n = snprintf(text, sizeof text, "%llu.%09llu", (unsigned long long)(ns / NS_PER_S),
                     (unsigned long long)(ns % NS_PER_S));
    while (text[n - 1] == '0')
        n--;
    buf_add(b, text, (size_t)(text[n - 1] == '.' ? n - 1 : n));
}

// NAME SUFFIX {labels, le} for a series; the space before the value included.
static void write_name(struct buf *b, const struct metric_table *t, const struct metric *m,
                       size_t series, const char *suffix, const char *le)
{
    _cleanup_buf_ struct buf labels = BUF_INIT;
    if (t->label)
        write_label(&labels, t->label, str_of(t->value));
    size_t second = m->labels[1].name ? m->labels[1].n : 1;
    const size_t index[] = {series / second, series % second};
    for (size_t i = 0; i < ARRAY_LEN(m->labels); i++)
        if (m->labels[i].name)
            write_label(&labels, m->labels[i].name, str_of(m->labels[i].values[index[i]]));
    if (le)
        write_label(&labels, "le", str_of(le));
    buf_puts(b, m->name);
    buf_puts(b, suffix);
    if (labels.n) {
        buf_str(b, buf_view(&labels));
        buf_char(b, '}');
    }
    buf_char(b, ' ');
}

static void write_histogram(struct buf *b, struct metric_table *t, const struct metric *m,
                            size_t series, const atomic_uint_least64_t *c)
{
    uint64_t total = 0;
    for (size_t i = 0; i <= NBOUNDS; i++) {
        _cleanup_buf_ struct buf le = BUF_INIT;
        if (i < NBOUNDS)
            write_seconds(&le, bounds[i]);
        else
            buf_puts(&le, "+Inf");
        total += atomic_load_explicit(&c[i], memory_order_relaxed);
        write_name(b, t, m, series, "_bucket", buf_cstr(&le));
        buf_u64(b, total);
        buf_char(b, '\n');
    }
    write_name(b, t, m, series, "_sum", NULL);
    write_seconds(b, atomic_load_explicit(&c[SUM], memory_order_relaxed));
    buf_char(b, '\n');
    write_name(b, t, m, series, "_count", NULL);
    buf_u64(b, total);
    buf_char(b, '\n');
}

static bool is_zero(const atomic_uint_least64_t *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (atomic_load_explicit(&c[i], memory_order_relaxed))
            return false;
    return true;
}

static void write_row(struct buf *b, struct metric_table *t, size_t row)
{
    const struct metric *m = &t->rows[row];
    if (m->write) {
        m->write(t->ctx, m, b);
        return;
    }
    size_t n = m->read ? 1 : series_of(m);
    for (size_t s = 0; s < n; s++) {
        const atomic_uint_least64_t *c = cell(t, row, s);
        if (m->labels[0].name && is_zero(c, width_of(m)))
            continue;
        if (m->kind == METRIC_HISTOGRAM) {
            write_histogram(b, t, m, s, c);
            continue;
        }
        write_name(b, t, m, s, "", NULL);
        buf_u64(b, m->read ? m->read(t->ctx) : atomic_load_explicit(c, memory_order_relaxed));
        buf_char(b, '\n');
    }
}

void metric_write_series(struct buf *b, const struct metric *m, const char *label, struct str value,
                         uint64_t v)
{
    _cleanup_buf_ struct buf labels = BUF_INIT;
    write_label(&labels, label, value);
    buf_puts(b, m->name);
    buf_str(b, buf_view(&labels));
    buf_puts(b, "} ");
    buf_u64(b, v);
    buf_char(b, '\n');
}

struct place {
    struct metric_table *table;
    size_t row;
};

static int by_name(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return strcmp(x->table->rows[x->row].name, y->table->rows[y->row].name);
}

static void write_sites(struct buf *b)
{
    struct metric_site *s = atomic_load(&sites);
    if (s)
        buf_puts(b, "# HELP coracle_unlikely_total Times that something unlikely was handled, by "
                    "its place in the source.\n# TYPE coracle_unlikely_total counter\n");
    for (; s; s = s->next) {
        _cleanup_buf_ struct buf labels = BUF_INIT, place = BUF_INIT;
        buf_printf(&place, "%.*s:%d", STR_ARG(path_base(str_of(s->file))), s->line);
        write_label(&labels, "site", buf_view(&place));
        write_label(&labels, "condition", str_of(s->condition));
        buf_puts(b, "coracle_unlikely_total");
        buf_str(b, buf_view(&labels));
        buf_printf(b, "} %llu\n", (unsigned long long)atomic_load(&s->count));
    }
}

void metric_write(struct buf *b)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    _cleanup_arena_ struct arena a = ARENA_INIT;
    LOCKED(&lock);
    size_t n = 0, at = 0;
    list_each (&tables, l)
        n += container_of(l, struct metric_table, link)->n;
    struct place *all = arena_array(&a, struct place, n + 1);
    list_each (&tables, l) {
        struct metric_table *t = container_of(l, struct metric_table, link);
        for (size_t i = 0; i < t->n; i++)
            all[at++] = (struct place){t, i};
    }
    qsort(all, n, sizeof *all, by_name);
    for (size_t i = 0; i < n; i++) {
        const struct metric *m = &all[i].table->rows[all[i].row];
        if (i == 0 || by_name(&all[i - 1], &all[i]) != 0)
            buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                       types[m->kind]);
        write_row(b, all[i].table, all[i].row);
    }
    write_sites(b);
}

// --- the unlikely ---

void metric_site_count(struct metric_site *s)
{
    if (atomic_fetch_add(&s->count, 1) > 0)
        return;
    s->next = atomic_load(&sites);
    while (!atomic_compare_exchange_weak(&sites, &s->next, s))
        ;
    if (s->says)
        log_warn("unlikely", "%s at %.*s:%d; counted from now on", s->condition,
                 STR_ARG(path_base(str_of(s->file))), s->line);
}
