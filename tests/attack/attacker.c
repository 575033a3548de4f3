// A client that means no good, for tests/attack: opens many connections, begins many requests, and
// then does not do its part: does not read, does not finish, or sends a byte now and then. What it
// does is said by flags, so that a case is a line in a .bats file. Knows no room of the program; it
// speaks HTTP/2 in frames made by hand and HTTP/1.1 as text.
//
//     attacker --port P [--connections N] [--streams N] [--http1] [--window W] [--silent]
//              [--method M] [--path P] [--token-file F] [--body BYTES --length BYTES]
//              [--trickle SECONDS] [--seconds S]
//
// --window    SETTINGS_INITIAL_WINDOW_SIZE (HTTP/2): 0 lets no byte of an answer leave
// --silent    reads nothing at all once the requests are sent
// --length    the body that is promised, --body what is sent of it at once (HTTP/2: 0 only)
// --trickle   a byte of the body each so many seconds (HTTP/1.1)
//
// Prints "standing" when everything has been sent that the server takes, and at the end (after
// --seconds, or on SIGTERM) one line of what became of it:
//
//     connections N closed N answered N reset N first S last S
//
// first and last: when the first and the last of what was held was cut, in seconds since standing.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, SETTINGS_ACK = 1, FRAME = 9 };
enum { MAX_CONNECTIONS = 4096, IN = 32 << 10 };

struct options {
    int port, connections, streams, window, trickle, seconds;
    bool http1, silent;
    const char *method, *path;
    char token[4096];
    size_t body, length;
};

struct connection {
    int fd;
    SSL *ssl;
    unsigned char in[IN]; // the beginning of a frame, or of an answer
    size_t n;
};

static struct options opt = {.connections = 1,
                             .streams = 1,
                             .window = -1,
                             .seconds = 60,
                             .method = "GET",
                             .path = "/version"};
static struct connection *connections;
static int closed, answered, resets;
static double standing_at, first_cut = -1, last_cut = -1;
static volatile sig_atomic_t over;

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "attacker: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void on_term(int signo)
{
    (void)signo;
    over = 1;
}

static void cut(void)
{
    double at = standing_at ? now() - standing_at : 0;
    if (first_cut < 0)
        first_cut = at;
    last_cut = at;
}

static void gone(struct connection *c)
{
    if (!c->ssl)
        return;
    SSL_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
    c->fd = -1;
    closed++;
    cut();
}

// --- what is said

struct text {
    unsigned char *p;
    size_t n, cap;
};

static void add(struct text *t, const void *p, size_t n)
{
    if (t->n + n > t->cap) {
        t->cap = (t->n + n) * 2;
        t->p = realloc(t->p, t->cap);
        if (!t->p)
            die("memory");
    }
    memcpy(t->p + t->n, p, n);
    t->n += n;
}

static void add_byte(struct text *t, unsigned b)
{
    unsigned char c = (unsigned char)b;
    add(t, &c, 1);
}

static void add_str(struct text *t, const char *s)
{
    add(t, s, strlen(s));
}

// HPACK strings without Huffman coding (RFC 7541 5.2).
static void hpack_str(struct text *t, const char *s)
{
    size_t n = strlen(s);
    if (n < 127) {
        add_byte(t, (unsigned)n);
    } else {
        add_byte(t, 127);
        for (n -= 127; n >= 128; n >>= 7)
            add_byte(t, (unsigned)(n & 127) | 128);
        add_byte(t, (unsigned)n);
    }
    add_str(t, s);
}

static void hpack_field(struct text *t, const char *name, const char *value)
{
    add_byte(t, 0); // literal, not to be indexed, with a new name
    hpack_str(t, name);
    hpack_str(t, value);
}

static void add_frame(struct text *t, unsigned type, unsigned flags, uint32_t stream,
                      const struct text *payload)
{
    size_t n = payload ? payload->n : 0;
    unsigned char h[FRAME] = {
        (unsigned char)(n >> 16),      (unsigned char)(n >> 8),      (unsigned char)n,
        (unsigned char)type,           (unsigned char)flags,         (unsigned char)(stream >> 24),
        (unsigned char)(stream >> 16), (unsigned char)(stream >> 8), (unsigned char)stream};
    add(t, h, sizeof h);
    if (n)
        add(t, payload->p, n);
}

