# Sourced by appliance.sh: installs what a fresh machine lacks.

# Debian packages, by what needs them. Of servers only those without a service of their own: setting up must leave nothing
# running or listening.
PACKAGES=(
  qemu-system-x86 # run, demo, test
  bc bison flex gcc libc6-dev libelf-dev make patch perl xz-utils # the kernel
  busybox-static cpio squashfs-tools zstd # the image; busybox is also the HTTP server of demo and test
  bind9-dnsutils curl dnsmasq-base ethtool iperf3 iproute2 iputils-ping tcpdump # demo and test: real clients and servers
  wireshark-common # test: editcap
  iputils-tracepath netbase nftables python3-pyftpdlib traceroute # test (netbase: the names of ports, which nft knows)
  kmod # test: depmod, for dom0's kernel
  libxen-dev # test: libxenvchan, the other end of a vchan
  libevent-core-2.1-7 libevent-extra-2.1-7 libevent-openssl-2.1-7 libevent-pthreads-2.1-7 # coturn, for the test
  libhiredis0.14 libmariadb3 libpq5 libsqlite3-0 libssl3 libsystemd0
)

setup() {
  install_packages
  install_node_modules
  fetch_kernel_source
  fetch_server coturn # STUN, for the test
}

missing_packages() {
  local package
  for package in "${PACKAGES[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s\n' "$package"
  done
}

install_packages() {
  command -v apt-get >/dev/null || die "this machine has no apt-get" "set up on Debian 12, or something that is based on it"
  local missing
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0
  need_root setup
  say "setup: installing ${missing[*]}"
  install_from_lists "${missing[@]}" || { update_lists && install_from_lists "${missing[@]}"; } ||
    die "apt-get could not install: ${missing[*]}" "see its errors above; it needs Debian's mirror to be reachable"
}

install_from_lists() {
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@"
}

update_lists() {
  say "setup: fetching Debian's package lists"
  apt-get update --quiet
}

install_node_modules() {
  command -v npm >/dev/null || die "npm is missing" "install Node.js 20 or newer with npm: apt-get install nodejs npm"
  if ! node_modules_match; then
    say "setup: npm ci"
    npm ci --no-audit --no-fund || die "npm ci failed" "see its errors above; it needs the npm registry to be reachable"
  fi
  # The package bun fetches its binary in a script that runs after installation, which npm may be configured not to do.
  if ! node_modules/.bin/bun --version >/dev/null 2>&1; then
    say "setup: installing bun's binary"
    (cd node_modules/bun && node install.js) || die "bun has no binary for this machine" "see the errors above"
  fi
}

# True when what npm noted about node_modules is what the lock file asks for.
node_modules_match() {
  [ -e node_modules/.package-lock.json ] && node --input-type=commonjs --eval '
    const wanted = require("./package-lock.json").packages;
    const there = require("./node_modules/.package-lock.json").packages;
    const differs = (name) => wanted[name]?.integrity !== there[name]?.integrity;
    const needed = Object.keys(wanted).filter((name) => name !== "" && !wanted[name].optional);
    process.exit([...needed, ...Object.keys(there)].some(differs) ? 1 : 0);'
}

# A server, for the test or the benchmarks: unpacked into dist/$1 and not installed, because installing it would start a service.
fetch_server() {
  [ ! -e "dist/$1" ] || return 0
  say "setup: fetching $1"
  download_server "$1" || { update_lists && download_server "$1"; } ||
    die "$1 could not be fetched" "see the errors above; run build/appliance.sh setup again"
}

download_server() {
  rm -rf "dist/$1.new"
  mkdir -p "dist/$1.new"
  (cd "dist/$1.new" && apt-get download --quiet -o APT::Sandbox::User=root "$1") || return
  dpkg -x "dist/$1.new"/*.deb "dist/$1.new"
  rm "dist/$1.new"/*.deb
  mv "dist/$1.new" "dist/$1"
}
