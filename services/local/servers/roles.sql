-- The database and its three logins, made once by an administrator of the PostgreSQL server:
--   psql -h HOST -U postgres -v owner_password=… -v app_password=… -v system_password=… -f roles.sql
-- Doing it again changes nothing but the passwords.
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
