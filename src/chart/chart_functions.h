// What charts' templates see beyond values: helm's own functions, .Files and .Capabilities.
#pragma once
#include "chart/chart.h"

// Around the text of fail and required, so that the error shows it alone.
#define CHART_WARN_BEGIN "HELM_ERR_START"
#define CHART_WARN_END   "HELM_ERR_END"

struct chart_host {
    const struct chart_options *options;
};
extern const struct template_functions chart_functions;
struct value *chart_files_thing(struct arena *a, const struct chart *c);
struct value *chart_capabilities_thing(struct arena *a, const struct chart_options *o);
