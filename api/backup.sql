-- name: export_snapshot
SELECT pg_export_snapshot()

-- name: tables
SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname

-- name: count_tables
SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace

-- name: digest
SELECT count(*), coalesce(sum(hashtextextended(row::text, 0)), 0) FROM public.{table} AS row

-- name: roles
SELECT rolname FROM pg_roles WHERE rolname LIKE 'parkpal\_%' AND NOT rolcanlogin ORDER BY rolname

-- name: make_role
-- Roles belong to the server: another database of it may have made this one.
DO $$
BEGIN
    CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$;
GRANT {role} TO CURRENT_USER
