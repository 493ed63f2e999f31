# shellcheck shell=bash
# What make.sh and make6.sh share: a client, a router that masquerades, its gateway and a far host, each a network namespace of its own, and
# captures on both of the router's interfaces while a real program runs in the client's. To be sourced.

readonly PREFIX=firebreak-captures
readonly CLIENT=$PREFIX-client ROUTER=$PREFIX-router GATEWAY=$PREFIX-gateway FAR=$PREFIX-far

for tool in ip ethtool nft tcpdump ping traceroute dig curl iperf3 dnsmasq editcap python3; do
  command -v "$tool" >/dev/null || { echo "$0: needs $tool (apt-get install iproute2 ethtool nftables tcpdump iputils-ping traceroute dnsutils curl iperf3 dnsmasq wireshark-common python3)" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "$0: needs root, for network namespaces" >&2; exit 1; }

WORK=$(mktemp -d)
readonly WORK
pids=()
cleanup() {
  kill "${pids[@]}" 2>/dev/null || true
  wait || true
  for namespace in $CLIENT $ROUTER $GATEWAY $FAR; do ip netns del "$namespace" 2>/dev/null || true; done
  rm -rf "$WORK"
}
trap cleanup EXIT

# link NAMESPACE INTERFACE MAC NAMESPACE INTERFACE MAC: a cable on which every checksum and segment is a real one
link() {
  ip link add "$2" netns "$1" address "$3" type veth peer "$5" netns "$4" address "$6"
  ip -n "$1" link set "$2" up
  ip -n "$4" link set "$5" up
  ip netns exec "$1" ethtool -K "$2" tx off tso off gso off gro off >/dev/null
  ip netns exec "$4" ethtool -K "$5" tx off tso off gso off gro off >/dev/null
}

# links SYSCTL…: the namespaces, each with these settings, and the cables between them
links() {
  local setting
  for namespace in $CLIENT $ROUTER $GATEWAY $FAR; do
    ip netns add "$namespace"
    for setting in "$@"; do ip netns exec "$namespace" sysctl -qw "$setting"; done
    ip -n "$namespace" link set lo up
  done
  link $CLIENT eth0 02:00:00:00:00:0a $ROUTER eth0 02:00:00:00:01:00
  link $ROUTER eth1 02:00:00:00:01:01 $GATEWAY eth0 02:00:00:00:02:00
  link $GATEWAY eth1 02:00:00:00:02:01 $FAR eth0 02:00:00:00:03:00
}

# serve ADDRESS: a web server on the far host
serve() {
  mkdir "$WORK/www"
  seq -w 1 1600 >"$WORK/www/numbers.txt"
  ip netns exec $FAR python3 -m http.server --bind "$1" --directory "$WORK/www" 80 >"$WORK/www.log" 2>&1 & pids+=($!)
}

# answer ADDRESS SERVER: a name server on the gateway, by which web.example is SERVER
answer() {
  ip netns exec $GATEWAY dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
    --listen-address="$1" --bind-interfaces --address=/web.example/"$2" --txt-record=long.example,"$(printf 'x%.0s' {1..200})" & pids+=($!)
}

# capture NAME COMMAND…: runs the command in the client's namespace, with cold ARP caches and no flows
capture() {
  local name=$1 listeners=() side
  shift
  for namespace in $CLIENT $ROUTER $GATEWAY; do ip -n "$namespace" neigh flush all; done
  local interface=0
  for side in client uplink; do
    ip netns exec $ROUTER tcpdump -i eth$interface --immediate-mode --time-stamp-precision=nano -Z root \
      -w "$name-$side.pcap" 2>"$WORK/tcpdump-$side" & listeners+=($!)
    until grep -q listening "$WORK/tcpdump-$side"; do sleep 0.1; done
    interface=$((interface + 1))
  done
  ip netns exec $CLIENT "$@" >"$WORK/output" 2>&1 || true
  sleep 0.5
  kill -INT "${listeners[@]}"
  wait "${listeners[@]}"
  echo "== $name: $*"
  cat "$WORK/output"
}
