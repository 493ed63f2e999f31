#!/bin/bash
# Makes the captures anew, but for the talk's two: real programs in a client's namespace talk through a Linux NAT router
# to a DNS server and, one hop further, to a web server. tcpdump listens on both of the router's interfaces, so that each
# pair of captures holds what a router gets and what Linux made of it. Needs root; touches its own namespaces only.
set -euo pipefail
cd "$(dirname "$0")"

readonly PREFIX=firebreak-captures
readonly CLIENT=$PREFIX-client ROUTER=$PREFIX-router GATEWAY=$PREFIX-gateway FAR=$PREFIX-far
readonly SERVER=198.51.100.80 DNS=192.0.2.1

for tool in ip ethtool nft tcpdump ping traceroute dig curl iperf3 dnsmasq nginx editcap; do
  command -v "$tool" >/dev/null || { echo "make.sh: needs $tool (apt-get install iproute2 ethtool nftables tcpdump iputils-ping traceroute dnsutils curl iperf3 dnsmasq nginx-light wireshark-common)" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "make.sh: needs root, for network namespaces" >&2; exit 1; }

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

for namespace in $CLIENT $ROUTER $GATEWAY $FAR; do
  ip netns add "$namespace"
  ip netns exec "$namespace" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  ip netns exec "$namespace" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0
  ip -n "$namespace" link set lo up
done
link $CLIENT eth0 02:00:00:00:00:0a $ROUTER eth0 02:00:00:00:01:00
link $ROUTER eth1 02:00:00:00:01:01 $GATEWAY eth0 02:00:00:00:02:00
link $GATEWAY eth1 02:00:00:00:02:01 $FAR eth0 02:00:00:00:03:00

# The client knows of one router and nothing else, as in Qubes OS.
ip -n $CLIENT address add 10.137.0.10/32 dev eth0
ip -n $CLIENT route add 10.137.0.1 dev eth0
ip -n $CLIENT route add default via 10.137.0.1 dev eth0
ip -n $ROUTER address add 10.137.0.1/32 dev eth0
ip -n $ROUTER route add 10.137.0.10 dev eth0
ip -n $ROUTER address add 192.0.2.254/24 dev eth1
ip -n $ROUTER route add default via $DNS
ip -n $GATEWAY address add $DNS/24 dev eth0
ip -n $GATEWAY address add 198.51.100.1/24 dev eth1
ip -n $FAR address add $SERVER/24 dev eth0
ip -n $FAR route add default via 198.51.100.1
ip netns exec $ROUTER nft "add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; add rule ip nat post oif eth1 masquerade"

mkdir "$WORK/www"
seq -w 1 1600 >"$WORK/www/numbers.txt"
cat >"$WORK/nginx.conf" <<CONF
daemon off; user root; worker_processes 1; pid $WORK/nginx.pid; error_log $WORK/nginx.log;
events {}
http { access_log off; server { listen $SERVER:80; root $WORK/www; } }
CONF
ip netns exec $FAR nginx -e "$WORK/nginx.log" -c "$WORK/nginx.conf" & pids+=($!)
ip netns exec $FAR iperf3 -s -B $SERVER >"$WORK/iperf3.log" & pids+=($!)
ip netns exec $GATEWAY dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
  --listen-address=$DNS --bind-interfaces --address=/web.example/$SERVER --txt-record=long.example,"$(printf 'x%.0s' {1..200})" & pids+=($!)
sleep 1

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
  sleep 0.3
  kill -INT "${listeners[@]}"
  wait "${listeners[@]}"
  echo "== $name: $*"
  cat "$WORK/output"
}

capture ping ping -c 3 -i 0.2 $SERVER
capture dns sh -c "dig +noall +answer @$DNS web.example; dig +noall +answer +tcp @$DNS long.example TXT"
capture http curl -s -o /dev/null -w '%{size_download} bytes\n' http://$SERVER/numbers.txt
capture iperf3 sh -c "iperf3 -c $SERVER -n 8K -l 4K; iperf3 -c $SERVER -u -b 10M -n 4K -l 1000"
capture traceroute traceroute -n -q 1 -N 1 -w 1 $SERVER
capture refused sh -c "curl -s http://$SERVER:81/; dig +tries=1 +time=1 @$SERVER web.example"
# Last, because the client remembers the path's MTU.
capture ping-too-big sh -c "
  ip netns exec $GATEWAY ip link set eth1 mtu 1400
  ping -c 2 -i 0.2 -W 1 -M do -s 1472 $SERVER
  ip netns exec $GATEWAY ip link set eth1 mtu 1500"

# The same as http, each frame cut after 96 bytes: what `tcpdump -s 96` leaves.
editcap -F nsecpcap -s 96 http-client.pcap http-client-cut.pcap
ls -l ./*.pcap
