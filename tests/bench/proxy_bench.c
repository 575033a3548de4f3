// What Services cost: with N Services of three endpoints each, the first table (from the informers'
// objects to the kernel's acknowledgement), then changes of one slice; beside `nft -f` with the
// same maps as text in the same run. In a network namespace of its own (root). Compare the ratios,
// not the times.
//
//     bench_proxy [SERVICES...]        default: 5000 30000
#include "base/time.h"
#include "network/proxy.h"
#include "unit/network/fake_api.h"
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { CHANGES = 200, PEER_CHANGES = 10 };

static double seconds(void)
{
    return (double)env_mono(env_system()) / (double)NS_PER_S;
}

static void service_text(unsigned i, char out[256])
{
    snprintf(out, 256,
             "'clusterIP':'10.%u.%u.%u','ports':[{'name':'http','protocol':'TCP','port':80}]",
             128 + (i >> 16), i >> 8 & 255, i & 255);
}

static void slice_text(unsigned i, unsigned version, char out[512])
{
    snprintf(
        out, 512,
        "'ports':[{'name':'http','protocol':'TCP','port':8080}],'endpoints':["
        "{'addresses':['10.1.%u.%u']},{'addresses':['10.2.%u.%u']},{'addresses':['10.3.%u.%u']}]",
        i >> 8 & 255, i & 255, i >> 8 & 255, i & 255, version & 255, i & 255);
}

static void put(struct fake_api *api, unsigned i, enum watch_type type, unsigned version)
{
    char name[32], text[512];
    snprintf(name, sizeof name, "web-%u", i);
    if (type == WATCH_ADDED) {
        service_text(i, text);
        fake_service(api, type, name, text);
    }
    slice_text(i, version, text);
    fake_slice(api, type, name, name, text);
}

static int compare(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

static double median(double *list, size_t n)
{
    qsort(list, n, sizeof *list, compare);
    return list[n / 2];
}

// --- ours ---

static void ours(unsigned n, double *ret_install, double *ret_change)
{
    struct env *env = env_system();
    struct loop *l = loop_new(env);
    struct fake_api api;
    fake_api_init(&api, env);
    struct informers *f = informers_new(&api.client, l);
    const struct service_proxy_options opt = {
        .informers = f, .node_name = STR("n"), .pod_cidr = STR("10.0.0.0/14")};
    struct service_proxy *p;
    struct err e = ERR_INIT;
    if (service_proxy_new(l, &opt, &p, &e) < 0)
        fail_msg("%s", e.message);
    informers_start(f);
    loop_run_until_idle(l, 0);
    for (unsigned i = 0; i < n; i++)
        put(&api, i, WATCH_ADDED, 0);
    fake_sync(&api);
    double start = seconds(), times[CHANGES];
    loop_run_until_idle(l, 0);
    *ret_install = seconds() - start;
    for (unsigned i = 0; i < CHANGES; i++) {
        put(&api, i * 7919 % n, WATCH_MODIFIED, i + 1);
        start = seconds();
        loop_run_until_idle(l, 0);
        times[i] = seconds() - start;
    }
    *ret_change = median(times, CHANGES);
    service_proxy_free(p);
    informers_free(f);
    loop_free(l);
    service_proxy_teardown(NULL, NULL);
}

// --- the peer ---

static double run_nft(const char *file)
{
    char command[96];
    snprintf(command, sizeof command, "nft -f %s", file);
    double start = seconds();
    FILE *f = popen(command, "r");
    if (!f || pclose(f) != 0)
        fail_msg("%s failed", command);
    return seconds() - start;
}

static void write_backends(FILE *f, unsigned i, unsigned version)
{
    for (unsigned k = 0; k < 3; k++)
        fprintf(f, "10.%u.%u.%u . tcp . 80 . %u : 10.%u.%u.%u . 8080, ", 128 + (i >> 16),
                i >> 8 & 255, i & 255, k, k + 1, k < 2 ? i >> 8 & 255 : version & 255, i & 255);
}

static void peer(unsigned n, double *ret_install, double *ret_change)
{
    char file[64];
    double times[PEER_CHANGES];
    snprintf(file, sizeof file, "/tmp/coracle-bench-%d.nft", getpid());
    FILE *f = fopen(file, "w");
    fputs("table ip peer {\n chain n3 { }\n"
          " map services { type ipv4_addr . inet_proto . inet_service : verdict; }\n"
          " map backends { type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . "
          "inet_service; }\n}\n"
          "add element ip peer services { ",
          f);
    for (unsigned i = 0; i < n; i++)
        fprintf(f, "10.%u.%u.%u . tcp . 80 : goto n3, ", 128 + (i >> 16), i >> 8 & 255, i & 255);
    fputs("}\nadd element ip peer backends { ", f);
    for (unsigned i = 0; i < n; i++)
        write_backends(f, i, 0);
    fputs("}\n", f);
    fclose(f);
    *ret_install = run_nft(file);
    for (unsigned c = 0; c < PEER_CHANGES; c++) {
        unsigned i = c * 7919 % n;
        f = fopen(file, "w");
        fputs("delete element ip peer backends { ", f);
        write_backends(f, i, 0);
        fputs("}\nadd element ip peer backends { ", f);
        write_backends(f, i, c + 1);
        fputs("}\n", f);
        fclose(f);
        times[c] = run_nft(file);
    }
    *ret_change = median(times, PEER_CHANGES);
    f = fopen(file, "w");
    fputs("delete table ip peer\n", f);
    fclose(f);
    run_nft(file);
    unlink(file);
}

int main(int argc, char **argv)
{
    if (unshare(CLONE_NEWNET) < 0) {
        fprintf(stderr, "bench_proxy: needs root for a network namespace\n");
        return 1;
    }
    static const char *const usual[] = {"5000", "30000"};
    const char *const *sizes = argc > 1 ? (const char *const *)argv + 1 : usual;
    printf("%10s %14s %14s %8s %14s %14s %8s\n", "services", "install ms", "nft -f ms", "ratio",
           "change us", "nft -f us", "ratio");
    for (int i = 0; i < (argc > 1 ? argc - 1 : 2); i++) {
        uint64_t n;
        if (!str_to_u64(str_of(sizes[i]), &n) || n == 0 || n > 1000000)
            return 1;
        double install, change, peer_install, peer_change;
        ours((unsigned)n, &install, &change);
        peer((unsigned)n, &peer_install, &peer_change);
        printf("%10u %14.1f %14.1f %8.2f %14.1f %14.1f %8.4f\n", (unsigned)n, install * 1e3,
               peer_install * 1e3, install / peer_install, change * 1e6, peer_change * 1e6,
               change / peer_change);
    }
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("peak memory %ld kB\n", u.ru_maxrss);
    return 0;
}
