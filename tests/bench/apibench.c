// Load for scripts/bench: many blocking TLS connections, one thread each, HTTP/1.1 with keep-alive.
// Knows nothing of coracle, so the same program drives its peers.
//
//   apibench requests URL CLIENTS COUNT METHOD BODY-FILE
//       each request; %d in URL and body is its number, %D the same in eight digits
//   apibench reach URL COUNT BODY-FILE TEXT
//       posts to URL, then gets URL/bench-NUMBER until the answer holds TEXT; one after the other
//   apibench list URL
//       one GET: time to the first byte, to the last, bytes
//   apibench watch URL WATCHERS EVENTS COMMAND…
//       opens WATCHERS streams, runs COMMAND, waits until each has seen EVENTS events ("type"
//       lines) more than at the start
//
// Environment: CERT, KEY (client certificate, PEM files), PID (a process whose CPU time is
// measured). Output: one line "key=value key=value …"; times in microseconds.
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DIE(...)                                                                                   \
    do {                                                                                           \
        fprintf(stderr, "apibench: " __VA_ARGS__);                                                 \
        fputc('\n', stderr);                                                                       \
        exit(1);                                                                                   \
    } while (0)

struct connection {
    int fd;
    SSL *ssl; // NULL: plain
    char buffer[65536];
    size_t n, at;
};

static SSL_CTX *tls;
static char host[256], port[16], path[2048];
static bool use_tls;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

// utime + stime of $PID, in microseconds.
static uint64_t cpu_us(void)
{
    const char *pid = getenv("PID");
    char name[64], line[1024];
    unsigned long user = 0, kernel = 0;
    if (!pid)
        return 0;
    snprintf(name, sizeof name, "/proc/%s/stat", pid);
    FILE *f = fopen(name, "r");
    if (!f)
        return 0;
    if (fgets(line, sizeof line, f)) {
        const char *p = strrchr(line, ')');
        if (p)
            sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    }
    fclose(f);
    return (uint64_t)(user + kernel) * 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
}

static void parse_url(const char *url)
{
    use_tls = strncmp(url, "https://", 8) == 0;
    const char *p = strstr(url, "://");
    if (!p || sscanf(p + 3, "%255[^:/]:%15[0-9]%2047s", host, port, path) < 2)
        DIE("not a URL with a port: %s", url);
    if (!path[0])
        strncpy(path, "/", sizeof path - 1);
}

static void tls_init(void)
{
    if (!use_tls)
        return;
    tls = SSL_CTX_new(TLS_client_method());
    const char *cert = getenv("CERT"), *key = getenv("KEY");
    if (cert && key &&
        (SSL_CTX_use_certificate_file(tls, cert, SSL_FILETYPE_PEM) != 1 ||
         SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1))
        DIE("cannot read CERT and KEY");
}

static void conn_open(struct connection *c)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int one = 1;
    if (getaddrinfo(host, port, &hints, &list) != 0)
        DIE("cannot resolve %s", host);
    c->fd = socket(list->ai_family, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, list->ai_addr, list->ai_addrlen) < 0)
        DIE("connect %s:%s: %s", host, port, strerror(errno));
    freeaddrinfo(list);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->n = c->at = 0;
    c->ssl = NULL;
    if (use_tls) {
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, c->fd);
        if (SSL_connect(c->ssl) != 1)
            DIE("TLS handshake with %s:%s failed", host, port);
    }
}

static void conn_write(struct connection *c, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = c->ssl ? SSL_write(c->ssl, p, (int)n) : write(c->fd, p, n);
        if (done <= 0)
            DIE("the connection broke while writing");
        p += done;
        n -= (size_t)done;
    }
}

static bool conn_fill(struct connection *c)
{
    if (c->at == c->n)
        c->at = c->n = 0;
    ssize_t got = c->ssl ? SSL_read(c->ssl, c->buffer + c->n, (int)(sizeof c->buffer - c->n))
                         : read(c->fd, c->buffer + c->n, sizeof c->buffer - c->n);
    if (got <= 0)
        return false;
    c->n += (size_t)got;
    return true;
}

static int conn_byte(struct connection *c)
{
    if (c->at == c->n && !conn_fill(c))
        return -1;
    return (unsigned char)c->buffer[c->at++];
}

static void conn_line(struct connection *c, char *out, size_t max)
{
    size_t n = 0;
    int b;
    while ((b = conn_byte(c)) >= 0 && b != '\n')
        if (b != '\r' && n + 1 < max)
            out[n++] = (char)b;
    if (b < 0)
        DIE("the connection broke while reading");
    out[n] = 0;
}

