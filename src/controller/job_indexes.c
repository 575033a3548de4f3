// See job_indexes.h.
#include "controller/job_indexes.h"
#include "base/buf.h"

static void add_run(struct job_indexes *s, int64_t first, int64_t last)
{
    if (s->n && first <= s->runs[s->n - 1].last + 1) {
        if (last > s->runs[s->n - 1].last)
            s->runs[s->n - 1].last = last;
    } else {
        s->runs[s->n++] = (struct job_run){first, last};
    }
}

struct job_indexes job_indexes_parse(struct arena *a, struct str text, int64_t completions)
{
    size_t parts = 1;
    for (size_t i = 0; i < text.n; i++)
        parts += text.p[i] == ',';
    struct job_indexes s = {arena_array(a, struct job_run, parts), 0};
    struct str rest = text;
    while (rest.n) {
        struct str part = str_cut(&rest, ','), first = str_cut(&part, '-');
        uint64_t from, to;
        if (!str_to_u64(first, &from) || from >= (uint64_t)completions)
            continue;
        if (!part.p)
            to = from;
        else if (!str_to_u64(part, &to) || to < from)
            continue;
        to = to >= (uint64_t)completions ? (uint64_t)completions - 1 : to;
        if (!s.n || (int64_t)from > s.runs[s.n - 1].last) // what is out of order is not ours
            add_run(&s, (int64_t)from, (int64_t)to);
    }
    return s;
}

static int by_number(const void *pa, const void *pb)
{
    int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
    return a == b ? 0 : a < b ? -1 : 1;
}

struct job_indexes job_indexes_with(struct arena *a, struct job_indexes s, int64_t *more, size_t n)
{
    struct job_indexes out = {arena_array(a, struct job_run, s.n + n + 1), 0};
    size_t i = 0, k = 0;
    if (n > 1)
        qsort(more, n, sizeof *more, by_number);
    while (i < s.n || k < n) {
        if (k == n || (i < s.n && s.runs[i].first <= more[k])) {
            add_run(&out, s.runs[i].first, s.runs[i].last);
            i++;
        } else {
            add_run(&out, more[k], more[k]);
            k++;
        }
    }
    return out;
}

bool job_indexes_has(struct job_indexes s, int64_t index)
{
    size_t low = 0, high = s.n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index < s.runs[middle].first)
            high = middle;
        else if (index > s.runs[middle].last)
            low = middle + 1;
        else
            return true;
    }
    return false;
}

int64_t job_indexes_count(struct job_indexes s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.runs[i].last - s.runs[i].first + 1;
    return n;
}

int64_t job_indexes_common(struct job_indexes s, struct job_indexes of)
{
    int64_t n = 0;
    for (size_t i = 0, k = 0; i < s.n && k < of.n;) {
        int64_t first = s.runs[i].first > of.runs[k].first ? s.runs[i].first : of.runs[k].first;
        int64_t last = s.runs[i].last < of.runs[k].last ? s.runs[i].last : of.runs[k].last;
        n += last >= first ? last - first + 1 : 0;
        if (s.runs[i].last < of.runs[k].last)
            i++;
        else
            k++;
    }
    return n;
}

struct str job_indexes_text(struct arena *a, struct job_indexes s)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < s.n; i++) {
        const struct job_run *r = &s.runs[i];
        buf_printf(&b, "%s%lld", i ? "," : "", (long long)r->first);
        if (r->last > r->first)
            // Two in a row are written one by one, as upstream.
            buf_printf(&b, "%c%lld", r->last == r->first + 1 ? ',' : '-', (long long)r->last);
    }
    return arena_str(a, buf_view(&b));
}