static void preface(struct text *t)
{
    struct text settings = {0};
    add_str(t, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    if (opt.window >= 0) {
        uint32_t w = (uint32_t)opt.window;
        add(&settings, "\0\4", 2);
        for (int shift = 24; shift >= 0; shift -= 8)
            add_byte(&settings, w >> shift & 255);
    }
    add_frame(t, SETTINGS, 0, 0, &settings);
    free(settings.p);
}

static void request_h2(struct text *t, uint32_t stream)
{
    struct text h = {0};
    char number[32];
    hpack_field(&h, ":method", opt.method);
    hpack_field(&h, ":scheme", "https");
    hpack_field(&h, ":authority", "127.0.0.1");
    hpack_field(&h, ":path", opt.path);
    if (opt.token[0])
        hpack_field(&h, "authorization", opt.token);
    if (opt.length) {
        snprintf(number, sizeof number, "%zu", opt.length);
        hpack_field(&h, "content-length", number);
        hpack_field(&h, "content-type", "application/json");
    }
    add_frame(t, HEADERS, opt.length ? 4 : 5, stream, &h); // END_HEADERS, END_STREAM
    free(h.p);
}

static void request_h1(struct text *t)
{
    char head[8192];
    int n =
        snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", opt.method, opt.path);
    if (opt.token[0])
        n += snprintf(head + n, sizeof head - (size_t)n, "Authorization: %s\r\n", opt.token);
    if (opt.length)
        n += snprintf(head + n, sizeof head - (size_t)n,
                      "Content-Length: %zu\r\nContent-Type: application/json\r\n", opt.length);
    add(t, head, (size_t)n);
    add_str(t, "\r\n");
}

// --- what comes back

static bool readable(struct connection *c)
{
    return c->ssl && !opt.silent;
}

static void acknowledge(struct connection *c)
{
    struct text t = {0};
    add_frame(&t, SETTINGS, SETTINGS_ACK, 0, NULL);
    SSL_write(c->ssl, t.p, (int)t.n);
    free(t.p);
}

static void take_frames(struct connection *c)
{
    size_t at = 0;
    while (c->n - at >= FRAME) {
        const unsigned char *h = c->in + at;
        size_t n = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
        if (c->n - at < FRAME + n)
            break;
        if (h[3] == HEADERS) {
            answered++;
        } else if (h[3] == RST_STREAM) {
            resets++;
            cut();
        } else if (h[3] == SETTINGS && !(h[4] & SETTINGS_ACK)) {
            acknowledge(c);
        }
        at += FRAME + n;
    }
    memmove(c->in, c->in + at, c->n - at);
    c->n -= at;
}

static void take(struct connection *c)
{
    for (;;) {
        int n = SSL_read(c->ssl, c->in + c->n, (int)(IN - c->n));
        if (n <= 0) {
            int why = SSL_get_error(c->ssl, n);
            if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
                gone(c);
            return;
        }
        if (opt.http1) {
            answered++; // once is enough to know
            continue;
        }
        c->n += (size_t)n;
        take_frames(c);
        if (c->n == IN) // a frame larger than ours to read: none of the cases makes one
            c->n = 0;
    }
}

// --- connections

static int dial(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
    struct timeval limit = {.tv_sec = 20};
    if (fd < 0)
        die("socket");
    // A small window, so that the kernel does not swallow the answer for us.
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&in, sizeof in) < 0)
        die("connect");
    return fd;
}

// Sends all of it, reading meanwhile so that the server is not held back by us. What fails is the
// server's refusal.
static void say(struct connection *c, const unsigned char *p, size_t n)
{
    double until = now() + 10;
    while (n && c->ssl && now() < until) {
        int got = SSL_write(c->ssl, p, (int)(n < 16384 ? n : 16384));
        if (got > 0) {
            p += got;
            n -= (size_t)got;
            continue;
        }
        int why = SSL_get_error(c->ssl, got);
        if (why != SSL_ERROR_WANT_WRITE && why != SSL_ERROR_WANT_READ) {
            gone(c);
            return;
        }
        struct pollfd f = {.fd = c->fd, .events = POLLOUT | POLLIN};
        poll(&f, 1, 100);
        if (f.revents & POLLIN && readable(c))
            take(c);
    }
}

