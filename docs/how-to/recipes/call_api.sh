#!/bin/sh
# Calls an API with an account's access token: call_api.sh TENANT PROVIDER URL
set -eu
answer=$(token-vault token -- "$1" "$2") # on an error, its exit code becomes the script's
headers=$(printf %s "$answer" | jq --raw-output '.headers | to_entries[] | "\(.key): \(.value)"')
[ -n "$headers" ] || { echo "this token needs a proof with each request" >&2 && exit 1; }
# Other users of the machine can see arguments, so curl reads the headers from standard input. A file for --config would
# not do, because a token with quotes and line ends would set options of curl there.
printf '%s\n' "$headers" |
    curl --header @- --silent --show-error --fail-with-body -- "$3"
