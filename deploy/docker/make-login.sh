#!/bin/sh
# Runs once, when the database's volume is empty: the login of the services, which owns nothing and is in no role.
set -eu
: "${SERVICE_LOGIN_PASSWORD:?is not set in admin.env}"
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname "$POSTGRES_DB" \
    --set password="$SERVICE_LOGIN_PASSWORD" <<'SQL'
CREATE ROLE zc_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD :'password';
SQL
