#!/bin/sh
# The server itself, in the place of this shell, so that it gets the signals.
here=$(dirname "$0")
exec /usr/lib/postgresql/15/bin/postgres -D "$PGDATA" -c "config_file=$here/postgresql.conf" \
    -c "hba_file=$here/pg_hba.conf" -c "unix_socket_directories=$PGHOST"
