// Cron schedules, in two dialects.
//
// CRON_STANDARD is what CronJobs mean (robfig/cron v3, ParseStandard): five fields (minute, hour,
// day of month, month, day of week 0 to 6), lists, ranges, steps, `?` for `*`, English names of
// months and days, the descriptors @yearly @annually @monthly @weekly @daily @midnight @hourly and
// "@every 1h30m", and a zone in front ("TZ=Asia/Seoul 0 6 * * *", CRON_TZ= is the same). Where both
// day fields are restricted, either suffices. Error texts are the original's.
//
// CRON_JENKINS is one line of a Jenkins trigger: the same five fields with `H` (H, H/15, H(0-29),
// H(0-29)/10), day of week 0 to 7, aliases that spread (@daily is "H H * * *"), and both day fields
// have to match. H is drawn from the hash of the job's name, so that a job keeps its minute.
//
//     struct cron *c;
//     if (cron_parse(&arena, STR("*/5 * * * *"), &(struct cron_options){0}, &c, &e) < 0) ...
//     int64_t next;
//     if (cron_next(c, now, &next)) ...
//
// A schedule is immutable and lives in the arena. Times are seconds since 1970 UTC.
#pragma once
#include "text/zone.h"

#define CRON_SPEC_MAX 4096 // bytes of a schedule

enum cron_dialect { CRON_STANDARD, CRON_JENKINS };
struct cron_options {
    enum cron_dialect dialect;
    const struct zone *zone; // what the fields mean unless the text says so; NULL: UTC
    struct str hash;         // CRON_JENKINS: the job's full name
};

struct cron;
// Error: ERR_INVALID with the text of the original ("end of range (60) above maximum (59): 60").
int cron_parse(struct arena *a, struct str spec, const struct cron_options *o, struct cron **ret,
               struct err *e);
// The first activation after `after`; false: none in the next five years (February 30th).
bool cron_next(const struct cron *c, int64_t after, int64_t *ret);
// The last activation at or before `at` and after `earliest`; false: there is none. Walks forward,
// so that it costs what the activations between the two cost: at most `limit` of them.
bool cron_last(const struct cron *c, int64_t earliest, int64_t at, size_t limit, int64_t *ret);
// The length of "@every", else 0. Such a schedule has no fixed moments: cron_next adds to `after`.
int64_t cron_every(const struct cron *c);
