#!/bin/sh
# Restores the copy $1, which backup.sh made, into a database that has no vault. DATABASE_URL names the role that will
# own the schema.
set -eu
pg_restore --exit-on-error --single-transaction --no-owner --no-privileges --dbname="$DATABASE_URL" "$1"
token-vault init
psql --quiet --set=ON_ERROR_STOP=1 --file="$(dirname "$0")/grants.sql" "$DATABASE_URL"
token-vault health
