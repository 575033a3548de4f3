// See service_objects.h.
#include "network/service_objects.h"
#include <arpa/inet.h>

#define SERVICE_NAME "kubernetes.io/service-name"

bool service_address_parse(struct str s, uint32_t *ret)
{
    char text[INET_ADDRSTRLEN];
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    return inet_pton(AF_INET, text, ret) == 1;
}

struct str service_of_slice(struct arena *a, const struct object *slice)
{
    const struct value *labels = value_getc(object_metadata(a, slice), "labels");
    return value_string(value_getc(labels, SERVICE_NAME));
}

static void by_service(struct arena *a, const struct object *o,
                       void (*emit)(void *ctx, struct str value), void *ctx)
{
    struct str ns = object_namespace(o), name = service_of_slice(a, o);
    if (name.n)
        emit(ctx, arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)));
}

static void by_cluster_ip(struct arena *a, const struct object *o,
                          void (*emit)(void *ctx, struct str value), void *ctx)
{
    struct str ip = value_str_at(object_tree(a, o), "spec.clusterIP");
    if (ip.n && !str_eqc(ip, "None"))
        emit(ctx, ip);
}

void service_index_slices(struct informer *slices)
{
    informer_add_index(slices, "service", by_service);
}

void service_index_addresses(struct informer *services)
{
    informer_add_index(services, "cluster-ip", by_cluster_ip);
}
