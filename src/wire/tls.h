// TLS contexts on OpenSSL: server with optional client certificates, client with a CA.
// Any thread once made; reference-counted inside.
#pragma once
#include "base/arena.h"
#include "base/err.h"

struct tls_server;
struct tls_client;

// Who the client's verified certificate says it is (Kubernetes: CN is the user, O the groups).
struct tls_peer {
    struct str common_name;
    const struct str *organizations;
    size_t norganizations;
    struct str serial_hex;
};

// PEM texts. client_ca_pem STR_NULL: no client certificates. They are asked for, never demanded;
// one that does not verify fails the handshake. ALPN offers h2 and http/1.1. TLS 1.2 and later.
int tls_server_new(struct str cert_pem, struct str key_pem, struct str client_ca_pem,
                   struct tls_server **ret, struct err *e);
void tls_server_free(struct tls_server *t);
// ca_pem STR_NULL: the system's store. cert/key STR_NULL: no client certificate. insecure: no
// check.
int tls_client_new(struct str ca_pem, struct str cert_pem, struct str key_pem, bool insecure,
                   struct tls_client **ret, struct err *e);
void tls_client_free(struct tls_client *t);
