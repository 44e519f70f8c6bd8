#!/bin/sh
# Runs tests against the servers of Debian 13 (RabbitMQ 4.0, MariaDB 11.8) in a root of their own, for they are nearer to what the
# manifests name than those of Debian 12. As root:  sh tests/trixie.sh /var/tmp/trixie tests/functions/test_permissions.py
set -eu
# In a mount namespace of its own, so that what is mounted below is gone with the last process.
[ -n "${TRIXIE_MOUNTS:-}" ] || TRIXIE_MOUNTS=own exec unshare --mount sh "$0" "$@"
root=$1
shift
if [ ! -x "$root/usr/lib/rabbitmq/bin/rabbitmq-server" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is needed: apt-get install debootstrap" >&2 && exit 1; }
    debootstrap --variant=minbase --include=rabbitmq-server,mariadb-server trixie "$root"
fi
# RabbitMQ 4 reads its own memory from /proc and ends where it is missing.
for folder in proc dev; do mount --bind "/$folder" "$root/$folder"; done
# A path of the tests' folder is the same inside: the root contains itself.
mkdir -p "$root$(dirname "$root")" "$root/tools"
[ -e "$root$root" ] || ln -s / "$root$root"
for tool in lib/rabbitmq/bin/rabbitmq-server lib/rabbitmq/bin/rabbitmqctl sbin/mariadbd bin/mariadb-install-db; do
    printf '#!/bin/sh\nexec chroot %s /usr/%s "$@"\n' "$root" "$tool" >"$root/tools/${tool##*/}"
    chmod +x "$root/tools/${tool##*/}"
done
TMPDIR=$root/tmp BONGSU_TEST_SERVERS=$root/tools exec "${PYTHON:-.venv/bin/python}" -m pytest --basetemp "$root/tmp/tests" "$@"
