// A criterion is met when some span meets it; where a service is named, only its spans count. So
// different spans may meet different criteria.
#include "trace/span_query.h"

static int number(struct str text, const char *name, uint64_t otherwise, uint64_t *ret,
                  struct err *e)
{
    int64_t v;
    *ret = otherwise;
    if (!text.n)
        return 0;
    if (!str_to_i64(text, &v))
        return err_set(e, ERR_BAD_REQUEST, "%s is not a number: %.*s", name, STR_ARG(text));
    if (v <= 0)
        return err_set(e, ERR_BAD_REQUEST, "%s <= 0", name);
    *ret = (uint64_t)v;
    return 0;
}

static struct str name_of(struct arena *a, struct str text)
{
    return text.n ? span_lower(a, text) : STR_NULL;
}

static void word_add(struct span_query *q, struct str text)
{
    ptrdiff_t equals = str_chr(text, '=');
    struct span_query_word w = {.key = str_trim(text)};
    if (equals >= 0)
        w = (struct span_query_word){str_trim(str_sub(text, 0, (size_t)equals)),
                                     str_trim(str_from(text, (size_t)equals + 1)), true};
    w.has_value = w.value.n > 0;
    for (size_t i = 0; i < q->nwords; i++)
        if (str_eq(q->words[i].key, w.key)) { // the last of equal keys counts
            q->words[i] = w;
            return;
        }
    q->words[q->nwords++] = w;
}

static void words_parse(struct arena *a, struct str text, struct span_query *q)
{
    if (!text.n)
        return;
    q->words = arena_array(a, struct span_query_word, SPAN_QUERY_WORDS);
    for (size_t i = 0; i < SPAN_QUERY_WORDS; i++) {
        ptrdiff_t at = i + 1 < SPAN_QUERY_WORDS ? str_find(text, STR(" and ")) : -1;
        word_add(q, at < 0 ? text : str_sub(text, 0, (size_t)at));
        if (at < 0)
            break;
        text = str_from(text, (size_t)at + 5);
    }
}

int span_query_parse(struct arena *a, const struct span_query_text *text, uint64_t now_ms,
                     uint64_t lookback_ms, struct span_query *ret, struct err *e)
{
    struct span_query q = {.service = name_of(a, text->service),
                           .remote = name_of(a, text->remote),
                           .name = name_of(a, text->name)};
    uint64_t limit;
    int code;
    if (str_eqc(q.name, "all"))
        q.name = STR_NULL;
    if (str_eqc(q.service, "all"))
        q.service = STR_NULL;
    if ((code = number(text->end, "endTs", now_ms, &q.end_ms, e)) ||
        (code = number(text->limit, "limit", 10, &limit, e)) ||
        (code = number(text->lookback, "lookback", lookback_ms, &q.lookback_ms, e)) ||
        (code = number(text->min_duration, "minDuration", 0, &q.min_duration, e)))
        return code;
    if (text->max_duration.n && !q.min_duration)
        return err_set(e, ERR_BAD_REQUEST, "maxDuration is only valid with minDuration");
    if ((code = number(text->max_duration, "maxDuration", 0, &q.max_duration, e)))
        return code;
    if (q.max_duration && q.max_duration < q.min_duration)
        return err_set(e, ERR_BAD_REQUEST, "maxDuration < minDuration");
    if (q.end_ms > UINT64_MAX / 1000)
        return err_set(e, ERR_BAD_REQUEST, "endTs is too large");
    q.limit = (size_t)limit;
    words_parse(a, text->annotations, &q);
    *ret = q;
    return 0;
}

uint64_t span_query_timestamp(const struct span *spans, size_t n)
{
    uint64_t first = 0;
    for (size_t i = 0; i < n; i++) {
        if (!spans[i].timestamp)
            continue;
        if (!spans[i].parent)
            return spans[i].timestamp;
        if (!first || spans[i].timestamp < first)
            first = spans[i].timestamp;
    }
    return first;
}

bool span_query_in_window(const struct span_query *q, uint64_t timestamp)
{
    uint64_t end = q->end_ms * 1000;
    uint64_t start = q->end_ms > q->lookback_ms ? (q->end_ms - q->lookback_ms) * 1000 : 0;
    return timestamp && timestamp >= start && timestamp <= end;
}

bool span_query_word_met(const struct span_query_word *w, const struct span *s)
{
    for (size_t i = 0; i < s->nannotations && !w->has_value; i++)
        if (str_eq(s->annotations[i].value, w->key))
            return true;
    for (size_t i = 0; i < s->ntags; i++)
        if (str_eq(s->tags[i].key, w->key))
            return !w->has_value || str_eq(s->tags[i].value, w->value);
    return false;
}

static bool duration_met(const struct span_query *q, const struct span *s)
{
    return s->duration >= q->min_duration && (!q->max_duration || s->duration <= q->max_duration);
}

bool span_query_test(const struct span_query *q, const struct span *spans, size_t n)
{
    bool service = !q->service.n, remote = !q->remote.n, name = !q->name.n;
    bool duration = !q->min_duration, words[SPAN_QUERY_WORDS] = {false};
    size_t left = q->nwords;
    if (!span_query_in_window(q, span_query_timestamp(spans, n)))
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct span *s = &spans[i];
        if (q->service.n && !str_eq(q->service, s->local.service))
            continue;
        service = true;
        remote |= !remote && str_eq(q->remote, s->remote.service);
        name |= !name && str_eq(q->name, s->name);
        duration |= !duration && duration_met(q, s);
        for (size_t w = 0; w < q->nwords; w++)
            if (!words[w] && span_query_word_met(&q->words[w], s)) {
                words[w] = true;
                left--;
            }
    }
    return service && remote && name && duration && !left;
}
