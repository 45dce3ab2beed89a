#!/bin/sh
# Copies the vault's schema into a file: backup.sh FILE. DATABASE_URL must name the role that owns the schema, because
# the service's role `app` may not read the sequences.
set -eu
umask 077
pg_dump --format=custom --schema=token_vault --file="$1.part" "$DATABASE_URL"
pg_restore --file=/dev/null "$1.part" # reads the whole copy, so it fails if a part is missing
mv "$1.part" "$1"
