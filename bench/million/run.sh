#!/usr/bin/env bash
# Holds a million connections on one process of ours, in a virtual machine, and says what they cost: lf-echo, whose clients
# say nothing, or lf-comet, whose clients subscribe, an id each, and get a message each at the end.
#
# A process may hold fewer descriptors than that on most machines, and often nobody may raise the limit; a kernel of
# our own has no such limit. It is a stock Debian one, unpacked and not installed, with an initramfs that holds busybox,
# the server, lf-bench and `init` from this directory. docs/src/million.md explains the figures.
#
# Settings, from the environment:
#   MILLION_SERVER       echo or comet                                              [echo]
#   MILLION_TRANSPORT    how lf-comet's clients subscribe: sse, ws, ...             [sse]
#   MILLION_CONNECTIONS  connections                                                [1000000]
#   MILLION_SOURCES      source addresses, 50,000 connections each                  [20]
#   MILLION_IN_FLIGHT    connects, and later messages, at a time                    [512]
#   MILLION_HOLD_S       how long all are held                                      [20]
#   MILLION_MEMORY_MB    memory of the virtual machine                              [14336]
#   MILLION_CPUS         its CPUs                                                   [2]
#   MILLION_ACCEL        kvm, tcg or auto: KVM where it boots, else emulation       [auto]
#   MILLION_KERNEL       a Linux kernel image (bzImage)                             [Debian's cloud kernel]
#   MILLION_RSS_MB_MAX   resident memory that the server may use, in 10^6 bytes     [300]
#   MILLION_TIMEOUT_S    the longest that the machine may run                       [3600]
#
# Exit codes: 0 all were held, within the memory; 1 not so, or the run could not be made.

set -euo pipefail

server=${MILLION_SERVER:-echo}
transport=${MILLION_TRANSPORT:-sse}
connections=${MILLION_CONNECTIONS:-1000000}
sources=${MILLION_SOURCES:-20}
in_flight=${MILLION_IN_FLIGHT:-512}
hold_s=${MILLION_HOLD_S:-20}
memory_mb=${MILLION_MEMORY_MB:-14336}
cpus=${MILLION_CPUS:-2}
accel=${MILLION_ACCEL:-auto}
kernel=${MILLION_KERNEL:-}
rss_mb_max=${MILLION_RSS_MB_MAX:-300}
timeout_s=${MILLION_TIMEOUT_S:-3600}

# KVM that has not started `init` by then does not work here.
KVM_BOOT_S_MAX=20
TCG_BOOT_S_MAX=300
KERNEL_PACKAGE=linux-image-cloud-amd64

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
machine=

die() {
    echo "million: $*" >&2
    exit 1
}

install_tools() {
    local missing=()
    command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
    command -v busybox >/dev/null || missing+=(busybox-static)
    command -v cpio >/dev/null || missing+=(cpio)
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "missing: ${missing[*]}; as root: apt-get install --no-install-recommends ${missing[*]}"
    echo "installing ${missing[*]}"
    apt_get install --no-install-recommends "${missing[@]}" || { apt_get update && apt_get install --no-install-recommends "${missing[@]}"; }
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y "$@" >/dev/null
}

# Unpacks the kernel that the package depends on, once; sets `kernel`.
find_kernel() {
    [ -z "$kernel" ] || return 0
    kernel=$work/vmlinuz
    [ ! -s "$kernel" ] || return 0
    local package
    package=$(kernel_package)
    if [ -z "$package" ] && [ "$(id -u)" = 0 ]; then
        apt_get update
        package=$(kernel_package)
    fi
    [ -n "$package" ] || die "apt knows no $KERNEL_PACKAGE (Debian has it); run apt-get update, or set MILLION_KERNEL to a kernel image"
    echo "fetching $package"
    rm -rf "$work/kernel"
    mkdir -p "$work/kernel"
    (cd "$work/kernel" && apt-get -qq download "$package" && dpkg -x "$package"_*.deb .)
    cp "$work"/kernel/boot/vmlinuz-* "$kernel"
    rm -rf "$work/kernel"
}

kernel_package() {
    apt-cache depends "$KERNEL_PACKAGE" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -n 1
}

