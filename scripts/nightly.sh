#!/bin/sh
# The checks that take hours: the whole suite, 10,000 damaged files, a failure at every disk call of
# every kind of job, kills at random moments, the corpus of files from elsewhere.
#
#     scripts/nightly.sh [FOLDER]      writes a log for each into FOLDER (nightly/ by default)
#
# Goes on after a failure, and exits with 1 if there was one.

set -u
folder=${1:-nightly}
mkdir -p "$folder"
failed=0

check() {
    name=$1
    shift
    if "$@" > "$folder/$name.log" 2>&1; then
        echo "ok      $name"
    else
        echo "FAILED  $name: $folder/$name.log"
        failed=1
    fi
}

check suite python -m pytest -q
check fuzz python scripts/fuzz.py --count 10000
check failures python benchmarks/failures.py --every 1
check kills python benchmarks/kills.py
check batch-kills python benchmarks/batch_kills.py
check corpus python benchmarks/media_corpus.py "$folder/corpus"
exit $failed
