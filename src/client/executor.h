// Inside the client room: taking back what was submitted to an executor.
#pragma once
#include "client/queue.h"

// Removes a task that has not begun. false: it is not waiting (running, done, or never submitted).
bool executor_cancel(struct executor *x, struct executor_task *t);
