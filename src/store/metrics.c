// Rows of /metrics that the store brings.
#include "store/metrics.h"
#include "base/guard.h"

static const struct metric rows[] = {
    [STORE_COMMITS] = {"store_commits_total", "Groups of writes that are on the disk.",
                       METRIC_COUNTER},
    [STORE_CHANGES] = {"store_changes_total", "Writes in those groups.", METRIC_COUNTER},
    [STORE_REFUSED] = {"store_refused_total", "Groups that could not be written.", METRIC_COUNTER},
    [STORE_COMMIT_TIME] = {"store_commit_seconds", "Time of one write and fdatasync of the log.",
                           METRIC_HISTOGRAM},
};
struct metric_table store_metrics = {.rows = rows, .n = ARRAY_LEN(rows)};