# Copies a program to /bin of the initramfs, and the shared objects that it needs to where it looks for them.
add_program() {
    cp "$1" "$root/bin/"
    ldd "$1" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' |
        while read -r object; do cp -L --parents "$object" "$root"; done || true # a static program has none
}

build_initramfs() {
    root=$work/root
    rm -rf "$root"
    mkdir -p "$root/bin"
    add_program "$(command -v busybox)"
    add_program "$target/release/lf-$server"
    add_program "$target/release/lf-bench"
    local applet
    for applet in sh awk cat cut grep head ip kill mkdir mount poweroff sleep sort sysctl uname wget; do
        ln -s busybox "$root/bin/$applet"
    done
    install -m 755 "$here/init" "$root/init"
    cat >"$root/settings" <<-SETTINGS
		MILLION_SERVER=$server
		MILLION_TRANSPORT=$transport
		MILLION_CONNECTIONS=$connections
		MILLION_SOURCES=$sources
		MILLION_IN_FLIGHT=$in_flight
		MILLION_HOLD_S=$hold_s
	SETTINGS
    (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initramfs"
    rm -rf "$root"
}

# Starts the machine with the given accelerator; fails if `init` does not run within so many seconds.
boot() {
    local boot_s_max=$1
    shift
    : >"$log"
    qemu-system-x86_64 "$@" -smp "$cpus" -m "$memory_mb" -kernel "$kernel" -initrd "$work/initramfs" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off" \
        -display none -monitor none -serial "file:$log" -nic none -no-reboot </dev/null 2>"$work/qemu.log" &
    machine=$!
    local deadline=$((SECONDS + boot_s_max))
    until grep -q '^= booted' "$log"; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$machine" 2>/dev/null; then
            stop
            return 1
        fi
        sleep 0.2
    done
}

stop() {
    [ -n "$machine" ] || return 0
    kill -KILL "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
    machine=
}

boot_somehow() {
    if [ "$accel" = kvm ] || { [ "$accel" = auto ] && [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
        echo "booting with KVM"
        used="KVM" && boot "$KVM_BOOT_S_MAX" -enable-kvm -cpu host && return
        [ "$accel" = auto ] || die "KVM does not boot within $KVM_BOOT_S_MAX s: $(cat "$work/qemu.log")"
        echo "KVM does not boot within $KVM_BOOT_S_MAX s"
    fi
    echo "booting with emulation (TCG); a million connections take some minutes"
    used="TCG" && boot "$TCG_BOOT_S_MAX" -accel tcg,thread=multi -cpu max && return
    die "the machine does not boot within $TCG_BOOT_S_MAX s; see $log: $(cat "$work/qemu.log")"
}

# Shows what the machine says until it is off.
follow() {
    tail -n +1 -f --pid="$machine" "$log" | sed -u 's/\r$//; /^= /d' &
    local tail=$! deadline=$((SECONDS + timeout_s))
    while kill -0 "$machine" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || { stop; die "not done in $timeout_s s; see $log"; }
        sleep 1
    done
    wait "$machine" 2>/dev/null || true
    machine=
    wait "$tail" || true
}

# A figure that `init` has reported; 0 if it has not.
figure() {
    sed 's/\r$//' "$log" | awk -v name="$1" '$1 == "=" && $2 == name { value = $3 } END { print value == "" ? 0 : value }'
}

# Connections that got the message meant for them.
messages() {
    case $server in
        echo) figure flood_echoed ;;
        comet) figure flood_broadcast_received ;;
    esac
}

# RSS after that: NAME of the figure of a Memory.
after_messages() {
    case $server in
        echo) figure "flood_touched_$1" ;;
        comet) figure "flood_memory_$1" ;;
    esac
}

# Figures divided: A B DIGITS.
ratio() {
    awk -v a="$1" -v b="$2" -v digits="${3:-0}" 'BEGIN { printf "%.*f", digits, b ? a / b : 0 }'
}

row() {
    printf '%-44s %14s %s\n' "$1" "$2" "${3:-}"
}

megabytes() {
    awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1e6 }'
}

