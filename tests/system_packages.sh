#!/usr/bin/env bash
# Installs Chromium and PostgreSQL from the distribution when they are missing: the browser tests drive the one,
# the database tests start a private cluster of the other.
set -euo pipefail

# How long another package installation may take before this one gives up.
wait_seconds=${LOCK_WAIT_SECONDS:-900}

missing=()
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
[ ${#missing[@]} -eq 0 ] && exit 0

fail() {
  echo "$1" >&2
  exit 1
}

# apt-get waits for dpkg's lock when told to, but never for those of its package lists and of its archive.
patiently() {
  local said end=$((SECONDS + wait_seconds)) told=
  until said=$("$@" 2>&1); do
    case $said in
      *"dpkg was interrupted"* | *"dpkg --configure -a"*)
        fail "An earlier package installation was interrupted. Finish it with: $sudo dpkg --configure -a" ;;
      *"unmet dependencies"* | *"--fix-broken"*)
        fail "The packages of this machine do not fit together. Repair them with: $sudo apt-get --fix-broken install" ;;
      *"Unable to locate package"* | *"no installation candidate"*)
        fail "This distribution does not offer ${missing[*]}. Install them another way, then try again. apt-get says: $said" ;;
      *"Could not get lock"* | *"Unable to acquire the dpkg frontend lock"* | *"Unable to lock"*)
        [ "$SECONDS" -lt "$end" ] ||
          fail "Another package installation has held its lock for $wait_seconds s. Let it finish or end it, then try again."
        [ -n "$told" ] || echo "Waiting for another package installation to finish …"
        told=1
        sleep 1 ;;
      *) fail "apt-get could not install ${missing[*]}: $said" ;;
    esac
  done
}

command -v apt-get >/dev/null || fail "Please install: ${missing[*]}"
sudo=
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || fail "Please have somebody with the right to do so install: ${missing[*]}"
  sudo=sudo
fi
echo "Installing ${missing[*]} from the distribution; this takes a few minutes …"
export DEBIAN_FRONTEND=noninteractive
patiently $sudo apt-get update -qq
patiently $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o "DPkg::Lock::Timeout=$wait_seconds" install -y -qq --no-install-recommends "${missing[@]}"
