// Reading and writing a socket through OpenSSL or without.
//
// Output is gathered into records of 16 kB before SSL_write: with TLS the cost is per record and
// per system call, and a turn of the loop often queues many small pieces on one connection. A
// record that the kernel did not take must be offered to OpenSSL again with the same bytes in
// front; the queue only grows at its end, so that holds by itself.
//
// OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE when the peer is gone.
// Ignoring the signal would be inherited by every program that we start; so the BIO here is our
// own, with MSG_NOSIGNAL.
//
// One flush writes at most FLUSH_MAX, so that one fast reader of a large answer does not hold the
// loop; level-triggered epoll brings it back.
#include "wire/stream.h"
#include "base/err.h"
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECORD = 16 << 10, FLUSH_MAX = 512 << 10, IOVS = 64 };

// --- the BIO

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int bio_result(BIO *bio, ssize_t n, int retry)
{
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    return n < 0 ? -1 : (int)n;
}

static int bio_write(BIO *bio, const char *p, int n)
{
    BIO_clear_retry_flags(bio);
    return bio_result(bio, send((int)(intptr_t)BIO_get_data(bio), p, (size_t)n, MSG_NOSIGNAL),
                      BIO_FLAGS_WRITE);
}

static int bio_read(BIO *bio, char *p, int n)
{
    BIO_clear_retry_flags(bio);
    ssize_t got = recv((int)(intptr_t)BIO_get_data(bio), p, (size_t)n, 0);
    if (got == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return bio_result(bio, got, BIO_FLAGS_READ);
}

static long bio_ctrl(BIO *bio, int command, long number, void *p)
{
    (void)number, (void)p;
    if (command == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH;
}

static void method_make(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "coracle socket");
    BUG_ON(!method);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

static void attach(SSL *ssl, int fd)
{
    pthread_once(&method_once, method_make);
    BIO *bio = BIO_new(method);
    BUG_ON(!bio);
    BIO_set_data(bio, (void *)(intptr_t)fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
}

// --- life

static void ready(struct loop_fd *f, unsigned events)
{
    struct stream *s = container_of(f, struct stream, fd);
    s->fn(s, events);
}

void stream_init(struct stream *s, struct loop *l, int fd, SSL *ssl,
                 void (*fn)(struct stream *s, unsigned ready))
{
    *s = (struct stream){.loop = l, .ssl = ssl, .fn = fn, .handshaking = ssl != NULL};
    s->fd.fn = ready;
    s->fd.fd = fd;
    if (ssl)
        attach(ssl, fd);
}

void stream_begin_tls(struct stream *s, SSL *ssl)
{
    s->ssl = ssl;
    s->handshaking = true;
    attach(ssl, s->fd.fd);
}

int stream_looks_like_tls(struct stream *s)
{
    enum { HANDSHAKE = 22 }; // a record's content type (RFC 8446 5.1); no HTTP method begins so
    unsigned char first;
    ssize_t n;
    do {
        n = recv(s->fd.fd, &first, 1, MSG_PEEK);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return -1;
    return n == 1 && first == HANDSHAKE;
}

void stream_done(struct stream *s)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    if (s->cut)
        (void)!setsockopt(s->fd.fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    else
        stream_shutdown(s);
    loop_fd_remove(s->loop, &s->fd);
    SSL_free(s->ssl);
    s->ssl = NULL;
    close(s->fd.fd);
    s->fd.fd = -1;
    outq_done(&s->out);
}

// The negative code for a failed SSL call; -EAGAIN sets the direction it waits for.
static int ssl_failed(struct stream *s, int result, bool *wants_other, int other)
{
    int saved = errno, why = SSL_get_error(s->ssl, result);
    *wants_other = why == other;
    switch (why) {
    case SSL_ERROR_WANT_READ:
        if (other == SSL_ERROR_WANT_WRITE) // not of a write
            s->starved = true;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        s->error = saved ? -saved : -ECONNRESET;
        break;
    default:
        s->error = ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING
                       ? -ECONNRESET
                       : -EPROTO;
    }
    return s->error;
}

int stream_handshake(struct stream *s)
{
    if (!s->handshaking)
        return 1;
    ERR_clear_error();
    errno = 0;
    int n = SSL_do_handshake(s->ssl);
    s->starved = false;
    if (n == 1) {
        s->handshaking = false;
        return 1;
    }
    int code = ssl_failed(s, n, &s->handshake_wants_write, SSL_ERROR_WANT_WRITE);
    if (code == -EAGAIN)
        return 0;
    if (code == 0)
        s->error = -ECONNRESET;
    return s->error;
}

bool stream_drop_tls(struct stream *s)
{
    bool http = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
    SSL_free(s->ssl);
    s->ssl = NULL;
    s->handshaking = false;
    s->error = 0;
    return http;
}

ssize_t stream_read(struct stream *s, char *p, size_t n)
{
    if (s->error)
        return s->error;
    if (s->eof)
        return 0;
    ssize_t got;
    if (s->ssl) {
        ERR_clear_error();
        errno = 0;
        got = SSL_read(s->ssl, p, (int)(n > RECORD * 4 ? RECORD * 4 : n));
        s->starved = false;
        if (got > 0) {
            s->read_wants_write = false;
            return got;
        }
        got = ssl_failed(s, (int)got, &s->read_wants_write, SSL_ERROR_WANT_WRITE);
    } else {
        do {
            got = recv(s->fd.fd, p, n, 0);
        } while (got < 0 && errno == EINTR);
        if (got < 0) {
            got = -errno;
            if (got != -EAGAIN)
                s->error = (int)got;
        }
    }
    if (got == 0)
        s->eof = true;
    return got;
}

bool stream_has_input(const struct stream *s)
{
    // What OpenSSL still holds after it asked for more is a piece of a record: only the socket can
    // bring the rest, and trying again before would turn the loop for as long as the peer likes.
    return s->ssl && !s->eof && !s->error && !s->starved && SSL_has_pending(s->ssl);
}

static ssize_t write_some(struct stream *s)
{
    if (!s->ssl) {
        struct iovec iov[IOVS];
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)outq_iov(&s->out, iov, IOVS)};
        ssize_t n;
        do {
            n = sendmsg(s->fd.fd, &msg, MSG_NOSIGNAL);
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
    }
    char scratch[RECORD];
    struct str record = outq_peek(&s->out, scratch, RECORD);
    ERR_clear_error();
    errno = 0;
    int n = SSL_write(s->ssl, record.p, (int)record.n);
    if (n > 0) {
        s->write_wants_read = false;
        return n;
    }
    n = ssl_failed(s, n, &s->write_wants_read, SSL_ERROR_WANT_READ);
    return n ? n : -EPIPE;
}

int stream_flush(struct stream *s)
{
    size_t budget = FLUSH_MAX;
    if (s->error)
        return s->error;
    if (s->handshaking)
        return 0;
    while (s->out.n) {
        ssize_t n = write_some(s);
        if (n == -EAGAIN)
            return 0;
        if (n < 0)
            return s->error = (int)n;
        outq_drop(&s->out, (size_t)n);
        if ((size_t)n >= budget)
            return 0;
        budget -= (size_t)n;
    }
    return 0;
}

void stream_shutdown(struct stream *s)
{
    if (s->ssl && !s->handshaking && !s->error && !s->out.n &&
        !(SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN)) {
        ERR_clear_error();
        SSL_shutdown(s->ssl);
        ERR_clear_error();
    }
    if (s->fd.fd >= 0)
        shutdown(s->fd.fd, SHUT_WR);
}

void stream_watch(struct stream *s)
{
    unsigned want = 0;
    if (s->error) {
        want = 0;
    } else if (s->handshaking) {
        want = s->handshake_wants_write ? LOOP_WRITE : LOOP_READ;
    } else {
        if (s->reading && !s->eof)
            want |= s->read_wants_write ? LOOP_READ | LOOP_WRITE : LOOP_READ;
        if (s->out.n)
            want |= s->write_wants_read ? LOOP_READ : LOOP_WRITE;
    }
    int code = loop_fd_set(s->loop, &s->fd, want);
    BUG_ON(code < 0 && code != -ENOMEM && code != -ENOSPC);
    if (code < 0)
        s->error = code;
}
