# Sourced by appliance.sh: boots the image for a user, and again and again to see whether it always does.

# What libvirt gives its guests too, and what all of QEMU's -nic options fit. microvm,acpi=on boots half a second faster but
# knows no -nic, and emulated on a busy machine it hangs: with the PIT alone the kernel can't measure the clock.
MACHINE=q35
KERNEL_OPTIONS="console=ttyS0 quiet loglevel=3 panic=-1"
PROBE_SECONDS=5

# $1: configuration, unless it starts with a dash; the rest goes to QEMU.
boot() {
  need_root run
  local config=()
  if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    [ -r "$1" ] || die "$1 can't be read" "give run the path of a configuration (or nothing, to boot without one)"
    config=(-fw_cfg "name=opt/firebreak/config,file=$1")
    shift
  fi
  build
  local accelerator=(-accel tcg -cpu max) how="QEMU's emulation, because KVM does not work here"
  if kvm_works; then
    accelerator=(-accel kvm -cpu host)
    how="KVM"
  fi
  say "run: by $how; the power button is Ctrl-A C system_powerdown, the plug Ctrl-A X"
  exec qemu-system-x86_64 -M "$MACHINE" "${accelerator[@]}" -m 256 -nodefaults -no-user-config -no-reboot -display none \
    -serial mon:stdio -kernel dist/vmlinuz -initrd dist/initramfs -append "$KERNEL_OPTIONS" "${config[@]}" "$@"
}

# /dev/kvm may be there and yet hang a kernel, so one is booted: without an initramfs it panics, and by that ends QEMU.
kvm_works() {
  [ -w /dev/kvm ] || return
  say "run: probing KVM"
  timeout --kill-after=1 "$PROBE_SECONDS" qemu-system-x86_64 -M "$MACHINE" -accel kvm -cpu host -m 128 -nodefaults \
    -no-user-config -no-reboot -display none -serial stdio -kernel dist/vmlinuz -append "$KERNEL_OPTIONS" </dev/null 2>&1 |
    grep --quiet "Unable to mount root fs"
}

# $1: how often; 200 times without it.
soak_boots() {
  local count=${1:-200}
  [[ "$count" =~ ^[1-9][0-9]{0,5}$ ]] || refuse "soak-boots takes a number"
  need_root soak-boots
  build
  say "soak-boots: $count boots, emulated; what failed leaves its console in dist/soak"
  node_modules/.bin/bun tests/vm/soak.ts "$count"
}
