#!/bin/sh
# venv.sh NAME...: in an image, makes /out/venv, to be run as /venv, of what each NAME.txt locks. No pip in it, no tests of
# packages, and the same bytes each time: bytecode that is compared with nothing at start, one date for all files.
set -eu
python3 -m venv /tmp/pip
python3 -m venv --without-pip /venv
for name; do
    /tmp/pip/bin/python -m pip --python /venv/bin/python install --quiet --disable-pip-version-check --no-cache-dir \
        --no-compile --require-hashes --requirement "/requirements/$name.txt"
done
find /venv/lib -type d -name tests -prune -exec rm -r {} +
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv/lib
find /venv -exec touch --no-dereference --date=@0 {} +
mkdir /out
mv /venv /out
