-- What stands in the schema $1, as facts (object, fact, part, value): of the outbox itself, and of what
-- outbox.sql makes in an empty schema, so that the two can be compared. Values are clauses of SQL where one exists:
-- repair.ts puts them back as they stand. Reads the catalogue only, which every role may.
--
-- A partition has few facts of its own: its columns, constraints and index are listed only where they are not those of
-- its parent. Needs search_path = pg_catalog, so that every name is written with its schema.
WITH space AS (
  SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname = $1
), relation AS (
  SELECT c.*, format('%I.%I', s.nspname, c.relname) AS object, s.nspowner
    FROM pg_class c JOIN space s ON s.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'S', 'v', 'm', 'f')
), tables AS (
  SELECT r.*, i.inhparent AS parent FROM relation r
    LEFT JOIN pg_inherits i ON i.inhrelid = r.oid AND r.relispartition
   WHERE r.relkind IN ('r', 'p')
), routine AS (
  SELECT p.*, format('%I.%I(%s)', s.nspname, p.proname, oidvectortypes(p.proargtypes)) AS object, s.nspowner
    FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
), acl AS (
  SELECT format('schema %I', nspname) AS object, NULL AS part, nspowner AS owner, coalesce(nspacl, acldefault('n', nspowner)) AS acl
    FROM space
  UNION ALL
  SELECT object, NULL, relowner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
    FROM relation
  UNION ALL
  SELECT object, NULL, proowner, coalesce(proacl, acldefault('f', proowner)) FROM routine
  UNION ALL
  SELECT t.object, a.attname, t.relowner, a.attacl
    FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND NOT a.attisdropped WHERE a.attacl IS NOT NULL
), rights AS (
  SELECT object, part, owner, a.grantee,
         string_agg(a.privilege_type || CASE WHEN a.is_grantable AND a.grantee <> owner THEN ' WITH GRANT OPTION' ELSE '' END,
                    ', ' ORDER BY a.privilege_type COLLATE "C", a.is_grantable) AS value
    FROM acl CROSS JOIN LATERAL (
      SELECT grantee, privilege_type, bool_or(is_grantable) AS is_grantable FROM aclexplode(acl) GROUP BY 1, 2) a
   GROUP BY 1, 2, 3, 4
), columns AS (
  SELECT t.object, t.parent, a.attname, a.attnum, a.attrelid,
         format_type(a.atttypid, a.atttypmod)
           || CASE WHEN a.attcollation <> y.typcollation THEN format(' COLLATE %I', c.collname) ELSE '' END
           || CASE a.attidentity WHEN '' THEN '' ELSE ' GENERATED AS IDENTITY' END
           || CASE a.attgenerated WHEN '' THEN '' ELSE ' GENERATED' END AS type,
         -- From PostgreSQL 18 on a NOT NULL may stand there without having been looked at.
         CASE WHEN NOT a.attnotnull THEN 'NULL'
              WHEN EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = a.attrelid AND n.contype = 'n'
                             AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated) THEN 'NOT NULL NOT VALID'
              ELSE 'NOT NULL' END AS nullable,
         pg_get_expr(d.adbin, d.adrelid) AS value
    FROM tables t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_collation c ON c.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
), constraints AS (
  SELECT t.object, t.oid, t.parent, c.conname, pg_get_constraintdef(c.oid) AS value
    FROM tables t JOIN pg_constraint c ON c.conrelid = t.oid WHERE c.contype NOT IN ('n', 't')
), indexes AS (
  SELECT t.object, t.parent, x.relname,
         CASE WHEN i.indisvalid AND i.indisready AND i.indislive THEN '' ELSE ' INVALID' END AS broken,
         pg_get_indexdef(i.indexrelid) AS value, root.relname AS root
    FROM tables t
    JOIN pg_index i ON i.indrelid = t.oid
    JOIN pg_class x ON x.oid = i.indexrelid
    LEFT JOIN pg_inherits h ON h.inhrelid = i.indexrelid
    LEFT JOIN pg_class root ON root.oid = h.inhparent
   WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
)
SELECT format('schema %I', nspname) AS object, 'kind' AS fact, NULL::text AS part, 'schema' AS value FROM space
UNION ALL
SELECT 'role ' || rolname, 'kind', NULL, 'role' FROM pg_roles
 WHERE rolname IN ('evident_outbox_writer', 'evident_outbox_relay')
