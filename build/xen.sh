# Sourced by appliance.sh: a Xen on this machine, under QEMU's emulation, for the tests of the appliance as a guest of Qubes
# OS. Everything is unpacked from Debian packages into dist/xen; nothing is installed. Debian's archives may have more than
# one version of Xen; each has a folder of its own.
#
#   dist/xen/VERSION/xen          the hypervisor, as QEMU's multiboot loader wants it
#   dist/xen/VERSION/vmlinuz      dom0's kernel
#   dist/xen/VERSION/dom0         dom0's initramfs: Xen's tools, busybox, the test double of what Qubes OS runs in dom0
#   dist/xen/VERSION/client       that of clients
#   dist/xen/current              the one that the tests boot
#   dist/xen/share                what dom0 sees as /share: kernels and initramfs of the guests

XEN=dist/xen

# Of Debian's source package xen, all of one version.
XEN_PACKAGES=(
  xen-hypervisor-4.17-amd64 xen-utils-4.17 xen-utils-common xenstore-utils
  libxencall1 libxendevicemodel1 libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxenhypfs1
  libxenmisc4.17 libxenstore4 libxentoolcore1 libxentoollog1
)

DOM0_MODULES=(xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs xen-netback 9p 9pnet_virtio virtio_pci)
XEN_TOOLS=(xl xenstored xenconsoled xen-init-dom0 libxl-save-helper)

# Without all the other tests. $1: "all" for every version of Xen, otherwise the newest.
test_xen() {
  need_root test-xen
  build
  local passed=0 failed=0 version versions
  mapfile -t versions < <(xen_versions)
  [ "${1:-}" = all ] || versions=("${versions[0]}")
  for version in "${versions[@]}"; do
    build_xen "$version"
    count_xen_tests
  done
  sum_up
}

# Of build_xen's Xen.
count_xen_tests() {
  count_bun_tests "test: on Xen $(readlink "$XEN/current"), emulated: some minutes" dist/tests-xen.xml ./tests/vm/xen/appliance.ts
}

# Versions of Xen that apt knows, the newest first.
xen_versions() {
  apt-cache madison "${XEN_PACKAGES[0]}" | awk -F ' *[|] *' '!seen[$2]++ { print $2 }'
}

# $1: version, the newest if not given.
build_xen() {
  local version=${1:-}
  [ -n "$version" ] || read -r version < <(xen_versions) || true
  [ -n "$version" ] || die "apt knows no package ${XEN_PACKAGES[0]}" "set up on Debian 12 for amd64, and run apt-get update"
  fetch_xen "$version"
  say "build: dist/xen, with Xen $version"
  build_dom0 "$XEN/$version"
  build_client "$XEN/$version"
  cp dist/vmlinuz dist/initramfs "$XEN/$version/client" "$XEN/share/"
  cp "$XEN/$version/vmlinuz" "$XEN/share/vmlinuz-debian"
  build_echo
  ln -sfn "$version" "$XEN/current"
}

# $1: version. With it the newest kernel for dom0: all is fetched anew once apt knows a newer one. Unpacked beside the final
# place, which is whole once it is there.
fetch_xen() {
  local version=$1 folder=$XEN/$1 new=$XEN/new kernel wanted
  kernel=$(newest_kernel linux-image-amd64)
  wanted=("${XEN_PACKAGES[@]/%/=$version}" libyajl2 "linux-image-$kernel=$(newest_version "linux-image-$kernel")")
  [ "${wanted[*]}" != "$(cat "$folder/packages/wanted" 2>/dev/null)" ] || return 0
  say "setup: fetching Xen $version and dom0's kernel"
  rm -rf "$new"
  mkdir -p "$XEN/share"
  download_packages "$new/packages" "${wanted[@]}" ||
    die "Xen could not be fetched" "see the errors above; it needs Debian's mirror to be reachable, and lists that are not older"
  depmod -b "$new/packages" "$kernel"
  printf '%s\n' "$kernel" >"$new/packages/release"
  printf '%s\n' "${wanted[*]}" >"$new/packages/wanted"
  gunzip -c "$new"/packages/boot/xen-4.17-amd64.gz >"$new/xen"
  cp "$new/packages/boot/vmlinuz-$kernel" "$new/vmlinuz"
  rm -rf "$folder"
  mv "$new" "$folder"
}

# $1: package. Prints the version that apt would install.
newest_version() {
  apt-cache show --no-all-versions "$1" | sed -n 's/^Version: //p'
}

