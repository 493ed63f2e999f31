# Sourced by appliance.sh: the firewall on kernels that are not its own. Which of Debian's there are, apt's lists say.
#
#   dist/kernels/RELEASE/boot      the kernel
#   dist/kernels/RELEASE/modules   those of its modules that tests/vm/kernel-modules names, and `order`, a list of them

KERNELS=dist/kernels

# The one that the image has.
OWN_KERNEL=image

test_kernels() {
  need_root test-kernels
  build
  local passed=0 failed=0 releases
  mapfile -t releases < <(matrix_kernels)
  count_kernel_tests "${releases[@]}" "$OWN_KERNEL"
  sum_up
}

# Releases of Debian's kernels for virtual machines that apt can fetch: 6.1.0-57-cloud-amd64, from the oldest to the newest.
cloud_kernels() {
  apt-cache search --names-only '^linux-image-[0-9]+\.[0-9]+\.[0-9]+[^ ]*-cloud-amd64$' |
    sed -n 's/^linux-image-\([^ ]*\) .*$/\1/p' | sort --version-sort
}

# The oldest and the newest of each series (6.1, 6.12) that there are.
matrix_kernels() {
  cloud_kernels | awk -F. '
    { series = $1 "." $2 }
    series != last { if (newest != oldest) print newest; print oldest = $0; last = series }
    { newest = $0 }
    END { if (newest != oldest) print newest }'
}

# The newest of the two newest series.
newest_kernels() {
  cloud_kernels | awk -F. '{ newest[$1 "." $2] = $0 } END { for (series in newest) print newest[series] }' |
    sort --version-sort | tail -n 2
}

# $@: releases, or OWN_KERNEL.
count_kernel_tests() {
  local release
  [ $# -gt 0 ] || die "apt knows no linux-image-…-cloud-amd64" "set up on Debian 12 for amd64, and run apt-get update"
  for release in "$@"; do
    [ "$release" = "$OWN_KERNEL" ] || fetch_matrix_kernel "$release"
  done
  FIREBREAK_KERNELS="$*" count_bun_tests "test: on other kernels, emulated: $*" dist/tests-kernels.xml ./tests/vm/kernels.ts
}

# $1: its release.
fetch_matrix_kernel() {
  local release=$1 folder=$KERNELS/$1 modules
  fetch_kernel "$release" "$folder"
  [ "$folder/modules" -ot tests/vm/kernel-modules ] || [ "$folder/modules" -ot build/kernels.sh ] || return 0
  rm -rf "$folder/root" "$folder/modules"
  mapfile -t modules < <(listed_modules tests/vm/kernel-modules)
  add_modules "$folder" "$release" "$folder/root" "${modules[@]}"
  mv "$folder/root/lib/modules" "$folder/modules"
  rm -r "$folder/root"
}
