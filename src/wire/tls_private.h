// What the rest of this room needs of TLS: a session for a socket, and who the peer is.
#pragma once
#include "wire/tls.h"
#include <openssl/types.h>

struct tls_server *tls_server_ref(struct tls_server *t); // NULL gives NULL
struct tls_client *tls_client_ref(struct tls_client *t);
SSL *tls_server_session(struct tls_server *t);
// host: the name or address that the server's certificate must carry. h1 only (ALPN).
SSL *tls_client_session(struct tls_client *t, struct str host);
bool tls_is_h2(const SSL *ssl);
// The peer's verified certificate, one heap block (free), or NULL.
struct tls_peer *tls_peer_new(SSL *ssl);
// Why the handshake failed, in the words that people know.
void tls_client_why(SSL *ssl, struct str host, char *out, size_t n);
