# Sourced by appliance.sh: packs the image for dom0 of Qubes OS, which finds a qube's kernel and initramfs in a folder of
# /var/lib/qubes/vm-kernels. The same kernel and initramfs give the same bytes: dom0 has no network, so what arrives there is
# told from what was built by one checksum. The manifest goes along: it says what to build to have the same.

QUBES_ARCHIVE=dist/firebreak-qubes.tar

# As for build.
qubes() {
  build "$@"
  say "qubes: $QUBES_ARCHIVE"
  pack_qubes dist/vmlinuz dist/initramfs "$MANIFEST" "$QUBES_ARCHIVE.new"
  keep_if_same "$QUBES_ARCHIVE"
  printf '%s bytes, sha256 %s\n' "$(stat --format=%s "$QUBES_ARCHIVE")" "$(sha256_of "$QUBES_ARCHIVE")"
  cat <<END
Next, in a terminal of dom0, with the name of this qube in place of THIS: the sums must be the same, then install it.
  qvm-run --pass-io THIS 'cat $PWD/$QUBES_ARCHIVE' > firebreak-qubes.tar && sha256sum firebreak-qubes.tar
  sudo tar -C /var/lib/qubes/vm-kernels -xf firebreak-qubes.tar
docs/QUBES.md goes on from there.
END
}

# $1: kernel; $2: initramfs; $3: manifest; $4: the archive to make, with a folder firebreak that has them and their checksums.
pack_qubes() {
  local root status=0
  root=$(mktemp --directory)
  pack_folder "$root" "$@" || status=$?
  rm -rf "$root"
  return "$status"
}

# $1: an empty folder to work in; the rest as for pack_qubes.
pack_folder() {
  local folder=$1/firebreak
  mkdir "$folder" &&
    cp "$2" "$folder/vmlinuz" &&
    cp "$3" "$folder/initramfs" &&
    cp "$4" "$folder/MANIFEST" &&
    (cd "$folder" && sha256sum MANIFEST initramfs vmlinuz >sha256sums) &&
    tar --create --file="$5" --directory="$1" --format=ustar --sort=name --owner=root:0 --group=root:0 --mtime=@0 \
      --mode=u=rwX,go=rX firebreak
}
