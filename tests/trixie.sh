#!/bin/sh
# Runs tests against the servers of Debian 13 (RabbitMQ 4.0, MariaDB 11.8) in a root of their own, for they are nearer to what the
# manifests name than those of Debian 12. As root:  sh tests/trixie.sh /var/tmp/trixie tests/functions/test_permissions.py
set -eu
root=$1
shift
exec sh "$(dirname "$0")/in_root.sh" "$root" trixie rabbitmq-server,mariadb-server \
    "lib/rabbitmq/bin/rabbitmq-server lib/rabbitmq/bin/rabbitmqctl sbin/mariadbd bin/mariadb-install-db" \
    "${PYTHON:-.venv/bin/python}" -m pytest --basetemp "$root/tmp/tests" "$@"
