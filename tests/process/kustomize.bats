#!/usr/bin/env bats
# `coracle kustomize` on a real disk; what it prints is held to the original by tests/golden/kustomize.
load ../lib/common

setup() {
    DIR=$(mktemp -d)
    mkdir -p "$DIR/base" "$DIR/top"
    printf 'resources: [cm.yaml]\n' >"$DIR/base/kustomization.yaml"
    printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n' >"$DIR/base/cm.yaml"
    printf 'resources: [../base]\nnamePrefix: p-\n' >"$DIR/top/kustomization.yaml"
}
teardown() { rm -rf "$DIR"; }

@test "build prints, writes a file, and fills a directory" {
    expected=$'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: p-a'
    [ "$("$CORACLE" kustomize build "$DIR/top")" = "$expected" ]
    "$CORACLE" kustomize build "$DIR/top" -o "$DIR/out.yaml"
    [ "$(cat "$DIR/out.yaml")" = "$expected" ]
    mkdir "$DIR/many"
    "$CORACLE" kustomize build "$DIR/top" -o "$DIR/many"
    [ "$(cat "$DIR/many/v1_configmap_p-a.yaml")" = "$expected" ]
}

@test "called by the name kustomize, it is kustomize" {
    ln -s "$CORACLE" "$DIR/kustomize"
    cd "$DIR/top"
    [ "$("$DIR/kustomize" build | tail -n 1)" = "  name: p-a" ]
}

@test "a link out of the kustomization is refused, unless asked for" {
    printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: outside}\n' >"$DIR/outside.yaml"
    ln -s "$DIR/outside.yaml" "$DIR/base/link.yaml"
    printf 'resources: [link.yaml]\n' >"$DIR/base/kustomization.yaml"
    run "$CORACLE" kustomize build "$DIR/top"
    [ "$status" = 1 ]
    [[ $output == *"security; file '$DIR/base/link.yaml' is not in or below '$DIR/base'"* ]]
    run "$CORACLE" kustomize build --load-restrictor LoadRestrictionsNone "$DIR/top"
    [ "$status" = 0 ]
}

@test "what is not there and what is not known is said" {
    run "$CORACLE" kustomize build "$DIR/nowhere"
    [ "$status" = 1 ]
    [[ $output == *"must build at directory: $DIR/nowhere"* ]]
    run "$CORACLE" kustomize build --reorder sideways "$DIR/top"
    [ "$status" = 2 ]
    [[ $output == *"legal values: [legacy none]"* ]]
    printf 'resources: [https://example.invalid/repo//dir?ref=v1]\n' >"$DIR/base/kustomization.yaml"
    run "$CORACLE" kustomize build "$DIR/top"
    [ "$status" = 1 ]
    [[ $output == *"'https://example.invalid/repo//dir?ref=v1' is remote, and nothing is fetched here"* ]]
}
