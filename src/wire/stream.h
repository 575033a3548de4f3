// A byte stream over a socket, with or without TLS, and its output queue. The common ground of
// server and client connections; private to this room. Non-blocking throughout; belongs to one
// loop.
//
// The owner is told of readiness by fn and then calls stream_handshake (until it says done),
// stream_read and stream_flush, and at the end of whatever it did stream_watch, which asks epoll
// for exactly what is wanted next. No function here calls the owner.
#pragma once
#include "wire/loop.h"
#include "wire/outq.h"
#include <openssl/types.h>

struct stream {
    struct loop *loop;
    struct loop_fd fd;
    SSL *ssl; // owned; NULL: plain
    struct outq out;
    void (*fn)(struct stream *s, unsigned ready);
    bool handshaking;
    bool reading; // set by the owner: wants input
    bool eof;     // no more input comes
    int error;    // 0 or -errno: the stream is dead (-EPROTO: TLS)
    bool cut;     // the end is a reset: what the peer has not taken, the kernel forgets too
    bool starved; // TLS asked for more than it holds: only the socket can bring it
    // TLS may need the other direction first.
    bool handshake_wants_write, read_wants_write, write_wants_read;
};

// Takes fd and ssl. Watches nothing yet.
void stream_init(struct stream *s, struct loop *l, int fd, SSL *ssl,
                 void (*fn)(struct stream *s, unsigned ready));
// Says good-bye where TLS can do so without waiting, closes, frees the queue.
void stream_done(struct stream *s);
void stream_begin_tls(struct stream *s, SSL *ssl); // on a plain stream of which nothing was read
// Whether the peer begins with a TLS handshake, by its first byte, which stays unread: 1, 0, or -1
// while there is none. At the end and on errors 0: reading will tell.
int stream_looks_like_tls(struct stream *s);
int stream_handshake(struct stream *s); // 1 done, 0 not yet, -errno
// Bytes; 0 at the end; -EAGAIN; -errno.
ssize_t stream_read(struct stream *s, char *p, size_t n);
// After a failed handshake: TLS is taken away, so that the alert can go out and what the peer still
// sends be thrown away as plain bytes. True where the peer spoke plain HTTP.
bool stream_drop_tls(struct stream *s);
// Whether input waits inside TLS, of which epoll knows nothing. Pieces of a record do not count.
bool stream_has_input(const struct stream *s);
// Writes what the kernel takes. 0, or -errno when the stream is dead.
int stream_flush(struct stream *s);
void stream_shutdown(struct stream *s); // no more output: TLS close_notify, TCP FIN
void stream_watch(struct stream *s);
