// What the embedded store counts (base/metric.h). store/part.c registers the table.
#pragma once
#include "base/metric.h"

enum { STORE_COMMITS, STORE_CHANGES, STORE_REFUSED, STORE_COMMIT_TIME };
extern struct metric_table store_metrics;
