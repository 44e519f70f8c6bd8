#!/bin/sh
# Fills /opt/bongsu inside the Dockerfile's build stages, in steps, so that changed code installs no package again.
#   install-bongsu packages EXTRAS    what the extras of pyproject.toml need, at the versions of constraints.txt
#   install-bongsu rooms              the rooms copied to /src; then the tools of installing go
set -eu
python=/opt/bongsu/bin/python

case "$1" in
packages)
    # No room is copied yet, so this installs an empty bongsu and all that it needs.
    $python -m pip install --quiet --no-build-isolation --constraint constraints.txt ".[$2]"
    ;;
rooms)
    $python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall .
    $python -m pip uninstall --quiet --yes setuptools pip
    # The tests and headers that packages bring along are of no use here.
    find /opt/bongsu -type d \( -name tests -o -name include -o -path '*/sqlalchemy/testing' \) \
        -path '*/site-packages/*' -prune -exec rm -rf {} +
    # The root is read-only at run time, so what is not compiled now would be compiled at every cold start.
    python3 -m compileall -q -j 0 /opt/bongsu/lib || true
    ;;
*)
    echo "usage: install-bongsu packages EXTRAS | rooms" >&2
    exit 2
    ;;
esac