static void open_connection(SSL_CTX *ctx, struct connection *c)
{
    *c = (struct connection){.fd = dial()};
    c->ssl = SSL_new(ctx);
    SSL_set_fd(c->ssl, c->fd);
    if (SSL_connect(c->ssl) != 1)
        gone(c);
    else
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static void begin(struct connection *c)
{
    struct text t = {0};
    if (!opt.http1)
        preface(&t);
    for (int i = 0; i < opt.streams; i++) {
        if (opt.http1)
            request_h1(&t);
        else
            request_h2(&t, (uint32_t)(2 * i + 1));
    }
    for (size_t i = 0; i < opt.body; i++)
        add_byte(&t, ' ');
    say(c, t.p, t.n);
    free(t.p);
}

static void trickle(void)
{
    for (int i = 0; i < opt.connections; i++)
        if (connections[i].ssl)
            SSL_write(connections[i].ssl, " ", 1);
}

static void hold(void)
{
    static struct pollfd fds[MAX_CONNECTIONS];
    double until = standing_at + opt.seconds, next = now() + opt.trickle;
    while (!over && now() < until) {
        for (int i = 0; i < opt.connections; i++)
            fds[i] = (struct pollfd){.fd = connections[i].fd,
                                     .events = readable(&connections[i]) ? POLLIN : 0};
        poll(fds, (nfds_t)opt.connections, 200);
        for (int i = 0; i < opt.connections; i++) {
            if (fds[i].revents & POLLIN && readable(&connections[i]))
                take(&connections[i]);
            else if (fds[i].revents & (POLLHUP | POLLERR) && connections[i].ssl)
                gone(&connections[i]);
        }
        if (opt.trickle && now() >= next) {
            trickle();
            next += opt.trickle;
        }
    }
}

static void read_token(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        die(path);
    char line[4000];
    if (!fgets(line, sizeof line, f))
        die(path);
    line[strcspn(line, "\r\n")] = 0;
    snprintf(opt.token, sizeof opt.token, "Bearer %s", line);
    fclose(f);
}

static void parse(int argc, char **argv)
{
    static const struct option flags[] = {{"port", 1, 0, 'p'},       {"connections", 1, 0, 'c'},
                                          {"streams", 1, 0, 's'},    {"http1", 0, 0, '1'},
                                          {"window", 1, 0, 'w'},     {"silent", 0, 0, 'q'},
                                          {"method", 1, 0, 'm'},     {"path", 1, 0, 'u'},
                                          {"token-file", 1, 0, 't'}, {"body", 1, 0, 'b'},
                                          {"length", 1, 0, 'l'},     {"trickle", 1, 0, 'k'},
                                          {"seconds", 1, 0, 'd'},    {0}};
    for (int f; (f = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        long n = optarg ? strtol(optarg, NULL, 10) : 0;
        switch (f) {
        case 'p':
            opt.port = (int)n;
            break;
        case 'c':
            opt.connections = (int)n;
            break;
        case 's':
            opt.streams = (int)n;
            break;
        case '1':
            opt.http1 = true;
            break;
        case 'w':
            opt.window = (int)n;
            break;
        case 'q':
            opt.silent = true;
            break;
        case 'm':
            opt.method = optarg;
            break;
        case 'u':
            opt.path = optarg;
            break;
        case 't':
            read_token(optarg);
            break;
        case 'b':
            opt.body = (size_t)n;
            break;
        case 'l':
            opt.length = (size_t)n;
            break;
        case 'k':
            opt.trickle = (int)n;
            break;
        case 'd':
            opt.seconds = (int)n;
            break;
        default:
            exit(2);
        }
    }
    if (!opt.port || opt.connections < 1 || opt.connections > MAX_CONNECTIONS) {
        fprintf(stderr, "attacker: --port, and at most %d connections\n", MAX_CONNECTIONS);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static const unsigned char h2[] = "\x02h2", h1[] = "\x08http/1.1";
    parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_term);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (opt.http1)
        SSL_CTX_set_alpn_protos(ctx, h1, sizeof h1 - 1);
    else
        SSL_CTX_set_alpn_protos(ctx, h2, sizeof h2 - 1);
    connections = calloc((size_t)opt.connections, sizeof *connections);
    if (!connections)
        die("memory");
    for (int i = 0; i < opt.connections && !over; i++) {
        open_connection(ctx, &connections[i]);
        if (connections[i].ssl)
            begin(&connections[i]);
    }
    standing_at = now();
    printf("standing\n");
    fflush(stdout);
    hold();
    printf("connections %d closed %d answered %d reset %d first %.0f last %.0f\n", opt.connections,
           closed, answered, resets, first_cut, last_cut);
    return 0;
}