# The greatest RSS of the server, in bytes. VmHWM lags by some pages for each thread, so it may be below what the flood saw.
peak() {
    printf '%s\n' "$(figure server_peak_bytes)" "$(figure flood_idle_rss_bytes)" "$(after_messages rss_bytes)" | sort -n | tail -n 1
}

summary() {
    local held idle touched empty_free
    held=$(figure flood_connections)
    idle=$(figure flood_idle_rss_bytes)
    touched=$(after_messages rss_bytes)
    empty_free=$(figure empty_free_bytes)
    echo
    row "connections held" "$held" "of $connections"
    row "  the admin page says" "$(figure page_connections)" "accepted $(figure page_accepted), refused $(figure page_refused), closed $(figure page_closed)"
    row "  alive after $hold_s s" "$(figure flood_alive)"
    row "  then got a message each, checked" "$(messages)"
    row "time to open them" "$(ratio "$(figure flood_seconds)" 1 1) s" "$(ratio "$(figure flood_connections_per_second)" 1) connections/s"
    row "RSS of lf-$server, all idle" "$(megabytes "$idle")" "$(ratio "$(figure flood_idle_rss_bytes_per_connection)" 1 1) B per connection"
    row "  after a message on each" "$(megabytes "$touched")" "$(ratio "$(after_messages rss_bytes_per_connection)" 1 1) B per connection"
    row "  peak, closing them included" "$(megabytes "$(peak)")" "at most $rss_mb_max MB"
    row "RSS of lf-bench flood" "$(megabytes "$(figure flood_own_rss_bytes)")"
    row "kernel slab, both ends" "$(megabytes "$(figure flood_idle_slab_bytes)")" "$(ratio "$(figure flood_idle_slab_bytes_per_connection)" 1) B per connection"
    row "MemFree before, and while held" "$(megabytes "$empty_free")" "$(megabytes "$(figure held_free_bytes)")"
    row "machine: CPUs, memory, accelerator" "$cpus" "$memory_mb MB, $used, Linux $(figure booted)"
    row "commit" "$commit"
    row "log" "$log"
}

# Says what was not as promised; fails if anything.
judge() {
    failures=0
    expect "runs that came to their end" "$(figure ended)" 1 1
    expect "connections held" "$(figure flood_connections)" "$connections" "$connections"
    expect "connections on the admin page" "$(figure page_connections)" "$connections" "$connections"
    expect "connections alive after the hold" "$(figure flood_alive)" "$connections" "$connections"
    expect "messages that arrived" "$(messages)" "$connections" "$connections"
    expect "connections refused" "$(figure page_refused)" 0 0
    # One: the flood's probe.
    expect "connections closed while all should be held" "$(figure page_closed)" 0 1
    expect "connections left after all were reset" "$(figure page_left)" 0 0
    expect "bytes of the server's RSS at its peak" "$(peak)" 1 $((rss_mb_max * 1000000))
    expect "exit code of the flood" "$(figure flood_exit)" 0 0
    expect "exit code of lf-$server" "$(figure server_exit)" 0 0
    [ "$failures" = 0 ] || die "not as promised: $failures; see $log"
    echo "as promised"
}

# NAME VALUE LEAST MOST
expect() {
    [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ] || return 0
    echo "million: $1: $2, wanted $3$([ "$3" = "$4" ] || echo " to $4")" >&2
    failures=$((failures + 1))
}

case $server in echo | comet) ;; *) die "MILLION_SERVER=$server: give echo or comet" ;; esac
[ "$(uname -sm)" = "Linux x86_64" ] || die "the recipe is for Linux on x86_64, this is $(uname -sm)"
free_mb=$(awk '$1 == "MemAvailable:" { printf "%d", $2 / 1024 }' /proc/meminfo)
[ "$free_mb" -ge "$memory_mb" ] || die "MILLION_MEMORY_MB=$memory_mb, but only $free_mb MB are free; a connection takes about 8 KB, both ends"
cd "$here"
# As it is when the programs are built: a run takes long.
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
cargo build --release -p "lf-$server" -p lf-bench
target=$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
work=$target/million
log=$work/log
mkdir -p "$work"
install_tools
find_kernel
build_initramfs
trap stop EXIT
boot_somehow
follow
summary
judge
