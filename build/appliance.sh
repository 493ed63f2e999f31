#!/bin/bash
# From a fresh Debian 12 machine with Node.js, npm and root to a bootable firewall: sets up what is missing, builds the
# executable and the image into dist/, boots it, shows it at work, tests it. Every verb may be run again at any time and does
# only what is left to do.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 # sorts and speaks the same everywhere
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source build/setup.sh
source build/kernel.sh
source build/image.sh
source build/manifest.sh
source build/boot.sh
source build/test.sh
source build/debian-kernel.sh
source build/kernels.sh
source build/bench.sh
source build/xen.sh
source build/qubes.sh

usage() {
  cat <<'END'
Usage: build/appliance.sh VERB [ARGUMENTS…]

  setup                         refresh Debian's package lists, unless they are of this hour; install what is missing: Debian
                                packages, npm packages, the source of the kernel; upgrade those that the image is made of
  build [--from MANIFEST] [CONFIG]
                                build dist/firebreak for hosts, and dist/vmlinuz and dist/initramfs, the image; and dist/MANIFEST,
                                which has versions and sums of all that they were made of; CONFIG goes into the image as /etc/firebreak.toml;
                                --from: with the package versions of another MANIFEST, whose sums have to come out
  executable                    build dist/firebreak alone, for hosts: it takes Node.js and npm, no root, and seconds
  qubes [--from MANIFEST] [CONFIG]
                                pack the image as dist/firebreak-qubes.tar for Qubes OS, and say what to do with it in dom0
  run [CONFIG] [QEMU options…]  boot the image under QEMU with its console here: by KVM where that works, else emulated;
                                without interfaces unless QEMU options give some, for instance
                                -nic tap,ifname=tap0,script=no,downscript=no,model=virtio-net-pci
  demo                          show the firewall at work between a client and an "internet", both made for the purpose
  bench [OPTIONS] [NAME…]       measure the firewall beside its peers: bench --help says what; figures are kept in dist/bench
  test                          type check, lint, and all tests; the last line is "N passed, N failed"
  test-xen [all]                of these only the image as a qube on a real Xen, emulated, with a double of Qubes OS's dom0:
                                on the newest Xen that Debian's archives have, or on all of them in turn
  test-kernels                  `firebreak run` under the oldest and the newest of each series of Debian's kernels that apt can
                                fetch, and under the image's own; test has the newest of the two newest series
  soak-frames [N]               N mutated frames (100 million, minutes) of both families through the router alone: what leaves must be
                                sound, allowed and of a flow, and nothing may be left behind
  soak-requests [N]             N mutated requests (a million, minutes) of a hundred clients at once to a running firewall's socket: it must
                                go on, lose no ping, keep nothing open, and not grow
  soak-boots [N]                boot the image N times (200), two at a time, half of them with two busy loops beside them

Each verb but executable and soak-frames first does what it needs of the verbs above it, so each looks for newer packages. Where there is no network, setup says
how old the package lists are and goes on, if nothing is missing; the first test, test-xen, test-kernels and bench fetch their peers
from Debian too. All but build, executable, qubes and soak-frames need root, and these do where a package is missing; without root nothing is refreshed or
upgraded.
Exit status: 0 fine, 1 failed, 2 bad usage.

The image boots with the kernel options "console=ttyS0". It takes its configuration from the first of these that there is:
  QEMU's firmware configuration   -fw_cfg name=opt/firebreak/config,file=firebreak.toml   (what run CONFIG does)
  a file in the initramfs         /etc/firebreak.toml                                    (what build CONFIG does)
  the kernel command line         firebreak.config=$(base64 -w 0 firebreak.toml), 2000 characters in all
Under Xen, without any of them, it is a qube and takes its configuration from QubesDB: docs/QUBES.md has more.
END
}

say() {
  printf '\n== %s\n' "$*"
}

# $1: what is wrong; $2: what to do about it.
die() {
  printf 'appliance.sh: %s\n  %s\n' "$1" "$2" >&2
  exit 1
}

refuse() {
  printf 'appliance.sh: %s (see build/appliance.sh --help)\n' "$1" >&2
  exit 2
}

need_root() {
  [ "$(id -u)" = 0 ] || die "$1 needs root" "run it as root: sudo build/appliance.sh $1"
}

# $1: the configuration that goes into the image, if any; $2: the manifest that has to come out, if any.
build() {
  local file=${1:-} manifest=${2:-}
  [ -z "$file" ] || [ -r "$file" ] || die "$file can't be read" "give build the path of a configuration, or nothing"
  setup "$manifest"
  [ -z "$manifest" ] || expect_inputs "$manifest" "$file"
  build_kernel
  build_executable
  build_image "$file"
  [ -z "$manifest" ] || expect_outputs "$manifest"
}

executable() {
  install_node_modules
  build_executable
}

# $1: build or qubes; the rest is what follows it.
with_manifest() {
  local verb=$1 manifest=
  shift
  if [ "${1:-}" = --from ]; then
    [ $# -gt 1 ] || refuse "--from needs a MANIFEST"
    [ -r "$2" ] || die "$2 can't be read" "give --from the path of a MANIFEST"
    manifest=$2
    shift 2
  fi
  [ $# -le 1 ] || refuse "$verb takes one CONFIG"
  "$verb" "${1:-}" "$manifest"
}

demo() {
  need_root demo
  build
  say "demo"
  exec node_modules/.bin/bun build/demo.ts
}

main() {
  local verb=${1:-}
  if [ "$verb" = bench ]; then
    shift
    bench "$@"
    return
  fi
  case " $* " in *" --help "* | *" -h "*) usage; return ;; esac
  shift || true
  case "$verb" in
    setup | executable | demo | test | test-kernels) [ $# = 0 ] || refuse "$verb takes no arguments" ;;
    test-xen) [ "$*" = "" ] || [ "$*" = all ] || refuse "test-xen takes only \"all\"" ;;
    soak-boots | soak-frames | soak-requests) [ $# -le 1 ] || refuse "$verb takes one number" ;;
    build | qubes | run) ;;
    "") refuse "no verb" ;;
    *) refuse "unknown verb \"$verb\"" ;;
  esac
  case "$verb" in
    test) run_tests ;;
    test-xen) test_xen "$@" ;;
    test-kernels) test_kernels ;;
    soak-boots) soak_boots "$@" ;;
    soak-frames) soak_frames "$@" ;;
    soak-requests) soak_requests "$@" ;;
    run) boot "$@" ;;
    build | qubes) with_manifest "$verb" "$@" ;;
    *) "$verb" "$@" ;;
  esac
}

# Not where a test sources this file for one of its functions.
[ "${BASH_SOURCE[0]}" != "$0" ] || main "$@"
