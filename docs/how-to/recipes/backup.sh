#!/bin/sh
# Copies the vault's schema into a file. DATABASE_URL names the owner of the schema: `app` may not read the sequences.
set -eu
umask 077
pg_dump --format=custom --schema=token_vault --file="$1.part" "$DATABASE_URL"
pg_restore --list "$1.part" > /dev/null # the file is whole
mv "$1.part" "$1"
