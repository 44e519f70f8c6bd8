#!/bin/sh
# Prints the size of each image, what it runs as, and what it cannot import; fails where one can import what it must not.
#   sh docker/images.sh [PREFIX] [TAG]        PREFIX: bongsu, or REGISTRY/bongsu
set -eu
prefix=${1:-bongsu} tag=${2:-0.1.0} failed=0

look() { # look IMAGE MODULE FORBIDDEN...
    image=$prefix/$1:$tag module=$2
    shift 2
    docker image inspect "$image" >/dev/null 2>&1 || { printf '%-22s not built\n' "$image"; return 0; }
    size=$(docker image inspect --format '{{.Size}}' "$image")
    # The root is read-only and there is no network: the service must come up to its imports like this.
    out=$(docker run --rm --network none --read-only --cap-drop ALL "$image" python -c '
import importlib, importlib.util, os, sys
module, *forbidden = sys.argv[1:]
importlib.import_module(module)
there = [f for f in forbidden if importlib.util.find_spec(f)]
if there:
    sys.exit("has " + ", ".join(there))
if os.getuid() == 0:
    sys.exit("runs as root")
print("uid", os.getuid(), "without", ", ".join(forbidden))' "$module" "$@" 2>&1) || { failed=1; out="WRONG: $out"; }
    printf '%-22s %4d MB  %s\n' "$image" $((size / 1000000)) "$out"
}

look motion motion.worker torch ultralytics onnxruntime cv2 sqlalchemy fastapi pip setuptools
look detect detect.worker torch ultralytics av sqlalchemy fastapi pip setuptools
look detect-cuda detect.worker torch ultralytics av sqlalchemy fastapi pip setuptools
look function notify.post torch onnxruntime cv2 numpy av fastapi alembic pip setuptools
look caption notify.caption torch onnxruntime av fastapi aiohttp pip setuptools
look sessions sessions.server torch ultralytics av sqlalchemy aiohttp pip setuptools
look api api.server torch onnxruntime cv2 numpy av tweepy aiohttp pip setuptools
look fleet edge.service torch onnxruntime cv2 numpy av sqlalchemy fastapi pip setuptools
exit $failed
