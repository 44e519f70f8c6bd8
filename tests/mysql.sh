#!/bin/sh
# Runs tests against Oracle's MySQL, which Debian has in `sid` alone (9.7 in November 2026), in a root of its own. As root:
# sh tests/mysql.sh /var/tmp/mysql tests/store tests/notify/test_functions.py
set -eu
root=$1
shift
export BONGSU_TEST_DATABASE=server
exec sh "$(dirname "$0")/in_root.sh" "$root" sid mysql-server-core sbin/mysqld \
    "${PYTHON:-.venv/bin/python}" -m pytest --basetemp "$root/tmp/tests" "$@"
