#!/bin/sh
# Calls an API with an account's access token: call_api.sh TENANT PROVIDER URL
set -eu
answer=$(token-vault token -- "$1" "$2") # on an error, its exit code becomes the script's
case $(printf %s "$answer" | jq --raw-output '.token_type | ascii_downcase') in
dpop | pop | mac) echo "this token needs a proof with each request" >&2 && exit 1 ;;
esac
token=$(printf %s "$answer" | jq --raw-output --exit-status .access_token)
# Other users of the machine can see arguments, so curl reads the header from standard input. A file for --config would
# not do, because a token with quotes and line ends would set options of curl there.
printf 'Authorization: Bearer %s\n' "$token" |
    curl --header @- --silent --show-error --fail-with-body -- "$3"
