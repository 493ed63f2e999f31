#!/bin/bash
# Makes the captures of IPv6 anew, as make.sh does those of IPv4: real programs, and a Linux router that masquerades (NAT66). Needs root;
# touches its own namespaces only.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/captures/lab.sh
source lab.sh

readonly SERVER=2001:db8:7::80 DNS=2001:db8::1

links net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 \
  net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.forwarding=1 net.ipv6.icmp.ratelimit=0

# The client knows of one router and nothing else, as in Qubes OS.
ip -n $CLIENT address add fd00::10/128 dev eth0
ip -n $CLIENT route add fd00::1 dev eth0
ip -n $CLIENT route add default via fd00::1 dev eth0 src fd00::10
ip -n $ROUTER address add fd00::1/128 dev eth0
ip -n $ROUTER route add fd00::10 dev eth0
ip -n $ROUTER address add 2001:db8::2/64 dev eth1
ip -n $ROUTER route add default via $DNS
ip -n $GATEWAY address add $DNS/64 dev eth0
ip -n $GATEWAY address add 2001:db8:7::1/64 dev eth1
ip -n $FAR address add $SERVER/64 dev eth0
ip -n $FAR route add default via 2001:db8:7::1
ip netns exec $ROUTER nft "add table ip6 nat; add chain ip6 nat post { type nat hook postrouting priority 100; }; add rule ip6 nat post oif eth1 masquerade"

serve $SERVER
answer $DNS $SERVER
sleep 1

capture ping6 ping -c 3 -i 0.2 $SERVER
capture dns6 sh -c "dig +noall +answer @$DNS web.example AAAA; dig +noall +answer +tcp @$DNS long.example TXT"
capture http6 curl -s -o /dev/null -w '%{size_download} bytes\n' "http://[$SERVER]/numbers.txt"
capture traceroute6 traceroute -n -q 1 -N 1 -w 1 $SERVER
capture refused6 sh -c "curl -s 'http://[$SERVER]:81/'; dig +tries=1 +time=1 @$SERVER web.example"
capture fragments6 ping -c 2 -i 0.2 -s 3000 $SERVER
# Destination options with four bytes of padding in front of UDP, and hop-by-hop options too, to a port that nobody has.
capture options6 python3 -c "
import socket
padding = bytes([0, 0, 1, 4, 0, 0, 0, 0])
for options in ([socket.IPV6_DSTOPTS], [socket.IPV6_HOPOPTS, socket.IPV6_DSTOPTS]):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        for option in options: client.setsockopt(socket.IPPROTO_IPV6, option, padding)
        client.sendto(b'hello', ('$SERVER', 9))
"
# Last, because the client remembers the path's MTU.
capture ping-too-big6 sh -c "
  ip netns exec $GATEWAY ip link set eth1 mtu 1400
  ping -c 2 -i 0.2 -W 1 -M do -s 1452 $SERVER
  ip netns exec $GATEWAY ip link set eth1 mtu 1500"
ls -l ./*6-*.pcap
