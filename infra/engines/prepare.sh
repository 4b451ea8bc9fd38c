#!/usr/bin/env bash
# Brings the programs of the engines that tests run on to this machine, each once:
#
#   infra/engines/prepare.sh [kafka] [ferretdb] [postgres]      (nothing named: all of them)
#
# Kafka comes from Maven Central (needs Java 17 and Maven), FerretDB, which speaks MongoDB's
# protocol, from the Go module proxy (needs Go). PostgreSQL is that of the system: where it is not
# installed, in CI it comes from Debian's packages (needs root), elsewhere it is said what to install.
# They go into $RECOURSE_ENGINES, else recourse/engines in the user's cache folder. Exits with 1 where
# one of them cannot be had, and says why.
# Engines are called by their names.
# shellcheck disable=SC2317
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
into=${RECOURSE_ENGINES:-${XDG_CACHE_HOME:-$HOME/.cache}/recourse/engines}
mkdir -p "$into"
# Where Go's own installer puts it, which not every shell looks through.
PATH=$PATH:/usr/local/go/bin

needs() { # ENGINE PROGRAM…
    local engine=$1 program
    shift
    for program in "$@"; do
        command -v "$program" >/dev/null || {
            printf '%s: needs %s, which is not installed\n' "$engine" "$program" >&2
            return 1
        }
    done
}

# Made beside its place and moved there whole, so that what is there is complete: for these
# sources, whose hash its name has.
place() { # ENGINE, in $here/ENGINE
    printf '%s/%s-%s' "$into" "$1" "$(cat "$here/$1"/* | cksum | cut -d' ' -f1)"
}

finished() { # MADE PLACE: another may have been faster
    mv -T "$1" "$2" 2>/dev/null || [ -d "$2" ]
}

kafka() {
    local place
    place=$(place kafka)
    if [ ! -d "$place" ]; then
        needs kafka java mvn || return 1
        made=$(mktemp -d "$into/making.XXXXXX")
        mvn --quiet --batch-mode --file "$here/kafka/pom.xml" dependency:copy-dependencies \
            -DoutputDirectory="$made" && cp "$here/kafka/log4j2.xml" "$made/" || return 1
        finished "$made" "$place" || return 1
    fi
    ln -sfnT "$place" "$into/kafka"
}

ferretdb() {
    local place
    place=$(place ferretdb)
    if [ ! -d "$place" ]; then
        needs ferretdb go || return 1
        made=$(mktemp -d "$into/making.XXXXXX")
        cp "$here"/ferretdb/* "$made/" && "$made/build.sh" || return 1
        finished "$made" "$place" || return 1
    fi
    ln -sfnT "$place" "$into/ferretdb"
}

postgres() {
    local initdb
    initdb=$(find_initdb)
    if [ -z "$initdb" ]; then
        # Nobody else's system is changed unasked.
        [ -n "${CI:-}" ] || {
            printf 'postgres: is not installed. On Debian and Ubuntu: apt-get install postgresql\n' >&2
            return 1
        }
        needs postgres apt-get || return 1
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql; } >/dev/null || return 1
        initdb=$(find_initdb)
    fi
    [ -n "$initdb" ] && ln -sfnT "$(dirname "$(readlink -f "$initdb")")" "$into/postgres"
}

find_initdb() { # the newest of those installed
    { compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1; command -v initdb; } | head -n 1
}

[ $# -gt 0 ] || set -- kafka ferretdb postgres
failed=0
for engine; do
    case $engine in
    kafka | ferretdb | postgres) ;;
    *)
        printf 'usage: %s [kafka] [ferretdb] [postgres]\n' "$0" >&2
        exit 2
        ;;
    esac
    (
        made=''
        trap 'rm -rf "${made:-}"' EXIT
        "$engine"
    ) || {
        printf '%s cannot be had: the tests that need it are skipped\n' "$engine" >&2
        failed=1
    }
done
exit "$failed"
