# Sourced by appliance.sh: a Xen on this machine, under QEMU's emulation, for the tests of the appliance as a guest of Qubes
# OS. Everything is unpacked from Debian packages into dist/xen; nothing is installed.
#
#   dist/xen/xen          the hypervisor, as QEMU's multiboot loader wants it
#   dist/xen/vmlinuz      dom0's kernel
#   dist/xen/dom0         dom0's initramfs: Xen's tools, busybox, the test double of what Qubes OS runs in dom0
#   dist/xen/share        what dom0 sees as /share: kernels and initramfs of the guests

XEN=dist/xen

XEN_PACKAGES=(
  xen-hypervisor-4.17-amd64 xen-utils-4.17 xen-utils-common xenstore-utils
  libxencall1 libxendevicemodel1 libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxenhypfs1
  libxenmisc4.17 libxenstore4 libxentoolcore1 libxentoollog1 libyajl2
)

DOM0_MODULES=(xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs xen-netback 9p 9pnet_virtio virtio_pci)
XEN_TOOLS=(xl xenstored xenconsoled xen-init-dom0 libxl-save-helper)

# Without all the other tests.
test_xen() {
  need_root test-xen
  build
  build_xen
  local passed=0 failed=0
  count_xen_tests
  printf '%s passed, %s failed\n' "$passed" "$failed"
  [ "$failed" = 0 ]
}

# Of build_xen's Xen.
count_xen_tests() {
  count_bun_tests "test: on Xen, emulated: some minutes" dist/tests-xen.xml ./tests/xen/appliance.ts
}

build_xen() {
  fetch_xen
  say "build: dist/xen"
  build_dom0
  build_client
  cp dist/vmlinuz dist/initramfs "$XEN/share/"
}

# Packages of the versions that apt knows now; unpacked beside the final place, which is whole once it is there.
fetch_xen() {
  [ ! -e "$XEN/packages" ] || return 0
  local kernel
  say "setup: fetching Xen and dom0's kernel"
  rm -rf "$XEN/new"
  mkdir -p "$XEN/new" "$XEN/share"
  kernel=$(newest_kernel linux-image-amd64)
  (cd "$XEN/new" && apt-get download --quiet -o APT::Sandbox::User=root "${XEN_PACKAGES[@]}" "linux-image-$kernel") ||
    die "Xen could not be fetched" "see the errors above; it needs Debian's mirror to be reachable"
  local package
  for package in "$XEN"/new/*.deb; do
    dpkg -x "$package" "$XEN/new"
    rm "$package"
  done
  depmod -b "$XEN/new" "$kernel"
  printf '%s\n' "$kernel" >"$XEN/new/release"
  gunzip -c "$XEN"/new/boot/xen-4.17-amd64.gz >"$XEN/xen"
  cp "$XEN/new/boot/vmlinuz-$kernel" "$XEN/vmlinuz"
  mv "$XEN/new" "$XEN/packages"
}

build_dom0() {
  local root=$XEN/root packages=$XEN/packages tool
  node_modules/.bin/bun build --compile --minify --root src tests/xen/dom0/double.ts src/linux/poll-thread.ts \
    --outfile "$XEN/share/double" >"$XEN/build.log" 2>&1 ||
    { cat "$XEN/build.log" >&2; die "the test double could not be built" "see the errors above"; }
  if [ "$XEN/dom0" -nt build/xen.sh ] && [ "$XEN/dom0" -nt tests/xen/dom0/init ]; then return; fi
  start_root "$root"
  mkdir -p "$root"/{etc/xen/scripts,usr/lib/xen-4.17/bin,usr/sbin,var/lib/xen,var/lib/xenstored,var/log/xen/console,share}
  ln -s /run "$root/var/run"
  for tool in "${XEN_TOOLS[@]}"; do
    add_program "$root" "$packages/usr/lib/xen-4.17/bin/$tool" "/usr/lib/xen-4.17/bin/$tool"
    ln -s "/usr/lib/xen-4.17/bin/$tool" "$root/usr/sbin/$tool"
  done
  add_program "$root" "$packages/usr/bin/xenstore" /usr/bin/xenstore
  for tool in chmod read write ls; do ln -s xenstore "$root/usr/bin/xenstore-$tool"; done
  cp -L /lib/x86_64-linux-gnu/libgcc_s.so.1 "$root/lib/" # for pthread_cancel; ldd does not show it
  add_libraries "$root" dist/firebreak # the test double's are the same
  install -m 755 tests/xen/dom0/init "$root/init"
  install -m 755 tests/xen/dom0/vif "$root/etc/xen/scripts/vif"
  printf 'autoballoon="off"\nrun_hotplug_scripts=1\n' >"$root/etc/xen/xl.conf"
  add_modules "$packages" "$(cat "$packages/release")" "$root" "${DOM0_MODULES[@]}"
  pack_root "$root" "$XEN/dom0"
}

build_client() {
  local root=$XEN/root
  if [ "$XEN/share/client" -nt build/xen.sh ] && [ "$XEN/share/client" -nt tests/xen/client/init ]; then return; fi
  start_root "$root"
  install -m 755 tests/xen/client/init "$root/init"
  pack_root "$root" "$XEN/share/client"
}

# $1: the folder that becomes an initramfs with busybox in it.
start_root() {
  local applet
  rm -rf "$1"
  mkdir -p "$1"/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,run,tmp,etc,root,lib,lib64,lib/modules}
  cp "$(command -v busybox)" "$1/bin/"
  for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -sf busybox "$1/bin/$applet"; done
}

# $1: root; $2: program; $3: its place there. With the libraries that it needs.
add_program() {
  install -D -m 755 "$2" "$1$3"
  LD_LIBRARY_PATH=$PWD/$XEN/packages/usr/lib/x86_64-linux-gnu add_libraries "$1" "$2"
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