UNION ALL
SELECT object, CASE WHEN part IS NULL THEN 'rights' ELSE 'column rights' END,
       coalesce(part || ' of ', '') || CASE grantee WHEN owner THEN 'the owner' WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END,
       value FROM rights
UNION ALL
-- Relations.
SELECT object, 'kind', NULL, CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'S' THEN 'sequence'
       WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END FROM relation
UNION ALL
SELECT object, 'owner', NULL, CASE relowner WHEN nspowner THEN 'the owner of the schema' ELSE pg_get_userbyid(relowner) END
  FROM relation
UNION ALL
SELECT object, 'persistence', NULL, CASE relpersistence WHEN 'p' THEN 'LOGGED' WHEN 'u' THEN 'UNLOGGED' ELSE 'TEMPORARY' END
  FROM relation WHERE relkind IN ('r', 'p', 'S')
UNION ALL
-- Of slots, in their place or not: the others have none from us, and what an operator sets there is the operator's.
SELECT r.object, 'storage parameters', NULL, coalesce((
         SELECT string_agg(o, ', ' ORDER BY o COLLATE "C")
           FROM (SELECT unnest(r.reloptions) UNION ALL
                 SELECT 'toast.' || unnest(x.reloptions) FROM pg_class x WHERE x.oid = r.reltoastrelid) AS options (o)), 'none')
  FROM relation r WHERE r.relkind = 'r' AND r.relname ~ '^events_[0-9]+$'
UNION ALL
SELECT object, 'row security', NULL, format('%s ROW LEVEL SECURITY, %s ROW LEVEL SECURITY',
       CASE WHEN relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END,
       CASE WHEN relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END) FROM tables
UNION ALL
SELECT t.object, 'policy', p.polname, p.polcmd::text FROM tables t JOIN pg_policy p ON p.polrelid = t.oid
UNION ALL
SELECT t.object, 'trigger', g.tgname, pg_get_triggerdef(g.oid)
  FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid WHERE NOT g.tgisinternal AND g.tgparentid = 0
UNION ALL
SELECT t.object, 'rule', r.rulename, pg_get_ruledef(r.oid) FROM tables t JOIN pg_rewrite r ON r.ev_class = t.oid
UNION ALL
SELECT object, 'partition key', NULL, pg_get_partkeydef(oid) FROM tables WHERE relkind = 'p'
UNION ALL
-- Of tables and their children, wherever these stand.
SELECT format('%I.%I', n.nspname, c.relname), 'place', NULL,
       CASE WHEN c.relispartition THEN format('PARTITION OF %I.%I %s', o.nspname, p.relname, pg_get_expr(c.relpartbound, c.oid))
            ELSE format('INHERITS %I.%I', o.nspname, p.relname) END
       || CASE WHEN i.inhdetachpending THEN ' DETACH PENDING' ELSE '' END
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace o ON o.oid = p.relnamespace
 WHERE p.relkind IN ('r', 'p', 'f') AND (o.nspname = $1 OR n.nspname = $1)
UNION ALL
-- Columns.
SELECT object, 'type', attname, type FROM columns WHERE parent IS NULL
UNION ALL
SELECT object, 'nullability', attname, nullable FROM columns WHERE parent IS NULL
UNION ALL
SELECT object, 'default', attname, value FROM columns WHERE parent IS NULL AND value IS NOT NULL
UNION ALL
SELECT c.object, 'nullability of its own', c.attname, c.nullable
  FROM columns c JOIN columns p ON p.attrelid = c.parent AND p.attname = c.attname WHERE c.nullable <> p.nullable
UNION ALL
SELECT c.object, 'default of its own', c.attname, coalesce(c.value, 'none')
  FROM columns c JOIN columns p ON p.attrelid = c.parent AND p.attname = c.attname WHERE c.value IS DISTINCT FROM p.value