# $1: the folder of a version of Xen.
build_dom0() {
  local folder=$1 root=$XEN/root packages=$1/packages tool
  node_modules/.bin/bun build --compile --minify --root src tests/vm/xen/dom0/double.ts src/linux/poll-thread.ts \
    --outfile "$XEN/share/double" >"$XEN/build.log" 2>&1 ||
    { cat "$XEN/build.log" >&2; die "the test double could not be built" "see the errors above"; }
  if [ "$folder/dom0" -nt build/xen.sh ] && [ "$folder/dom0" -nt tests/vm/xen/dom0/init ] &&
    [ "$folder/dom0" -nt tests/vm/xen/dom0/vif ]; then return; fi
  start_root "$root"
  mkdir -p "$root"/{etc/xen/scripts,usr/lib/xen-4.17/bin,usr/sbin,var/lib/xen,var/lib/xenstored,var/log/xen/console,share}
  ln -s /run "$root/var/run"
  for tool in "${XEN_TOOLS[@]}"; do
    add_program "$root" "$packages" "/usr/lib/xen-4.17/bin/$tool"
    ln -s "/usr/lib/xen-4.17/bin/$tool" "$root/usr/sbin/$tool"
  done
  add_program "$root" "$packages" /usr/bin/xenstore
  add_program "$root" "$packages" /usr/lib/x86_64-linux-gnu/libxenvchan.so.4.17
  for tool in chmod read write ls; do ln -s xenstore "$root/usr/bin/xenstore-$tool"; done
  cp -L /lib/x86_64-linux-gnu/libgcc_s.so.1 "$root/lib/" # for pthread_cancel; ldd does not show it
  add_libraries "$root" dist/firebreak # the test double's are the same
  install -m 755 tests/vm/xen/dom0/init "$root/init"
  install -m 755 tests/vm/xen/dom0/vif "$root/etc/xen/scripts/vif"
  printf 'autoballoon="off"\nrun_hotplug_scripts=1\n' >"$root/etc/xen/xl.conf"
  add_modules "$packages" "$(cat "$packages/release")" "$root" "${DOM0_MODULES[@]}"
  pack_root "$root" "$folder/dom0"
}

# $1: the folder of a version of Xen. It is for two kernels: the appliance's, which is small and has no IPv6, and dom0's.
build_client() {
  local folder=$1 root=$XEN/root packages=$1/packages
  if [ "$folder/client" -nt build/xen.sh ] && [ "$folder/client" -nt tests/vm/xen/client/init ]; then return; fi
  start_root "$root"
  install -m 755 tests/vm/xen/client/init "$root/init"
  add_program "$root" "" /sbin/ip
  add_modules "$packages" "$(cat "$packages/release")" "$root" xen-netfront
  pack_root "$root" "$folder/client"
}

# The image, in which our end of the vchan tests runs instead of the firewall: its executable is Bun too.
build_echo() {
  local root=$XEN/root
  rm -rf "$root"
  mkdir -p "$root"/echo/{lab,tests/vm/xen}
  cp -R src "$root/echo/"
  cp lab/random.ts "$root/echo/lab/"
  cp -R tests/vm/xen/guest "$root/echo/tests/vm/xen/"
  install -m 755 tests/vm/xen/guest/firebreak "$root/firebreak"
  cp dist/initramfs "$XEN/share/echo"
  truncate --size=%4 "$XEN/share/echo" # where an archive may start
  pack_initramfs "$root" >>"$XEN/share/echo"
  rm -rf "$root"
}

# $1: the folder that becomes an initramfs with busybox in it.
start_root() {
  local applet
  rm -rf "$1"
  mkdir -p "$1"/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,run,tmp,etc,root,lib,lib64,lib/modules}
  cp "$(command -v busybox)" "$1/bin/"
  for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -sf busybox "$1/bin/$applet"; done
}

# $1: root; $2: the folder where the packages were unpacked, empty for what is installed here; $3: a program there. With the
# libraries that it needs.
add_program() {
  install -D -m 755 "$2$3" "$1$3"
  LD_LIBRARY_PATH=$PWD/$2/usr/lib/x86_64-linux-gnu add_libraries "$1" "$2$3"
}

# $1: root; $2: program.
add_libraries() {
  local library
  while read -r library; do
    case "$library" in
      /lib64/*) cp -L --update=none "$library" "$1/lib64/" 2>/dev/null || cp -nL "$library" "$1/lib64/" ;;
      *) cp -nL "$library" "$1/lib/" ;;
    esac
  done < <(needed_libraries "$2")
}

# $1: root, which is gone afterwards; $2: the initramfs, packed as the appliance's kernel can unpack it.
pack_root() {
  (cd "$1" && find . | cpio --create --format=newc --quiet | zstd -q -3) >"$2"
  rm -rf "$1"
}
