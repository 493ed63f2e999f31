# Sourced by appliance.sh: builds the executables and the image. Equal inputs in the manifest give equal bytes.
#
# There are two executables, of the same entry: dist/firebreak for hosts, with all verbs, and dist/firebreak-image for the image, where
# nobody types a command: it has those that forward, and no page of the web.
#
# The latter with its libraries lies in a squashfs inside the initramfs, not in the initramfs itself: read on demand, it takes
# 40 MB of memory and some 20 MB of pages, where unpacked it takes 110 MB. The pages that are used lie together
# (build/order-pages.ts), or large blocks, which compress best, would fill the memory with what is not.

ENTRY_POINTS=(src/main.ts src/dataplane/io/worker.ts src/linux/poll-thread.ts)
# What leaves the other verbs out (src/main.ts).
IN_IMAGE=(--define "FIREBREAK_IN_IMAGE=true")

# What init calls.
APPLETS=(sh acpid mkswap mount sleep swapon)

# For hosts.
build_executable() {
  compile_executable dist/firebreak
}

# $1: where it goes; the rest: more options of Bun's bundler. With its inputs inside, for `firebreak --version --verbose`.
compile_executable() {
  local output=$1 inputs
  shift
  inputs=$(print_executable_inputs)
  say "build: $output"
  mkdir -p dist
  # Without bytecode, which saves 30 ms of the start and costs 1.5 MB of the image.
  # A .env or bunfig.toml that happens to lie around must not change what a firewall does.
  node_modules/.bin/bun build --compile --minify \
    --no-compile-autoload-dotenv --no-compile-autoload-bunfig \
    --define "FIREBREAK_INPUTS=\"${inputs//$'\n'/\\n}\\n\"" "$@" \
    "${ENTRY_POINTS[@]}" --outfile "$output.new" >dist/build.log 2>&1 ||
    { cat dist/build.log >&2; die "$output could not be built" "see the errors above"; }
  rm dist/build.log
  node_modules/.bin/bun build/trim-locales.ts "$output.new"
  keep_if_same "$output"
}

# Replaces $1 by $1.new, unless they are the same.
keep_if_same() {
  if cmp -s "$1" "$1.new"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

# $1: the configuration that goes into the image, if any. Writes the manifest too.
build_image() {
  compile_executable dist/firebreak-image "${IN_IMAGE[@]}"
  say "build: dist/vmlinuz, dist/initramfs"
  cp "$KERNEL/vmlinuz" dist/vmlinuz.new
  keep_if_same dist/vmlinuz
  name_image_inputs
  build_system
  rm -rf dist/root
  fill_initramfs dist/root "${1:-}"
  pack_initramfs dist/root | zstd -q -19 >dist/initramfs.new
  rm -rf dist/root
  add_system dist/initramfs.new
  keep_if_same dist/initramfs
  { print_inputs "${1:-}" && print_outputs; } >"$MANIFEST.new"
  keep_if_same "$MANIFEST"
  ls -l --human-readable dist/firebreak dist/vmlinuz dist/initramfs
}

# dist/system.squashfs: the executable and the files of libc that it needs.
build_system() {
  local root=dist/system library made_from
  made_from=$(sha256_of dist/firebreak-image)$'\n'$IMAGE_INPUTS
  if [ -e dist/system.squashfs ] && [ "$made_from" = "$(cat dist/system.made-from 2>/dev/null)" ]; then return; fi
  rm -rf "$root"
  mkdir "$root"
  cp dist/firebreak-image "$root/firebreak"
  node_modules/.bin/bun build/order-pages.ts "$root/firebreak" rootfs/hot-pages
  while read -r library; do
    install -D "$library" "$root/$library"
  done < <(needed_libraries dist/firebreak-image)
  even_modes "$root"
  mksquashfs "$root" dist/system.squashfs.new -comp zstd -Xcompression-level 22 -b 256K -noappend -no-progress -quiet \
    -no-xattrs -all-root -root-mode 755 -mkfs-time 0 -all-time 0 >/dev/null
  rm -rf "$root"
  mv dist/system.squashfs.new dist/system.squashfs
  printf '%s\n' "$made_from" >dist/system.made-from
}

# Paths of the shared libraries, and of the loader, of a dynamically linked executable.
needed_libraries() {
  ldd "$1" | sed -n 's/^.*=> \(\/[^ ]*\) .*$/\1/p; s/^\t\(\/[^ ]*\) .*$/\1/p'
}

# $1: the folder that becomes the initramfs; $2: the configuration that goes into it, if any.
fill_initramfs() {
  local root=$1 applet
  mkdir -p "$root"/{bin,dev,lib/x86_64-linux-gnu,lib64,proc,sys,system}
  cp -R --no-preserve=timestamps rootfs/init rootfs/sbin rootfs/etc "$root/"
  cp --no-preserve=timestamps "$KERNEL/skb-layout" "$root/etc/"
  [ -z "$2" ] || cp "$2" "$root/etc/firebreak.toml"
  print_inputs "$2" >"$root/$IMAGE_MANIFEST"
  cp "$(command -v busybox)" "$root/bin/"
  for applet in "${APPLETS[@]}"; do ln -s busybox "$root/bin/$applet"; done
  ln -s system/firebreak "$root/firebreak"
  ln_libraries "$root"
}

# The loader has to be where the executable names it, and looks for libraries where it always does.
ln_libraries() {
  local library
  while read -r library; do
    ln -s "/system$library" "$1$library"
  done < <(needed_libraries dist/firebreak-image)
}

# $1: an initramfs, which gets an archive more: the system, as it is. An archive that is not compressed the kernel gives back
# while it unpacks it (rootfs/kernel.patch).
add_system() {
  local root=dist/root
  mkdir -p "$root"
  cp dist/system.squashfs "$root/"
  truncate --size=%4 "$1" # where an archive may start (Documentation/driver-api/early-userspace/buffer-format.rst)
  pack_initramfs "$root" >>"$1"
  rm -rf "$root"
}

# Whatever the umask was when a file came: here, and when the checkout was made.
even_modes() {
  chmod -R u=rwX,go=rX "$1"
}

# Sorted, owned by root, with even modes and without times: nothing in it comes from the machine that builds.
pack_initramfs() {
  even_modes "$1"
  find "$1" -exec touch --no-dereference --date=@0 {} +
  (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort --zero-terminated |
    cpio --null --create --format=newc --owner=+0:+0 --reproducible --quiet)
}
