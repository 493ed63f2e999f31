#!/bin/sh
# Runs Firebreak in a network namespace of its own, on interfaces of this machine that nothing else uses; they come back when
# it ends. docs/NAMESPACE.md says how to make interfaces for it on a machine that has only one.
set -eu

name=${FIREBREAK_NAMESPACE:-firebreak}
firebreak=${FIREBREAK:-firebreak}

if [ $# -lt 2 ]; then
    echo "Usage: namespace.sh CONFIG INTERFACE… (FIREBREAK is the program, FIREBREAK_NAMESPACE the namespace's name)" >&2
    exit 2
fi
config=$1
shift

fail() {
    echo "namespace.sh: $1" >&2
    exit 1
}

# Everything is looked at before anything is changed: who is logged in over the network stays so.
[ "$(id -u)" = 0 ] || fail "needs root"
[ ! -e "/run/netns/$name" ] || fail "there is a namespace $name already (stop what runs in it, then: ip netns delete $name)"
"$firebreak" check "$config" >/dev/null || exit 2
for interface in "$@"; do
    ip link show dev "$interface" >/dev/null 2>&1 || fail "$interface: there is no such interface here"
    [ -z "$(ip -oneline address show dev "$interface" scope global)" ] ||
        fail "$interface has an address, and what this machine does by it would end (take another interface)"
    ! ip -oneline link show dev "$interface" | grep -q ' master ' ||
        fail "$interface is part of a bridge or bond, which would lose it (take another interface)"
done

ip netns add "$name"
child=
# Called by the trap below.
# shellcheck disable=SC2317
restore() {
    trap - EXIT
    ip netns exec "$name" "$firebreak" restore >/dev/null || true # one that was killed
    for interface in "$@"; do
        ip -netns "$name" link set "$interface" netns $$ 2>/dev/null || true
    done
    ip netns delete "$name"
}
trap 'restore "$@"' EXIT
for signal in TERM INT HUP USR1; do
    # shellcheck disable=SC2064 # the signal of this round
    trap "[ -z \"\$child\" ] || kill -$signal \$child" "$signal"
done

for interface in "$@"; do
    ip link set "$interface" netns "$name"
done
ip netns exec "$name" "$firebreak" run --config "$config" &
child=$!
status=0
while kill -0 "$child" 2>/dev/null; do
    status=0
    wait "$child" || status=$?
done
exit "$status"