// Head of the answer: status, and how the body comes (-1: chunked).
static int read_head(struct connection *c, long *length)
{
    char line[4096];
    int status = 0;
    *length = 0;
    conn_line(c, line, sizeof line);
    sscanf(line, "HTTP/1.1 %d", &status);
    for (conn_line(c, line, sizeof line); line[0]; conn_line(c, line, sizeof line)) {
        if (strncasecmp(line, "content-length:", 15) == 0)
            *length = strtol(line + 15, NULL, 10);
        if (strncasecmp(line, "transfer-encoding:", 18) == 0)
            *length = -1;
    }
    return status;
}

static void skip(struct connection *c, size_t n)
{
    while (n > 0) {
        if (c->at == c->n && !conn_fill(c))
            DIE("the connection broke in a body");
        size_t take = c->n - c->at < n ? c->n - c->at : n;
        c->at += take;
        n -= take;
    }
}

static size_t read_body(struct connection *c, long length)
{
    char line[64];
    size_t total = 0;
    if (length >= 0) {
        skip(c, (size_t)length);
        return (size_t)length;
    }
    for (;;) {
        conn_line(c, line, sizeof line);
        size_t n = strtoul(line, NULL, 16);
        skip(c, n);
        conn_line(c, line, sizeof line);
        total += n;
        if (n == 0)
            return total;
    }
}

// Replaces %d and %D in text by number.
static size_t fill(char *out, size_t max, const char *text, long number)
{
    size_t n = 0;
    for (const char *p = text; *p && n + 24 < max; p++) {
        if (p[0] == '%' && (p[1] == 'd' || p[1] == 'D')) {
            n += (size_t)snprintf(out + n, max - n, p[1] == 'd' ? "%ld" : "%08ld", number);
            p++;
        } else {
            out[n++] = *p;
        }
    }
    out[n] = 0;
    return n;
}

