// Admission plug-ins that are long enough for a file of their own. Each returns 0 or a refusal.
#pragma once
#include "apiserver/server.h"

int admit_service_account(struct op *op, struct err *e); // admission_account.c
int admit_limits(struct op *op, struct err *e);          // admission_limits.c
int admit_runtime_class(struct op *op, struct err *e);   // admission_runtime.c
// NodeRestriction (admission_node.c): what a node agent may write. For creations, updates and the
// subresources that make something (op->data is their body); and for deletions.
int admit_node(struct op *op, struct err *e);
int admit_node_delete(struct op *op, struct err *e);
