#!/bin/sh
# Says whether every package of the images has a wheel for another kind of machine, by asking pip to resolve them for it;
# nothing is installed. The build stages have no compiler, so without a wheel there is no image.
#   sh docker/wheels.sh [aarch64|x86_64] [PYTHON_VERSION]
set -eu
cd "$(dirname "$0")/.."
machine=${1:-aarch64} version=${2:-3.12} failed=0
# pip accepts only wheels for the listed platforms; Debian bookworm's C library 2.36 also runs wheels for older ones.
platforms="--platform manylinux2014_$machine"
for minor in $(seq 17 36); do
    platforms="$platforms --platform manylinux_2_${minor}_$machine"
done
: "${PYTHON:=python3}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

look() { # look IMAGE EXTRA...
    image=$1
    shift
    "$PYTHON" - "$@" >"$work/wanted" <<'PY'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
wanted = list(project["dependencies"])
for extra in sys.argv[1:]:
    # http-ece is a source package of Python alone, which builds anywhere; pip cannot resolve such a one for another machine.
    wanted += [one for one in project["optional-dependencies"][extra] if not one.startswith("http-ece")]
print("\n".join(wanted))
PY
    if "$PYTHON" -m pip install --quiet --dry-run --ignore-installed --disable-pip-version-check --target "$work/none" \
        --report "$work/report.json" --constraint constraints.txt --only-binary :all: --python-version "$version" \
        $platforms --requirement "$work/wanted" 2>"$work/errors"; then
        printf '%-10s %s packages for %s\n' "$image" "$("$PYTHON" -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["install"]))' "$work/report.json")" "$machine"
    else
        printf '%-10s WRONG: %s\n' "$image" "$(grep ERROR "$work/errors" | tail -1)"
        failed=1
    fi
}

look motion motion clips
look detect detect
look function notify post push mysql mqtt apprise
look caption caption notify mysql originals opinion
look api notify api mysql
look sessions sessions
look fleet fleet
exit $failed
