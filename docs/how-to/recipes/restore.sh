#!/bin/sh
# Restores the copy $1, which backup.sh made, into a database that has no vault. DATABASE_URL names the role that will
# own the schema. If services have a role of their own, grants.sql must be beside this script.
set -eu
pg_restore --exit-on-error --single-transaction --no-owner --no-privileges --dbname="$DATABASE_URL" "$1"
token-vault init
grants="$(dirname "$0")/grants.sql"
if [ -f "$grants" ]; then
    psql --quiet --set=ON_ERROR_STOP=1 --file="$grants" "$DATABASE_URL"
else
    echo "no grants.sql here: only this role can use the vault" >&2
fi
token-vault health
