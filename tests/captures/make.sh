#!/bin/bash
# Makes the captures anew, but for the talk's two: real programs in a client's namespace talk through a Linux NAT router
# to a DNS server and, one hop further, to a web server. tcpdump listens on both of the router's interfaces, so that each
# pair of captures holds what a router gets and what Linux made of it. Needs root; touches its own namespaces only.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/captures/lab.sh
source lab.sh

readonly SERVER=198.51.100.80 DNS=192.0.2.1

links net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0

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

serve $SERVER
ip netns exec $FAR iperf3 -s -B $SERVER >"$WORK/iperf3.log" & pids+=($!)
answer $DNS $SERVER
sleep 1

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
