#!/bin/sh
# kindsc-refusals.sh KINDSC: a wrong .kinds file stops the build with file:line: message.
# Cases: the text up to `--`, then the message.
set -u
kindsc=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0
head='package t.v1
  group    t
  version  v1
  rank     1
  openapi  io.t.v1'

case_() { # NAME EXPECTED < text
    { printf '%s\n' "$head"; cat; } >"$dir/t.kinds"
    if "$kindsc" "$dir/out.c" "$dir/t.kinds" 2>"$dir/err"; then
        echo "FAIL $1: accepted"; failed=$((failed + 1)); return
    fi
    if [ -e "$dir/out.c" ]; then
        echo "FAIL $1: wrote tables"; failed=$((failed + 1)); return
    fi
    if sed "s,^$dir/,," "$dir/err" | grep -qxF "$2"; then
        passed=$((passed + 1))
    else
        echo "FAIL $1"; sed 's/^/  have: /' "$dir/err"; echo "  want: $2"; failed=$((failed + 1))
    fi
}

case_ 'unknown type' 't.kinds:7: unknown type "Nothing"' <<'E'
type A
  x  1  Nothing
E
case_ 'a part is no type of a field' 't.kinds:9: unknown type "P" (a part can only be inlined)' <<'E'
part P
  x  1  string
type A
  p  1  P
E
case_ 'type twice' "t.kinds:8: t.v1.A is defined already at $dir/t.kinds:6" <<'E'
type A
  x  1  string
type A
E
case_ 'field twice' 't.kinds:8: t.v1.A has two fields "x"' <<'E'
type A
  x  1  string
  x  2  string
E
case_ 'numbers out of order' \
    't.kinds:8: t.v1.A.y: protobuf numbers must ascend (encoders write in this order)' <<'E'
type A
  x  2  string
  y  1  string
E
case_ 'number twice' \
    't.kinds:8: t.v1.A.y: protobuf numbers must ascend (encoders write in this order)' <<'E'
type A
  x  1  string
  y  1  string
E
case_ 'no number' 't.kinds:7: "one" is not a protobuf number: use 7, 4.1 or -' <<'E'
type A
  x  one  string
E
case_ 'unknown attribute' 't.kinds:7: unknown attribute nonempy' <<'E'
type A
  x  1  string  nonempy
E
case_ 'unknown format' 't.kinds:7: unknown format "dns"' <<'E'
type A
  x  1  string  format=dns
E
case_ 'bad default' 't.kinds:7: default=yes: use "text", a number, true, false, {} or []' <<'E'
type A
  x  1  bool  default=yes
E
case_ 'inlined in itself' 't.kinds:7: cannot inline "A"' <<'E'
type A
  inline 1 A
E
case_ 'enum without values' 't.kinds:6: an enum without values' <<'E'
enum E
E
case_ 'kind without type' 't.kinds:6: kind K has no type of that name' <<'E'
kind K
  resource ks
  scope cluster
  verbs rw
E
case_ 'kind without scope' 't.kinds:6: kind K needs resource, scope and verbs' <<'E'
kind K
  resource ks
  verbs rw
type K
  x 1 string
E
case_ 'resource twice' 't.kinds:10: two kinds have the resource ks' <<'E'
kind K
  resource ks
  scope cluster
  verbs rw
kind L
  resource ks
  scope cluster
  verbs rw
type K
  x 1 string
type L
  x 1 string
E
case_ 'unknown verb' 't.kinds:9: "read" is not a verb' <<'E'
kind K
  resource ks
  scope cluster
  verbs read
type K
  x 1 string
E
case_ 'unknown flag' 't.kinds:10: "loud" is not a flag' <<'E'
kind K
  resource ks
  scope cluster
  verbs rw
  flags loud
type K
  x 1 string
E
case_ 'unknown body' 't.kinds:10: unknown body t/v1/Nothing' <<'E'
kind K
  resource ks
  scope cluster
  verbs rw
  sub run t/v1/Nothing create
type K
  x 1 string
E
case_ 'same rank' 't.kinds:6: packages u.v1 and t.v1 have the same rank' <<'E'
package u.v1
  group u
  version v1
  rank 1
  openapi io.u.v1
E
case_ 'quote' 't.kinds:6: quote is not closed' <<'E'
enum E "a b
E
case_ "nothing to belong to" "t.kinds:7: an indented line that belongs to nothing" <<"E"
any A
  x 1 string
E
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -ge 20 ]
