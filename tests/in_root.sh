#!/bin/sh
# Runs a command against servers in a Debian root of their own, which debootstrap fills the first time. As root, called by
# trixie.sh and mysql.sh:  sh tests/in_root.sh ROOT SUITE PACKAGES "PROGRAM PROGRAM" COMMAND…
# PROGRAMs are paths under /usr; the command finds them by BONGSU_TEST_SERVERS.
set -eu
# In a mount namespace of its own, so that what is mounted below is gone with the last process.
[ -n "${TEST_ROOT_MOUNTS:-}" ] || TEST_ROOT_MOUNTS=own exec unshare --mount sh "$0" "$@"
root=$1 suite=$2 packages=$3 programs=$4
shift 4
if [ ! -x "$root/usr/${programs%% *}" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is needed: apt-get install debootstrap" >&2 && exit 1; }
    debootstrap --variant=minbase --include="$packages" "$suite" "$root"
fi
# RabbitMQ 4 reads its own memory from /proc and ends where it is missing.
for folder in proc dev; do mount --bind "/$folder" "$root/$folder"; done
# A path of the tests' folder is the same inside: the root contains itself.
mkdir -p "$root$(dirname "$root")" "$root/tools"
[ -e "$root$root" ] || ln -s / "$root$root"
for program in $programs; do
    printf '#!/bin/sh\nexec chroot %s /usr/%s "$@"\n' "$root" "$program" >"$root/tools/${program##*/}"
    chmod +x "$root/tools/${program##*/}"
done
TMPDIR=$root/tmp BONGSU_TEST_SERVERS=$root/tools exec "$@"
