# Sourced by appliance.sh: builds the appliance's kernel from Debian's source package with rootfs/kernel.config and
# rootfs/kernel.patch. It is a fifth of Debian's own kernel. The same package, configuration and compiler give the same
# bytes. It takes minutes, so what is built is kept outside the checkout, by what it was built from.

KERNEL_SOURCE=linux-source-6.1
KERNEL_CONFIG=rootfs/kernel.config
KERNEL_PATCH=rootfs/kernel.patch
KERNEL_LAYOUT=rootfs/skb-layout.c
CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/firebreak

# Set by `build --from`; else the version that Debian's package lists have.
KERNEL_VERSION=

# Sets KERNEL to the folder that holds the kernel, or will, and KERNEL_INPUTS to what the manifest says of it.
name_kernel() {
  [ -n "$KERNEL_VERSION" ] || KERNEL_VERSION=$(source_version)
  [ -n "$KERNEL_VERSION" ] || die "apt knows no package $KERNEL_SOURCE" "set up on Debian 12 for amd64, as root and with the network"
  KERNEL_INPUTS=$(print_kernel_inputs)
  KERNEL=$(kernel_folder "$KERNEL_VERSION")
}

# $1: the version of its source.
kernel_folder() {
  printf '%s/kernel-%s-%s\n' "$CACHE" "$1" "$(sha256sum <<<"$KERNEL_INPUTS" | cut -c 1-16)"
}

source_version() {
  apt-cache show --no-all-versions "$KERNEL_SOURCE" 2>/dev/null | sed -n 's/^Version: //p'
}

# $1: a version of the source. True when a kernel of it, or the source itself, is here.
is_kernel_kept() {
  compgen -G "$CACHE/kernel-$1-*/source.sha256" >/dev/null
}

# Fetches the source, unless what is made of it is there.
fetch_kernel_source() {
  name_kernel
  [ ! -e "$KERNEL/vmlinuz" ] || return 0
  [ ! -e "$KERNEL/source.tar.xz" ] || return 0
  say "setup: fetching $KERNEL_SOURCE $KERNEL_VERSION"
  local new=$KERNEL.new
  download_packages "$new" "$KERNEL_SOURCE=$KERNEL_VERSION" ||
    die "$KERNEL_SOURCE could not be fetched" "see the errors above; run build/appliance.sh setup again"
  mkdir -p "$KERNEL"
  mv "$new/sha256" "$KERNEL/source.sha256"
  mv "$new/usr/src/$KERNEL_SOURCE.tar.xz" "$KERNEL/source.tar.xz"
  rm -rf "$new"
}

build_kernel() {
  local lock
  [ ! -e "$KERNEL/vmlinuz" ] || return 0
  exec {lock}>"$KERNEL/lock"
  if ! flock --nonblock "$lock"; then
    say "build: waiting for another checkout, which builds the same kernel"
    flock "$lock"
  fi
  [ -e "$KERNEL/vmlinuz" ] || compile_kernel
  exec {lock}>&-
}

compile_kernel() {
  say "build: the kernel; once, for some minutes"
  local tree=$KERNEL/tree
  rm -rf "$tree"
  mkdir "$tree"
  tar --extract --file "$KERNEL/source.tar.xz" --directory "$tree" --strip-components 1
  patch --quiet --strip 1 --directory "$tree" <"$KERNEL_PATCH" ||
    die "$KERNEL_PATCH does not fit $KERNEL_SOURCE any more" "make it anew for that source"
  configure_kernel "$tree"
  make_kernel "$tree" bzImage | count_lines ||
    die "the kernel could not be built" "see $KERNEL/log; run build/appliance.sh build again"
  write_layout "$tree" >"$KERNEL/skb-layout"
  cp "$tree/arch/x86/boot/bzImage" "$KERNEL/vmlinuz.new"
  mv "$KERNEL/vmlinuz.new" "$KERNEL/vmlinuz"
  rm -rf "$tree" "$KERNEL/source.tar.xz" "$KERNEL/log"
}

# $1: the source tree. What is asked for and not to be had is an error: a kernel without it would fail later, and elsewhere.
configure_kernel() {
  local tree=$1 line missing=()
  make_kernel "$tree" KCONFIG_ALLCONFIG="$PWD/$KERNEL_CONFIG" allnoconfig >/dev/null
  while read -r line; do
    case $line in
      *=n) ! grep --quiet "^${line%=n}=" "$tree/.config" || missing+=("$line") ;;
      *) grep --quiet --line-regexp --fixed-strings "$line" "$tree/.config" || missing+=("$line") ;;
    esac
  done < <(grep '^CONFIG_' "$KERNEL_CONFIG")
  [ ${#missing[@]} = 0 ] || die "$KERNEL_CONFIG: the kernel's source does not have it so: ${missing[*]}" "correct these lines"
}

# $1: the source tree, built. Prints where struct sk_buff has its members, one a line: name, first bit, bits. The firewall reads it
# where a kernel does not tell by BTF (src/linux/bpf/skb-layout.ts), which would take a megabyte of memory.
write_layout() {
  local tree=$1 object=net/core/skb-layout.o bytes=$1/skb-layout.bin size
  cp "$KERNEL_LAYOUT" "$tree/net/core/skb-layout.c"
  echo "obj-y += skb-layout.o" >>"$tree/net/core/Makefile"
  { make_kernel "$tree" "$object" >/dev/null && objcopy -O binary --only-section=.skb_layout "$tree/$object" "$bytes"; } ||
    die "$KERNEL_LAYOUT could not be compiled" "see $KERNEL/log"
  size=$(stat --format=%s "$bytes")
  od --address-radix=n --output-duplicates --format=u1 --width=1 "$bytes" | awk -v size=$((size / 5)) '
    BEGIN { split("ip_summed csum_start csum_offset head data", names) }
    {
      of = int((NR - 1) / size) + 1
      for (bit = 0; bit < 8; bit++) if (int($1 / 2 ^ bit) % 2) {
        if (!bits[of]++) first[of] = (NR - 1) % size * 8 + bit
      }
    }
    END { for (of = 1; of <= 5; of++) print names[of], first[of], bits[of] }'
}

# $1: the source tree; the rest goes to make. Nothing of the machine or the day goes into the kernel.
make_kernel() {
  local tree=$1
  shift
  make --directory "$tree" --jobs "$(nproc)" --no-print-directory \
    KBUILD_BUILD_TIMESTAMP="1970-01-01" KBUILD_BUILD_USER=firebreak KBUILD_BUILD_HOST=firebreak KBUILD_BUILD_VERSION=1 \
    "$@" 2>>"$KERNEL/log"
}

# Shows that a build goes on.
count_lines() {
  awk 'NR % 250 == 0 { printf "  %d files\n", NR; fflush() }'
}
