// Would a pod's own rules let it onto a node? Node selector, required node affinity, and taints
// with tolerations, as the scheduler reads them; what the node has room for is not asked.
#pragma once
#include "controller/control.h"

// spec.nodeName, spec.nodeSelector and spec.affinity.nodeAffinity's required terms.
bool node_fit_selects(const struct value *pod_spec, const struct value *node);
bool node_fit_tolerates(const struct value *tolerations, const struct value *taint);
// All taints of the node with this effect ("NoSchedule", "NoExecute") are tolerated.
bool node_fit_taints(const struct value *tolerations, const struct value *node, const char *effect);
