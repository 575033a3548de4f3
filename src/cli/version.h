// What this program calls itself, and which Kubernetes minor it serves.
#pragma once
#define CORACLE_VERSION            "0.1.0"
#define CORACLE_KUBERNETES_MAJOR   "1"
#define CORACLE_KUBERNETES_MINOR   "34"
#define CORACLE_KUBERNETES_VERSION "v1.34.0+coracle"
