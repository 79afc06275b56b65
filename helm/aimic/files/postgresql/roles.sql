-- The database and its three logins, made once by an administrator of the PostgreSQL server with psql 14 or newer.
-- The passwords come from the environment: a command's arguments can be read by every user of the machine.
-- Doing it again changes nothing but the passwords.
\set ON_ERROR_STOP on
\getenv owner_password AIMIC_RECORDS_OWNER_PASSWORD
\getenv app_password AIMIC_RECORDS_PASSWORD
\getenv system_password AIMIC_RECORDS_SYSTEM_PASSWORD
SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', name)
  FROM (VALUES ('aimic_owner'), ('aimic_app'), ('aimic_system')) AS wanted (name)
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE aimic_owner PASSWORD :'owner_password';    -- migrations only
ALTER ROLE aimic_app PASSWORD :'app_password';        -- requests: sees one site at a time
ALTER ROLE aimic_system PASSWORD :'system_password';  -- relay, sweeper, claims across sites
SELECT 'CREATE DATABASE aimic OWNER aimic_owner ENCODING ''UTF8'' TEMPLATE template0'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'aimic') \gexec
REVOKE ALL ON DATABASE aimic FROM PUBLIC;
GRANT CONNECT ON DATABASE aimic TO aimic_app, aimic_system;
