#!/bin/sh
# Builds the images where no image registry can be reached: the base comes from debootstrap, the packages from this
# machine's own pip configuration, downloaded before the build, so that the build itself needs no network.
# Needs root, a running Docker engine, debootstrap, and a python3 of the same minor version as Debian's (3.11 for bookworm).
#
#   sh docker/build-offline.sh [IMAGE …]        TAG=0.1.0 DEBIAN=bookworm PYTHON=python3
#   FUNCTION_EXTRAS=apprise CAPTION_EXTRAS=opinion MOTION_EXTRAS=clips add what these images leave out.
set -eu
cd "$(dirname "$0")/.."
: "${TAG:=0.1.0}" "${DEBIAN:=bookworm}" "${PYTHON:=python3}"
: "${FUNCTION_EXTRAS:=}" "${CAPTION_EXTRAS:=}" "${MOTION_EXTRAS:=}"
[ $# -gt 0 ] || set -- motion detect function caption api
export DOCKER_BUILDKIT=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! docker image inspect "bongsu/base:$DEBIAN" >/dev/null 2>&1; then
    echo "base image of Debian $DEBIAN ..."
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$DEBIAN" "$work/root" >"$work/log" 2>&1 ||
        { tail -5 "$work/log" >&2; exit 1; }
    rm -rf "$work/root/var/cache/apt" "$work/root/var/lib/apt/lists" "$work/root/usr/share/doc" \
        "$work/root/usr/share/man" "$work/root/usr/share/locale" "$work/root/var/log"/*
    tar -C "$work/root" -c . | docker import - "bongsu/base:$DEBIAN" >/dev/null
    rm -rf "$work/root"
fi

echo "packages ..."
mkdir "$work/context" "$work/context/wheels"
"$PYTHON" -m pip download --quiet --dest "$work/context/wheels" --constraint constraints.txt --only-binary :all: \
    --no-binary http-ece setuptools==84.2.1 $("$PYTHON" - "$FUNCTION_EXTRAS" "$CAPTION_EXTRAS" "$MOTION_EXTRAS" <<'PY'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
wanted = list(project["dependencies"])
added = [extra for given in sys.argv[1:] for extra in given.split(",") if extra]
for extra in (
    "motion", "detect", "notify", "api", "post", "push", "mqtt", "caption", "mysql", "originals", "fleet", "sessions", *added
):
    wanted += project["optional-dependencies"][extra]
print("\n".join(w.replace(" ", "") for w in wanted))
PY
)
case " $* " in *" detect-cuda "*)
    "$PYTHON" -m pip download --quiet --dest "$work/context/wheels" --constraint constraints.txt --only-binary :all: \
        "$(grep -o "onnxruntime-gpu[^']*" docker/Dockerfile)"
    ;;
esac
printf '[global]\nno-index = true\nfind-links = /wheels\n' >"$work/context/pip.conf"
printf 'FROM bongsu/base:%s\nCOPY pip.conf /etc/pip.conf\nCOPY wheels /wheels\n' "$DEBIAN" >"$work/context/Dockerfile"
docker build --quiet --tag "bongsu/build:$DEBIAN" "$work/context" >/dev/null

for image in "$@"; do
    echo "bongsu/$image:$TAG ..."
    docker build --quiet --network none --file docker/Dockerfile --target "$image" --tag "bongsu/$image:$TAG" \
        --build-arg BASE_IMAGE="bongsu/base:$DEBIAN" --build-arg BUILD_IMAGE="bongsu/build:$DEBIAN" \
        --build-arg FUNCTION_EXTRAS="$FUNCTION_EXTRAS" --build-arg CAPTION_EXTRAS="$CAPTION_EXTRAS" \
        --build-arg MOTION_EXTRAS="$MOTION_EXTRAS" \
        --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" .
done
