#!/bin/sh
# Makes the data directory once, and at every start the three logins and the database `aimic`, with the passwords that
# the secrets hold now. No port is open meanwhile, and the superuser comes by the socket inside this pod only.
set -eu
bin=/usr/lib/postgresql/15/bin
here=$(dirname "$0")
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ ! -e "$PGDATA" ] || { echo "$PGDATA is there and is no data directory of PostgreSQL. Nothing was changed."; exit 1; }
    rm -rf "$PGDATA.new" # of a set-up that was interrupted
    "$bin/initdb" --pgdata="$PGDATA.new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 --data-checksums \
        --auth-local=peer --auth-host=reject
    mv "$PGDATA.new" "$PGDATA"
fi
[ "$(cat "$PGDATA/PG_VERSION")" = 15 ] || {
    echo "The data are of PostgreSQL $(cat "$PGDATA/PG_VERSION"), this image is 15. Start the image of that version, dump, and restore into a new volume."
    exit 1
}
chmod 0700 "$PGDATA" # a volume's group may have been given rights, with which the server would not start
"$bin/pg_ctl" --pgdata="$PGDATA" --wait --timeout=600 --silent start \
    -o "-c config_file=$here/postgresql.conf -c hba_file=$here/pg_hba.conf -c unix_socket_directories=$PGHOST -c listen_addresses=''"
trap '"$bin/pg_ctl" --pgdata="$PGDATA" --mode=fast --wait --silent stop' EXIT
AIMIC_RECORDS_OWNER_PASSWORD=$(cat "$SECRETS/owner/owner-password") \
AIMIC_RECORDS_PASSWORD=$(cat "$SECRETS/logins/app-password") \
AIMIC_RECORDS_SYSTEM_PASSWORD=$(cat "$SECRETS/logins/system-password") \
    "$bin/psql" --quiet --username=postgres --dbname=postgres --file="$here/roles.sql"
echo "The database aimic and its three logins are there."
