# Sourced by appliance.sh: what the benchmarks need beside the program and the image, into dist/bench and dist/nginx.

# Beside those that setup installs anyway.
BENCH_PACKAGES=(
  sockperf wrk # clients
  libcrypt1 libpcre2-8-0 zlib1g # nginx
)

bench_usage() {
  cat <<'END'
Usage: build/appliance.sh bench [--json] [--rounds N] [--build NAME=EXECUTABLE]… [NAME…]
       build/appliance.sh bench --gather FILE.json…
       build/appliance.sh bench --chart FILE.json… > docs/performance.svg

Measures Firebreak beside its peers, in one run, and says how sure that is. Without a NAME: all.

  pps    small packets: highest rate without loss, CPU time a packet
  pps6   the same by IPv6, masqueraded, and by IPv4 beside, without the null forwarder; five minutes
  tcp    TCP throughput: 1 and 8 streams, offload on and off, both ways
  tcp6   the same by IPv6, masqueraded, and by IPv4 beside, and how their ratios to nftables compare; five minutes
  rtt    round trips of a small datagram: p50, p99 and p99.9, at rest and under half load
  cps    new TCP connections a second, with a short HTTP exchange
  flows  the pure dataplane with 1 000 to 1 000 000 flows: ns a packet, bytes a flow
  rules  what judging a new flow costs with 1 to 10 000 rules
  core   the pure dataplane on frames in memory: ns a packet of each kind, a new flow, allocation
  pauses how long frames wait for what else the dataplane's thread does: new rules, reloads, time that is up, with 65 536 flows
  queue  round trips beside an upload, where a slow line is beyond: with and without [uplink] rate
  asked  what it costs that somebody asks: round trips and packets a second beside top, stopped readers, drops
  capture what a capture of 1 Gbit/s to a file loses, beside tcpdump
  vm     the image in QEMU beside a Debian kernel with nftables: boot, memory, TCP throughput
  attack what a client notices of attacks by others: half an hour, so only when it is named
  size   sizes of what is built, memory of an idle appliance, the least memory that it boots in

  --json     print JSON instead of tables
  --rounds   rounds of each benchmark; the default is the least for a claim
  --build    measure another build of dist/firebreak beside it
  --gather   measure nothing: take the rounds of these kept runs together, as when attack --rounds 1 is run now and then
  --chart    measure nothing: draw the ratios to nftables in these kept runs

Every run is kept in dist/bench/.
END
}

# All but what the benchmarks print goes to standard error.
bench() {
  case " $* " in
    *" --help "* | *" -h "*) bench_usage; return ;;
    *" --chart "* | *" --gather "*) install_node_modules >&2; exec node_modules/.bin/bun bench/bench.ts "$@" ;;
  esac
  need_root bench
  PACKAGES+=("${BENCH_PACKAGES[@]}")
  {
    build
    fetch_server nginx
    fetch_linux
    build_bench
  } >&2
  exec node_modules/.bin/bun bench/bench.ts "$@"
}

build_bench() {
  local program made
  say "build: dist/bench"
  mkdir -p dist/bench
  for program in subjects/null-forwarder load/generator; do
    made=dist/bench/${program#*/}
    [ "$made" -nt "bench/$program.c" ] || gcc -O2 -Wall -Wextra -o "$made" "bench/$program.c"
  done
  build_linux
}

# dist/bench/kernel: Debian's kernel for virtual machines, for the peer in `vm`.
fetch_linux() {
  local release
  release=$(newest_kernel linux-image-cloud-amd64)
  fetch_kernel "$release" dist/bench/kernel
  ln -f "dist/bench/kernel/boot/vmlinuz-$(cat dist/bench/kernel/release)" dist/bench/kernel/vmlinuz
}

# dist/bench/linux: the peer in `vm`, an initramfs for Debian's kernel that routes and filters with nftables.
build_linux() {
  local root=dist/bench/linux.root program library modules
  rm -rf "$root"
  mkdir -p "$root"/{bin,dev,etc,proc,sys}
  cp --no-preserve=timestamps bench/subjects/linux-init "$root/init"
  cp --no-preserve=timestamps bench/subjects/qubes-agent.nft bench/subjects/flowtable.nft "$root/etc/"
  cp "$(command -v busybox)" "$root/bin/"
  for program in sh insmod ip mount rm sleep; do ln -s busybox "$root/bin/$program"; done
  install -D "$(command -v nft)" "$root/nft/nft"
  while read -r library; do
    install -D "$library" "$root/nft/$(basename "$library")"
  done < <(needed_libraries "$(command -v nft)")
  mapfile -t modules < <(listed_modules bench/subjects/linux-modules)
  add_modules dist/bench/kernel "$(cat dist/bench/kernel/release)" "$root" "${modules[@]}"
  pack_initramfs "$root" | zstd -q >dist/bench/linux
  rm -rf "$root"
}
