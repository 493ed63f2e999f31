#!/bin/bash
# A bare Debian 12 in a folder, made by debootstrap, and commands of the README in it: shows that what the README says of a fresh
# machine holds. It works in namespaces of mounts and of processes of its own, which the kernel ends with it, however it ends:
# no mount and no process is left behind.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: build/fresh-machine.sh [--main-only] [--cache] [--folder FOLDER] COMMAND…

Makes a bare Debian 12 (debootstrap's minbase, then Debian's nodejs and npm) in FOLDER, which is emptied first and stays
afterwards; default dist/fresh-machine. Clones this checkout's last commit into it and runs each COMMAND there by chroot, as
root, until one fails. Of each it prints exit status, seconds and the last line; the whole output is in FOLDER.log. Packages
come from where this machine's apt and npm get theirs. For instance

  build/fresh-machine.sh 'build/appliance.sh demo' 'build/appliance.sh test'

  --main-only   Debian's first archive alone, as it was at the last point release: no security updates
  --cache       with this machine's ~/.cache/firebreak, so that a kernel that is there already is not built again

Needs root, debootstrap, git, npm and the network, and three gigabytes of disk. Exit status: 0 all commands succeeded, 1 one
did not, 2 bad usage.
END
}

say() {
  printf '\n== %s\n' "$*"
}

# $1: what is wrong; $2: what to do about it; $3: the exit status.
die() {
  printf 'fresh-machine.sh: %s\n  %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

# Runs this script again with the same arguments, in its namespaces.
enter_namespaces() {
  [ "$(id -u)" = 0 ] || die "a chroot needs root" "run it as root"
  command -v debootstrap >/dev/null || die "debootstrap is missing" "apt-get install debootstrap"
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child "$0" --inside "$@" &
  # By its parent: a signal that it could put off would leave what it runs.
  trap 'kill -KILL $!; exit 1' INT TERM HUP
  wait $!
}

# Sets what the arguments say.
parse() {
  MAIN_ONLY='' CACHE='' FOLDER=dist/fresh-machine COMMANDS=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --main-only) MAIN_ONLY=1 ;;
      --cache) CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/firebreak ;;
      --folder) FOLDER=${2:?--folder needs a folder} && shift ;;
      -*) die "unknown option $1" "see build/fresh-machine.sh --help" 2 ;;
      *) COMMANDS+=("$1") ;;
    esac
    shift
  done
  [ ${#COMMANDS[@]} -gt 0 ] || die "no command" "see build/fresh-machine.sh --help" 2
}

# Where this machine gets Debian's main archive.
mirror() {
  # shellcheck disable=SC2016 # these are apt's variables
  apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
    awk '$1 == "bookworm" && !found { print $2; found = 1 }'
}

bootstrap() {
  local mirror
  mirror=$(mirror)
  [ -n "$mirror" ] || die "apt has no lists of bookworm" "apt-get update, on Debian 12"
  say "debootstrap from $mirror"
  rm -rf --one-file-system "$FOLDER"
  mkdir -p "$FOLDER"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$FOLDER" "$mirror" >"$FOLDER.log" 2>&1 ||
    die "debootstrap failed" "see $FOLDER.log"
  rm -rf "$FOLDER/etc/apt"
  cp -a /etc/apt "$FOLDER/etc/apt"
  [ -z "$MAIN_ONLY" ] || keep_main "$FOLDER/etc/apt" "$mirror"
  cp -L /etc/resolv.conf /etc/hosts "$FOLDER/etc/"
  cp -r /usr/local/share/ca-certificates "$FOLDER/usr/local/share/"
}

# $1: apt's folder; $2: mirror.
keep_main() {
  rm -rf "$1/sources.list" "$1/sources.list.d"
  printf 'deb %s bookworm main\n' "$2" >"$1/sources.list"
}

mount_all() {
  mount --bind "$FOLDER" "$FOLDER" # `ip netns exec` wants its root to be a mount
  mount -t proc proc "$FOLDER/proc"
  mount --rbind /dev "$FOLDER/dev"
  mount --rbind /sys "$FOLDER/sys"
  mount -t tmpfs tmpfs "$FOLDER/run"
  [ -z "$CACHE" ] || { mkdir -p "$CACHE" "$FOLDER/root/.cache/firebreak" && mount --bind "$CACHE" "$FOLDER/root/.cache/firebreak"; }
}

# Runs $1 in the machine, with nothing of this one's environment but where npm finds packages and whom to trust.
inside() {
  local certificates=/etc/ssl/certs/ca-certificates.crt
  env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    NODE_EXTRA_CA_CERTS="$certificates" npm_config_cafile="$certificates" npm_config_registry="$REGISTRY" \
    chroot "$FOLDER" sh -c "cd /root && { [ ! -d firebreak ] || cd firebreak; } && { $1
}" </dev/null >>"$FOLDER.log" 2>&1
}

# $1: a command. Prints what became of it.
run() {
  local start=$SECONDS status=0
  say "$1"
  inside "$1" || status=$?
  printf 'exit status %s after %s s; the last line: %s\n' "$status" "$((SECONDS - start))" "$(tail -n 1 "$FOLDER.log")"
  return "$status"
}

main() {
  case " $* " in *" --help "* | *" -h "*) usage; return ;; esac
  if [ "${1:-}" != --inside ]; then
    parse "$@"
    enter_namespaces "$@"
    return
  fi
  shift
  parse "$@"
  REGISTRY=$(npm config get registry)
  bootstrap
  mount_all
  run "update-ca-certificates && apt-get update && apt-get install --yes --no-install-recommends nodejs npm && node --version"
  git clone --quiet --no-hardlinks . "$FOLDER/root/firebreak"
  local command
  for command in "${COMMANDS[@]}"; do run "$command" || return 1; done
}

main "$@"; exit # by then the file may be another
