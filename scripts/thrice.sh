# shellcheck shell=bash
# `thrice COMMAND…` runs what needs the network up to three times, and ends as its last try did. Read it by `.`.
thrice() {
  local pause
  for pause in 5 20; do
    if "$@"; then
      return 0
    fi
    echo "That did not work; it is tried again in $pause s …" >&2
    sleep "$pause"
  done
  "$@"
}
