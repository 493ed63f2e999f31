# Sourced by appliance.sh: dist/MANIFEST, which says what the image was made of and what came of it. Equal inputs give equal outputs.
#
# A line each: KIND NAME VERSION SHA-256, with - for a version that there is none of; lines with # are for people. Of kind
#   source     a file of this repository; or a folder: then the sum of its tar archive, sorted, without owners and times
#   npm        the executable of an npm package; the others are in package-lock.json
#   installed  a Debian package: the sum of what sha256sum prints for its files outside /etc and /usr/share, sorted
#   deb        a Debian package that is only unpacked: the sum of the .deb
#   config     the configuration that was built into the image
#   output     a file in dist

MANIFEST=dist/MANIFEST
# What the image has inside: the inputs alone, for it can't know its own sum.
IMAGE_MANIFEST=etc/firebreak.manifest

EXECUTABLE_SOURCES=(src package.json package-lock.json tsconfig.json bunfig.toml build/image.sh build/manifest.sh build/trim-locales.ts)
KERNEL_SOURCES=(build/kernel.sh "$KERNEL_CONFIG" "$KERNEL_PATCH" "$KERNEL_LAYOUT")
IMAGE_SOURCES=(build/elf.ts build/order-pages.ts rootfs)

print_executable_inputs() {
  print_sources "${EXECUTABLE_SOURCES[@]}"
  line npm bun "$(node_modules/.bin/bun --version)" "$(sha256_of node_modules/.bin/bun)"
}

# Without the source package.
print_kernel_inputs() {
  print_sources "${KERNEL_SOURCES[@]}"
  print_installed "${KERNEL_PACKAGES[@]}"
}

# Sets IMAGE_INPUTS, once: summing up packages takes seconds.
name_image_inputs() {
  [ -n "${IMAGE_INPUTS:-}" ] || IMAGE_INPUTS=$(print_sources "${IMAGE_SOURCES[@]}" && print_installed "${IMAGE_PACKAGES[@]}")
}

# $1: the configuration that goes into the image, if any.
print_inputs() {
  printf '# Firebreak: KIND NAME VERSION SHA-256. Equal inputs give equal outputs.\n# The executable\n'
  print_executable_inputs
  printf '# The kernel\n'
  line deb "$KERNEL_SOURCE" "$KERNEL_VERSION" "$(cat "$KERNEL/source.sha256")"
  printf '%s\n' "$KERNEL_INPUTS"
  printf '# The image\n%s\n' "$IMAGE_INPUTS"
  [ -z "${1:-}" ] || line config firebreak.toml - "$(sha256_of "$1")"
}

print_outputs() {
  local file
  printf '# What came of it\n'
  for file in firebreak firebreak-image system.squashfs vmlinuz initramfs; do line output "$file" - "$(sha256_of "dist/$file")"; done
}

print_sources() {
  local path
  for path in "$@"; do
    if [ -d "$path" ]; then
      line source "$path" - "$(pack "$path" | sha256sum | cut --delimiter=' ' --fields=1)"
    else
      line source "$path" - "$(sha256_of "$path")"
    fi
  done
}

# $1: a folder. Names, contents, links and who may execute.
pack() {
  tar --create --format=ustar --sort=name --owner=root:0 --group=root:0 --mtime=@0 --mode=u=rwX,go=rX "$1"
}

print_installed() {
  local package
  for package in "$@"; do
    line installed "$package" "$(installed_version "$package")" "$(list_contents "$package" | sum_of_files)"
  done
}

list_contents() {
  local file
  dpkg-query --listfiles "$1" | while read -r file; do
    case $file in /etc/* | /usr/share/*) continue ;; esac
    if [ -f "$file" ] && [ ! -L "$file" ]; then printf '%s\n' "$file"; fi
  done
}

# Of the files whose paths come in, in any order.
sum_of_files() {
  LC_ALL=C sort | xargs --delimiter='\n' sha256sum | sha256sum | cut --delimiter=' ' --fields=1
}

sha256_of() {
  sha256sum "$1" | cut --delimiter=' ' --fields=1
}

line() {
  printf '%-9s %-26s %-24s %s\n' "$@"
}

# `build --from`. $1: a manifest. Ends the program where its inputs can't be had; else this machine has its packages afterwards, and
# KERNEL_VERSION is its kernel's.
restore_inputs() {
  local missing=() wanted=() kind name version sum
  say "build: the inputs of $1"
  while read -r kind name version sum; do
    case $kind in
      '' | '#'* | output | npm | config) ;;
      source)
        [ "$(print_sources "$name" 2>/dev/null)" = "$(line "$kind" "$name" "$version" "$sum")" ] ||
          missing+=("$name differs in this checkout: check out the commit that the manifest is of")
        ;;
      installed)
        [ "$(installed_version "$name")" != "$version" ] || continue
        if is_in_archive "$name" "$version"; then
          mapfile -t -O ${#wanted[@]} wanted < <(with_siblings "$name" "$version")
        else
          missing+=("$name $version is not in Debian's archive any more")
        fi
        ;;
      deb)
        KERNEL_VERSION=$version
        is_in_archive "$name" "$version" || is_kernel_kept "$version" ||
          missing+=("$name $version is not in Debian's archive any more")
        ;;
      *) die "$1: \"$kind\" is no kind of line in a manifest" "give --from the path of a MANIFEST" ;;
    esac
  done <"$1"
  [ -n "$KERNEL_VERSION" ] || die "$1 names no kernel: it is not a whole manifest" "give --from the path of a MANIFEST"
  [ ${#missing[@]} = 0 ] || die "what $1 names can't be had: $(printf '\n  %s' "${missing[@]}")" "build without --from"
  [ ${#wanted[@]} = 0 ] || install_versions "${wanted[@]}"
}

# $1: a package; $2: a version. With it change the packages that are built with it, which insist on its version.
with_siblings() {
  local source version package
  source=$(dpkg-query -W -f '${source:Package}' "$1")
  version=$(installed_version "$1")
  printf '%s=%s\n' "$1" "$2"
  dpkg-query -W -f '${source:Package} ${Version} ${Package}\n' | while read -r -a package; do
    if [ "${package[*]}" != "$source $version $1" ] && [ "${package[*]:0:2}" = "$source $version" ] &&
      is_in_archive "${package[2]}" "$2"; then
      printf '%s=%s\n' "${package[2]}" "$2"
    fi
  done
}

install_versions() {
  need_root "build --from"
  say "build: installing $*"
  apt_get install --yes --no-install-recommends --allow-downgrades "$@" ||
    die "apt-get could not install these versions" "see its errors above"
}

# $1: a package; $2: a version.
is_in_archive() {
  apt-cache madison "$1" 2>/dev/null | awk -F ' *[|] *' -v version="$2" '$2 == version { found = 1 } END { exit !found }'
}

# $1: a manifest; $2: the configuration that goes into the image, if any. Ends the program where the inputs here are others.
expect_inputs() {
  name_image_inputs
  print_inputs "$2" | expect_same "$1" "source|npm|installed|deb|config"
}

# $1: a manifest. Ends the program where something else came of its inputs.
expect_outputs() {
  expect_same "$1" output <"$MANIFEST"
  say "build: the same as $1 says"
}

# $1: a manifest; $2: a pattern of the kinds of lines that are compared; a manifest of what is here comes in.
expect_same() {
  diff <(grep --extended-regexp "^($2) " "$1") <(grep --extended-regexp "^($2) ") >&2 ||
    die "this machine (>) differs from $1 (<), see above" "without --from it builds all the same"
}
