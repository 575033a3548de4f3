#!/usr/bin/env bats
# The case attack-durability, 4: who watched goes on after a restart of the server, from where they were.
load ../lib/common

setup_file() { server_start --without node,network; }
teardown_file() { server_stop; }

watched() { # REVISION: types and names that a watch of ConfigMaps tells within two seconds
    K get --raw "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=2&resourceVersion=$1" |
        sed -E 's/^\{"type":"([A-Z]+)".*"name":"([a-z.-]+)".*/\1 \2/;s/.*(too old resource version).*/\1/'
}

@test "4: a watch from before a stop, and from before a kill" {
    K create configmap before >/dev/null
    revision=$(K get configmap before -o jsonpath='{.metadata.resourceVersion}')
    K create configmap missed >/dev/null
    K delete configmap before >/dev/null
    server_kill TERM
    server_run --without node,network
    contains "$(watched "$revision")" '^ADDED missed$'
    contains "$(watched "$revision")" '^DELETED before$'
    server_kill KILL
    server_run --without node,network
    contains "$(watched "$revision")" '^DELETED before$'
    K create configmap after >/dev/null
    contains "$(watched "$revision")" '^ADDED after$'
}
