# A Salt state for dom0 of Qubes OS: installs Firebreak from the archive that `build/appliance.sh qubes` has made in a qube, and
# makes the qube that runs it. docs/QUBES.md says what each setting is for. To apply it, also for an upgrade, which counts from
# the next start of the qube on:
#   sudo cp firebreak.sls /srv/salt/ && sudo qubesctl --show-output state.sls firebreak

# Where the archive is, and its SHA-256 as it was printed where it was built.
{% set source = "dev" %}
{% set archive = "/home/user/firebreak/dist/firebreak-qubes.tar" %}
{% set sha256 = "FILL IN" %}

{% set copy = "/root/firebreak-qubes.tar" %}
{% set compare = "echo '" ~ sha256 ~ "  " ~ copy ~ "' | sha256sum --check --status" %}

firebreak-copied:
  cmd.run:
    - name: qvm-run --no-gui --pass-io {{ source }} 'cat {{ archive }}' > {{ copy }}
    - unless: {{ compare }}

firebreak-compared:
  cmd.run:
    - name: {{ compare }}
    - require:
      - cmd: firebreak-copied

firebreak-unpacked:
  cmd.run:
    - name: tar -C /var/lib/qubes/vm-kernels -xf {{ copy }}
    - require:
      - cmd: firebreak-compared

firebreak-qube:
  qvm.vm:
    - name: firebreak
    - present:
      - class: StandaloneVM
      - label: green
    - prefs:
      - virt-mode: pvh
      - kernel: firebreak
      - kernelopts: console=hvc0 quiet loglevel=3 panic=-1
      - memory: 128
      - maxmem: 0
      - vcpus: 2
      - netvm: sys-net
      - provides-network: True
      - autostart: True
      - audiovm: ""
      - include-in-backups: False
    - features:
      - enable:
        - qubes-firewall
        - no-default-kernelopts
        - skip-update
      - default: # inherited from sys-net; a former version of this had it off
        - ipv6
    - require:
      - cmd: firebreak-unpacked
