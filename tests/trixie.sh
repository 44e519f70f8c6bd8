#!/bin/sh
# Runs tests against the servers of Debian 13 (RabbitMQ 4.0, MariaDB 11.8) in a root of their own, for they are nearer to what the
# manifests name than those of Debian 12. As root:  sh tests/trixie.sh /var/tmp/trixie tests/functions/test_permissions.py
set -eu
root=$1
shift
if [ ! -x "$root/usr/lib/rabbitmq/bin/rabbitmq-server" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is needed: apt-get install debootstrap" >&2 && exit 1; }
    debootstrap --variant=minbase --include=rabbitmq-server,mariadb-server trixie "$root" http://deb.debian.org/debian
fi
# A path of the tests' folder is the same inside: the root contains itself.
mkdir -p "$root$(dirname "$root")" "$root/tools"
[ -e "$root$root" ] || ln -s / "$root$root"
for tool in lib/rabbitmq/bin/rabbitmq-server lib/rabbitmq/bin/rabbitmqctl sbin/mariadbd bin/mariadb-install-db; do
    printf '#!/bin/sh\nexec chroot %s /usr/%s "$@"\n' "$root" "$tool" >"$root/tools/${tool##*/}"
    chmod +x "$root/tools/${tool##*/}"
done
BONGSU_TEST_SERVERS=$root/tools exec "${PYTHON:-.venv/bin/python}" -m pytest --basetemp "$root/tmp/tests" "$@"
