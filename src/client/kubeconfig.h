// The kubeconfig file: which server, trusted by which CA, entered with which credentials.
//
// Read are clusters (server, certificate-authority and -data, insecure-skip-tls-verify), users
// (client-certificate, client-key and their -data forms, token, tokenFile) and contexts (cluster,
// user, namespace). Relative paths are relative to the file. exec and auth-provider plug-ins are
// refused by name.
#pragma once
#include "base/arena.h"
#include "base/err.h"

struct kubeconfig {
    struct str server;            // "https://10.0.0.5:6443"
    struct str ca_pem;            // STR_NULL: the system's store
    struct str cert_pem, key_pem; // STR_NULL: none
    struct str token;             // STR_NULL: none
    struct str ns;                // of the context; "default" where it names none
    struct str context;           // the context's name
    bool insecure;
};

// context STR_NULL: the current one. Strings are in `a`. Errors name the file and what is wrong in
// it.
int kubeconfig_load(struct arena *a, const char *path, struct str context, struct kubeconfig *ret,
                    struct err *e);
