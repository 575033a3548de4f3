// Rows of /metrics that the API server brings. Names are the original's where it has one of the
// same meaning.
#include "apiserver/metrics.h"
#include "apiserver/http_places.h"
#include "base/guard.h"

static const char *const verbs[] = {"get",     "list",  "watch",  "create",
                                    "update",  "patch", "delete", "deletecollection",
                                    "connect", "page"};
enum { PAGE = ARRAY_LEN(verbs) - 1 };

// Codes that this server answers with; the last is everything else.
static const int codes[] = {200, 201, 202, 304, 400, 401, 403, 404, 405, 406, 409,
                            410, 413, 415, 422, 429, 431, 500, 501, 503, 504};
static const char *const code_names[] = {"200", "201", "202", "304", "400", "401",  "403", "404",
                                         "405", "406", "409", "410", "413", "415",  "422", "429",
                                         "431", "500", "501", "503", "504", "other"};
enum { NCODES = ARRAY_LEN(code_names) };
_Static_assert(ARRAY_LEN(codes) + 1 == NCODES, "a name for each code");

static uint64_t read_in_flight(void *ctx)
{
    return places_taken(((struct apiserver *)ctx)->places);
}

static uint64_t read_watches(void *ctx)
{
    return atomic_load(&((struct apiserver *)ctx)->active_watches);
}

static uint64_t read_revision(void *ctx)
{
    return cache_revision(((struct apiserver *)ctx)->cache);
}

static void write_objects(void *ctx, const struct metric *m, struct buf *b)
{
    struct apiserver *s = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);
        if ((k->flags & KIND_VIRTUAL) || (k->storage && k->storage != k))
            continue;
        struct cache_snapshot snap;
        cache_snapshot(s->cache, k, &snap);
        metric_write_series(b, m, "resource", kind_qualified_resource(&a, k),
                            cache_count(&snap, STR_NULL));
        cache_snapshot_done(&snap);
    }
}

enum { REQUESTS, DURATION, IN_FLIGHT, WATCHES, REVISION, OBJECTS };
static const struct metric rows[] = {
    [REQUESTS] = {"apiserver_request_total", "Requests over HTTP, by verb and code of the answer.",
                  METRIC_COUNTER,
                  .labels = {{"verb", verbs, ARRAY_LEN(verbs)}, {"code", code_names, NCODES}}},
    [DURATION] = {"apiserver_request_duration_seconds",
                  "From a request's head to the end of its answer, without watches and streams.",
                  METRIC_HISTOGRAM, .labels = {{"verb", verbs, ARRAY_LEN(verbs)}}},
    [IN_FLIGHT] = {"apiserver_current_inflight_requests", "Requests being worked on.", METRIC_GAUGE,
                   .read = read_in_flight},
    [WATCHES] = {"apiserver_longrunning_watches", "Watches open, from within and without.",
                 METRIC_GAUGE, .read = read_watches},
    [REVISION] = {"apiserver_storage_revision", "The store's revision as the cache knows it.",
                  METRIC_GAUGE, .read = read_revision},
    [OBJECTS] = {"apiserver_storage_objects", "Objects stored, by resource.", METRIC_GAUGE,
                 .write = write_objects},
};

void metrics_init(struct apiserver *s)
{
    s->metrics = (struct metric_table){.rows = rows, .n = ARRAY_LEN(rows), .ctx = s};
    metric_register(&s->metrics);
}

void metrics_done(struct apiserver *s)
{
    metric_unregister(&s->metrics);
}

void metrics_request(struct apiserver *s, enum verb_bit verb, int status, uint64_t took_ns)
{
    size_t v = verb ? (size_t)__builtin_ctz(verb) : PAGE, c = 0;
    if (!status)
        return;
    while (c < ARRAY_LEN(codes) && codes[c] != status)
        c++;
    metric_add(&s->metrics, REQUESTS, v * NCODES + c, 1);
    if (verb != VERB_WATCH && verb != VERB_CONNECT)
        metric_observe(&s->metrics, DURATION, v, took_ns);
}
