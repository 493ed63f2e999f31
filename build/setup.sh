# Sourced by appliance.sh: installs what a fresh machine lacks.

# What the kernel and the image are made with and of: their versions are in the manifest.
KERNEL_PACKAGES=(bc binutils-x86-64-linux-gnu bison cpp-12 flex gcc-12 libc6-dev libelf-dev make patch perl xz-utils zstd)
IMAGE_PACKAGES=(busybox-static cpio libc6 libzstd1 squashfs-tools)

# Debian packages, by what needs them. Of servers only those without a service of their own: setting up must leave nothing
# running or listening.
PACKAGES=(
  "${KERNEL_PACKAGES[@]}" "${IMAGE_PACKAGES[@]}"
  gcc # names gcc-12 so
  qemu-system-x86 # run, demo, test
  bind9-dnsutils curl dnsmasq-base ethtool iperf3 iproute2 iputils-ping tcpdump # demo and test: real clients and servers
  tshark wireshark-common # test: editcap, and what Wireshark reads in our files
  bpftool llvm # test: what BPF instructions mean to others
  iputils-tracepath netbase nftables python3-cbor2 python3-pyftpdlib traceroute # test (netbase: the names of ports, which nft knows)
  python3-pyte # test: a terminal
  ndisc6 thc-ipv6 # test: Neighbour Discovery as others speak it, and attacks by it
  chromium fonts-dejavu-core # test: a browser, which takes 300 MB and more
  kmod # test: depmod, for dom0's kernel
  libxen-dev # test: libxenvchan, the other end of a vchan
  libevent-core-2.1-7 libevent-extra-2.1-7 libevent-openssl-2.1-7 libevent-pthreads-2.1-7 # coturn, for the test
  libhiredis0.14 libmariadb3 libpq5 libsqlite3-0 libssl3 libsystemd0
  shellcheck # test
)

# Package lists younger than this are today's: a verb that sets up again within the hour does not ask Debian again.
FRESH_MINUTES=60
# Touched when the lists were refreshed, as update-notifier does.
LISTS_STAMP=/var/lib/apt/periodic/update-success-stamp

# $1: a manifest whose versions are wanted; without it, those that Debian has today.
setup() {
  command -v apt-get >/dev/null || die "this machine has no apt-get" "set up on Debian 12, or something that is based on it"
  refresh_lists
  install_packages
  if [ -n "${1:-}" ]; then restore_inputs "$1"; else upgrade_inputs; fi
  install_node_modules
  fetch_kernel_source
}

apt_get() {
  DEBIAN_FRONTEND=noninteractive apt-get --quiet -o DPkg::Lock::Timeout=600 "$@"
}

# So that what passes, passes with what Debian has today. Without the network it goes on with what is there.
refresh_lists() {
  ! lists_are_fresh || return 0
  if [ "$(id -u)" != 0 ]; then
    say "setup: Debian's package lists are $(lists_age); only root can refresh them"
    return
  fi
  say "setup: refreshing Debian's package lists"
  if apt_get update -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=20; then
    mkdir -p "${LISTS_STAMP%/*}"
    touch "$LISTS_STAMP"
  else
    say "setup: going on with package lists that are $(lists_age), because they could not be refreshed (see above)"
  fi
}

# Lists of other sources than apt has now are not fresh, whenever they came.
lists_are_fresh() {
  have_lists && [ -n "$(find "$LISTS_STAMP" -mmin "-$FRESH_MINUTES" 2>/dev/null)" ] &&
    [ -z "$(find /etc/apt -newer "$LISTS_STAMP")" ]
}

have_lists() {
  compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null
}

lists_age() {
  local stamp=$LISTS_STAMP hours
  have_lists || { printf 'missing\n'; return; }
  [ -e "$stamp" ] || stamp=/var/lib/apt/lists # written when a list came that differs from the one before
  hours=$((($(date +%s) - $(stat --format=%Y "$stamp")) / 3600))
  if [ "$hours" -lt 48 ]; then printf '%s hours old\n' "$hours"; else printf '%s days old\n' "$((hours / 24))"; fi
}

installed_version() {
  dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | sed -n 's/^installed //p'
}

missing_packages() {
  local package
  for package in "${PACKAGES[@]}"; do
    [ -n "$(installed_version "$package")" ] || printf '%s\n' "$package"
  done
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0
  need_root setup
  say "setup: installing ${missing[*]}"
  apt_get install --yes --no-install-recommends "${missing[@]}" ||
    die "apt-get could not install: ${missing[*]}" "see its errors above; it needs Debian's mirror to be reachable"
}

# What the image is made with and of is what Debian has today, so that two who build on one day have the same bytes.
upgrade_inputs() {
  local old
  mapfile -t old < <(outdated_inputs)
  [ ${#old[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    say "setup: older than Debian's, and only root can upgrade them: ${old[*]}"
    return
  fi
  say "setup: upgrading ${old[*]}"
  apt_get install --yes --no-install-recommends --only-upgrade "${old[@]}" ||
    say "setup: going on with older versions of ${old[*]}, because they could not be upgraded (see above)"
}

# Names of packages that the image depends on and that Debian has newer.
outdated_inputs() {
  apt-cache policy "${KERNEL_PACKAGES[@]}" "${IMAGE_PACKAGES[@]}" |
    awk '/^[^ ]/ { sub(":$", ""); name = $1 } $1 == "Installed:" { installed = $2 } $1 == "Candidate:" { print name, installed, $2 }' |
    while read -r name installed candidate; do
      ! dpkg --compare-versions "$installed" lt "$candidate" || printf '%s\n' "$name"
    done
}

install_node_modules() {
  command -v npm >/dev/null || die "npm is missing" "install Node.js 18 or newer with npm: apt-get install nodejs npm"
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
  download_packages "dist/$1.new" "$1" ||
    die "$1 could not be fetched" "see the errors above; it needs Debian's mirror to be reachable"
  mv "dist/$1.new" "dist/$1"
}

# $1: a folder, which is emptied; the rest: packages, or package=version. They are unpacked there; the file sha256 has their sums.
download_packages() {
  local folder=$1 package
  shift
  rm -rf "$folder"
  mkdir -p "$folder"
  (cd "$folder" && apt-get download --quiet -o APT::Sandbox::User=root "$@") || return
  for package in "$folder"/*.deb; do
    dpkg -x "$package" "$folder"
    sha256_of "$package" >>"$folder/sha256"
    rm "$package"
  done
}