UNION ALL
SELECT c.object, 'constraint', c.conname, c.value FROM constraints c
 WHERE NOT EXISTS (SELECT FROM constraints p WHERE p.oid = c.parent AND (p.conname, p.value) = (c.conname, c.value))
UNION ALL
SELECT object, 'index', coalesce(root, relname), CASE WHEN root IS NULL THEN value ELSE 'PART OF ' || root END || broken FROM indexes
UNION ALL
SELECT r.object, 'settings', NULL, format('AS %s INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s %s OWNED BY %s',
       format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
       CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END,
       coalesce((SELECT d.refobjid::regclass || '.' || a.attname
                   FROM pg_depend d JOIN pg_attribute a ON (a.attrelid, a.attnum) = (d.refobjid, d.refobjsubid)
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype IN ('a', 'i')
                    AND d.refclassid = 'pg_class'::regclass), 'NONE'))
  FROM relation r JOIN pg_sequence s ON s.seqrelid = r.oid
UNION ALL
-- Functions.
SELECT object, 'kind', NULL, CASE prokind WHEN 'f' THEN 'function' WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate'
       ELSE 'window function' END FROM routine
UNION ALL
SELECT object, 'owner', NULL, CASE proowner WHEN nspowner THEN 'the owner of the schema' ELSE pg_get_userbyid(proowner) END
  FROM routine
UNION ALL
SELECT object, 'signature', NULL, format('(%s) RETURNS %s', pg_get_function_arguments(oid), pg_get_function_result(oid)) FROM routine
UNION ALL
SELECT object, 'language', NULL, l.lanname FROM routine JOIN pg_language l ON l.oid = prolang
UNION ALL
SELECT object, 'security', NULL, CASE WHEN prosecdef THEN 'SECURITY DEFINER' ELSE 'SECURITY INVOKER' END FROM routine
UNION ALL
SELECT object, 'configuration', NULL, coalesce(array_to_string(proconfig, '; '), 'none') FROM routine
UNION ALL
SELECT object, 'behaviour', NULL, concat_ws(' ', CASE provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END,
       CASE WHEN proisstrict THEN 'STRICT' END, CASE WHEN proleakproof THEN 'LEAKPROOF' END, 'PARALLEL', proparallel) FROM routine
UNION ALL
SELECT object, 'body', NULL, 'of SHA-256 ' || encode(sha256(convert_to(
       replace(concat_ws(';', prosrc, probin, pg_get_function_sqlbody(oid)), $1, 'evident_outbox'), 'UTF8')), 'hex') FROM routine
UNION ALL
-- The publication.
SELECT 'publication ' || pubname, 'kind', NULL, 'publication' FROM pg_publication WHERE pubname = $1
UNION ALL
SELECT 'publication ' || pubname, 'operations', NULL, concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END, CASE WHEN pubupdate THEN 'update' END,
       CASE WHEN pubdelete THEN 'delete' END, CASE WHEN pubtruncate THEN 'truncate' END) FROM pg_publication WHERE pubname = $1
UNION ALL
SELECT 'publication ' || pubname, 'publish_via_partition_root', NULL, pubviaroot::text FROM pg_publication WHERE pubname = $1
UNION ALL
SELECT 'publication ' || p.pubname, 'tables', NULL, concat_ws('; ', CASE WHEN p.puballtables THEN 'ALL TABLES' END,
       (SELECT string_agg(format('%I.%I%s%s', n.nspname, c.relname,
                 ' (columns ' || array_to_string(r.prattrs::int2[], ', ') || ')', ' WHERE ' || pg_get_expr(r.prqual, r.prrelid)), '; '
                 ORDER BY n.nspname, c.relname)
          FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE r.prpubid = p.oid),
       (SELECT string_agg('SCHEMA ' || n.nspname, '; ' ORDER BY n.nspname)
          FROM pg_publication_namespace r JOIN pg_namespace n ON n.oid = r.pnnspid WHERE r.pnpubid = p.oid))
  FROM pg_publication p WHERE p.pubname = $1
