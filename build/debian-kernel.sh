# Sourced by appliance.sh: Debian's own kernels, for the Linux that benchmarks compare with, for the dom0 of the Xen tests and for
# the tests of kernels.

# $1: a package that depends on the newest kernel. Prints that kernel's release, as `uname -r` says it.
newest_kernel() {
  apt-cache depends --important "$1" | sed -n 's/^ *Depends: linux-image-\([^ ]*\)$/\1/p' | sed -n 1p
}

# $1: a kernel's release; $2: the folder for it, which has boot/, lib/modules/ and a file `release` afterwards.
fetch_kernel() {
  local release=$1 folder=$2 new=$2.new
  [ ! -e "$folder" ] || return 0
  say "setup: fetching Linux $release"
  download_packages "$new" "linux-image-$release" ||
    die "linux-image-$release could not be fetched" "see the errors above; if it is not there any more: apt-get update"
  depmod -b "$new" "$release"
  printf '%s\n' "$release" >"$new/release"
  mv "$new" "$folder"
}

# $1: a list of modules, one a line, with comments. Prints their names.
listed_modules() {
  sed 's/ *#.*//; /^$/d' "$1"
}

# $1: where the package was unpacked; $2: the kernel's release; $3: the folder that becomes an initramfs; the rest: modules. These
# and those that they depend on, and lib/modules/order, which lists them in the order to load them.
add_modules() {
  local packages=$1 release=$2 root=$3 module file
  shift 3
  mkdir -p "$root/lib/modules"
  for module in "$@"; do
    modprobe --dirname "$packages" --set-version "$release" --show-depends "$module"
  done | sed -n 's/^insmod \([^ ]*\) *$/\1/p' | awk '!seen[$0]++' | while read -r file; do
    cp "$file" "$root/lib/modules/"
    basename "$file" >>"$root/lib/modules/order"
  done
}