static size_t request_head(char *out, size_t max, const char *method, const char *target,
                           size_t length)
{
    return (size_t)snprintf(out, max,
                            "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\n"
                            "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                            method, target, host, length);
}

// --- requests ---

static struct {
    const char *method, *body;
    long count;
    atomic_long next, failed;
    uint64_t *latency;
} load;

static void *client_main(void *arg)
{
    (void)arg;
    struct connection *c = malloc(sizeof *c);
    char *message = malloc(131072), target[2304], body[65536];
    conn_open(c);
    for (long i; (i = atomic_fetch_add(&load.next, 1)) < load.count;) {
        long length;
        fill(target, sizeof target, path, i);
        size_t body_n = fill(body, sizeof body, load.body, i);
        size_t n = request_head(message, 4096, load.method, target, body_n);
        memcpy(message + n, body, body_n);
        uint64_t start = now_us();
        conn_write(c, message, n + body_n);
        int status = read_head(c, &length);
        read_body(c, length);
        load.latency[i] = now_us() - start;
        if (status < 200 || status > 299)
            atomic_fetch_add(&load.failed, 1);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static char *read_file(const char *name)
{
    static char text[65536];
    FILE *f = fopen(name, "r");
    if (!f)
        DIE("cannot read %s", name);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

static int run_requests(int clients, long count, const char *method, const char *body_file)
{
    pthread_t *threads = calloc((size_t)clients, sizeof *threads);
    load.method = method;
    load.count = count;
    load.body = body_file ? read_file(body_file) : "";
    load.latency = calloc((size_t)count, sizeof *load.latency);
    uint64_t cpu = cpu_us(), start = now_us();
    for (int i = 0; i < clients; i++)
        if (pthread_create(&threads[i], NULL, client_main, NULL) != 0)
            DIE("cannot start %d threads", clients);
    for (int i = 0; i < clients; i++)
        pthread_join(threads[i], NULL);
    uint64_t took = now_us() - start, used = cpu_us() - cpu;
    qsort(load.latency, (size_t)count, sizeof *load.latency, compare);
    printf("rate=%.0f p50=%llu p99=%llu cpu_op=%.1f failed=%ld\n",
           (double)count * 1e6 / (double)took, (unsigned long long)load.latency[count / 2],
           (unsigned long long)load.latency[count * 99 / 100], (double)used / (double)count,
           (long)load.failed);
    return load.failed > 0;
}

// --- reach ---

// The body of one answer, as far as it fits.
static size_t get_text(struct connection *c, const char *target, char *out, size_t max)
{
    char head[4096];
    long length;
    conn_write(c, head, request_head(head, sizeof head, "GET", target, 0));
    read_head(c, &length);
    size_t n = 0;
    for (long i = 0; i < length; i++) {
        int b = conn_byte(c);
        if (b < 0)
            DIE("the connection broke in a body");
        if (n + 1 < max)
            out[n++] = (char)b;
    }
    if (length < 0)
        DIE("expected an answer of known length");
    out[n] = 0;
    return n;
}

static int run_reach(long count, const char *body_file, const char *wanted)
{
    struct connection *c = malloc(sizeof *c);
    static char message[131072], body[65536], answer[262144], target[2304];
    const char *text = read_file(body_file);
    uint64_t total = 0, worst = 0;
    conn_open(c);
    for (long i = 0; i < count; i++) {
        long length;
        size_t body_n = fill(body, sizeof body, text, i);
        size_t n = request_head(message, 4096, "POST", path, body_n);
        memcpy(message + n, body, body_n);
        snprintf(target, sizeof target, "%s/bench-%ld", path, i);
        uint64_t start = now_us();
        conn_write(c, message, n + body_n);
        if (read_head(c, &length) != 201)
            DIE("the object was refused");
        read_body(c, length);
        do {
            if (now_us() - start > 60000000u)
                DIE("not reached within a minute");
            // Asking without a pause would take from what is measured.
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            get_text(c, target, answer, sizeof answer);
        } while (!strstr(answer, wanted));
        uint64_t took = now_us() - start;
        total += took;
        worst = took > worst ? took : worst;
    }
    printf("mean=%llu worst=%llu\n", (unsigned long long)(total / (uint64_t)count),
           (unsigned long long)worst);
    return 0;
}

// --- list ---

static int run_list(void)
{
    struct connection *c = malloc(sizeof *c);
    char message[4096];
    long length;
    conn_open(c);
    size_t n = request_head(message, sizeof message, "GET", path, 0);
    uint64_t cpu = cpu_us(), start = now_us();
    conn_write(c, message, n);
    int status = read_head(c, &length);
    uint64_t first = now_us() - start;
    size_t bytes = read_body(c, length);
    printf("first=%llu total=%llu bytes=%zu cpu=%llu status=%d\n", (unsigned long long)first,
           (unsigned long long)(now_us() - start), bytes, (unsigned long long)(cpu_us() - cpu),
           status);
    return status != 200;
}

// --- watch ---

static size_t count_events(const char *p, size_t n)
{
    // Each event is one line.
    size_t lines = 0;
    while (n > 0) {
        const char *at = memchr(p, '\n', n);
        if (!at)
            break;
        lines += at > p && at[-1] == '}';
        n -= (size_t)(at + 1 - p);
        p = at + 1;
    }
    return lines;
}

static int run_watch(size_t watchers, size_t events, char **command)
{
    struct connection *list = calloc(watchers, sizeof *list);
    struct pollfd *fds = calloc(watchers, sizeof *fds);
    size_t *seen = calloc(watchers, sizeof *seen), done = 0;
    char message[4096];
    long length;
    size_t n = request_head(message, sizeof message, "GET", path, 0);
    for (size_t i = 0; i < watchers; i++) {
        conn_open(&list[i]);
        conn_write(&list[i], message, n);
        if (read_head(&list[i], &length) != 200)
            DIE("the watch was refused");
        fds[i] = (struct pollfd){.fd = list[i].fd, .events = POLLIN};
    }
    uint64_t cpu = cpu_us(), start = now_us();
    pid_t pid = fork();
    if (pid == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    while (done < watchers && poll(fds, watchers, 30000) > 0)
        for (size_t i = 0; i < watchers; i++) {
            if (!fds[i].revents)
                continue;
            list[i].at = list[i].n = 0;
            if (!conn_fill(&list[i]))
                DIE("a watch ended after %zu events", seen[i]);
            size_t before = seen[i];
            seen[i] += count_events(list[i].buffer, list[i].n);
            done += before < events && seen[i] >= events;
        }
    uint64_t took = now_us() - start, used = cpu_us() - cpu;
    waitpid(pid, NULL, 0);
    printf("total=%llu delivered=%zu cpu_event=%.2f complete=%zu\n", (unsigned long long)took,
           watchers * events, (double)used / (double)(watchers * events), done);
    return done < watchers;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        DIE("see the head of tests/bench/apibench.c");
    parse_url(argv[2]);
    tls_init();
    if (strcmp(argv[1], "requests") == 0 && argc >= 6)
        return run_requests((int)strtol(argv[3], NULL, 10), strtol(argv[4], NULL, 10), argv[5],
                            argc > 6 ? argv[6] : NULL);
    if (strcmp(argv[1], "reach") == 0 && argc >= 6)
        return run_reach(strtol(argv[3], NULL, 10), argv[4], argv[5]);
    if (strcmp(argv[1], "list") == 0)
        return run_list();
    if (strcmp(argv[1], "watch") == 0 && argc >= 6)
        return run_watch(strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10), argv + 5);
    DIE("see the head of tests/bench/apibench.c");
}
