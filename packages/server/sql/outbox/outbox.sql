-- The outbox in the application's database (design §4, Capture): rows written in the business transaction, in a
-- fixed ring of slots that are emptied by TRUNCATE. `evident outbox init` runs it as the schema's owner, as often as
-- one likes: it makes what is missing. What is there and wrong is put right around it (stores/postgres/outbox/
-- repair.ts), by what this file makes in an empty schema: nothing of it is written a second time.
--
-- No row is updated, and no table is made or dropped in operation. Settings are given before as
-- evident_outbox.slots and evident_outbox.slot_seconds, and hold from the first run on.

-- Both are groups: the application's role becomes a member of the first, the relay's of the second.
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['evident_outbox_writer', 'evident_outbox_relay'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
      END;
    END IF;
  END LOOP;
END $$;

-- What is made belongs to the owner of the schema, whoever runs this.
DO $$
DECLARE
  owner name := (SELECT r.rolname FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
                  WHERE n.nspname = 'evident_outbox');
BEGIN
  PERFORM set_config('evident_outbox.role', current_user, true);
  IF owner IS NULL THEN
    CREATE SCHEMA evident_outbox;
  ELSIF owner <> current_user THEN
    EXECUTE format('SET LOCAL ROLE %I', owner);
  END IF;
END $$;

CREATE TABLE IF NOT EXISTS evident_outbox.ring (
  one          boolean PRIMARY KEY DEFAULT true CHECK (one),
  slots        int NOT NULL CHECK (slots BETWEEN 4 AND 256),
  slot_seconds int NOT NULL CHECK (slot_seconds BETWEEN 1 AND 86400)
);
INSERT INTO evident_outbox.ring (slots, slot_seconds)
  SELECT current_setting('evident_outbox.slots')::int, current_setting('evident_outbox.slot_seconds')::int
   WHERE NOT EXISTS (SELECT FROM evident_outbox.ring);

CREATE SEQUENCE IF NOT EXISTS evident_outbox.row_id AS bigint;

-- What the relay leaves here to know this database by: a copy that is put back holds older tokens.
CREATE TABLE IF NOT EXISTS evident_outbox.heartbeat (
  one     boolean PRIMARY KEY DEFAULT true CHECK (one),
  -- The newest first. Many, because a relay that dies before it has stored its token leaves one for nothing.
  tokens  uuid[] NOT NULL DEFAULT '{}',
  beat_at timestamptz
);
INSERT INTO evident_outbox.heartbeat (one) SELECT true WHERE NOT EXISTS (SELECT FROM evident_outbox.heartbeat);

-- What init made, as the catalogue of this server showed it: whoever may read can check against it, without the
-- right to make anything.
CREATE TABLE IF NOT EXISTS evident_outbox.shape (
  one         boolean PRIMARY KEY DEFAULT true CHECK (one),
  fingerprint text NOT NULL,
  facts       jsonb NOT NULL
);

CREATE OR REPLACE FUNCTION evident_outbox.beat(p_token uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE evident_outbox.heartbeat SET tokens = (p_token || tokens)[:16], beat_at = clock_timestamp()
$$;

-- slot, xid, id and written_at come from their defaults alone: nobody is granted INSERT on them. A forged xid
-- would stand beyond the relay's horizon for ever, or behind its cursor.
-- clock_timestamp(), not now(): a transaction that runs for minutes would write into a slot of the past.
-- The checks bear the name of the column, so that a refused row names its field. No BETWEEN beside an AND: the
-- catalogue's text of it, read again by a dump's restore or by a repair, would come out with other parentheses.
CREATE TABLE IF NOT EXISTS evident_outbox.events (
  slot       smallint NOT NULL,
  xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
  id         bigint NOT NULL DEFAULT nextval('evident_outbox.row_id'),
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  event_id   uuid NOT NULL,
  tenant     text COLLATE "C" NOT NULL,
  type       text COLLATE "C" NOT NULL,
  key        text COLLATE "C" NOT NULL,
  schema     int NOT NULL,
  meta       text COLLATE "C",
  body       text COLLATE "C" NOT NULL,
  CONSTRAINT tenant CHECK (tenant ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'),
  CONSTRAINT type CHECK (type ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'),
  CONSTRAINT key CHECK (octet_length(key) >= 1 AND octet_length(key) <= 512 AND key !~ '[\x01-\x1f]'),
  CONSTRAINT schema CHECK (schema >= 0),
  CONSTRAINT meta CHECK (octet_length(meta) >= 2 AND octet_length(meta) <= 2048 AND meta !~ '[\x01-\x1f]'),
  CONSTRAINT body CHECK (octet_length(body) BETWEEN 1 AND 16777216)
) PARTITION BY LIST (slot);

-- Each statement that locks the table is asked for only when something is missing: this runs beside the business.
DO $$
DECLARE
  ring  evident_outbox.ring;
BEGIN
  SELECT * INTO STRICT ring FROM evident_outbox.ring;
  IF NOT EXISTS (SELECT FROM pg_attrdef d JOIN pg_attribute a ON (a.attrelid, a.attnum) = (d.adrelid, d.adnum)
                  WHERE a.attrelid = 'evident_outbox.events'::regclass AND a.attname = 'slot') THEN
    EXECUTE format('ALTER TABLE evident_outbox.events ALTER COLUMN slot SET DEFAULT
                      (floor(extract(epoch FROM clock_timestamp()) / %s)::bigint %% %s)::smallint',
                   ring.slot_seconds, ring.slots);
  END IF;

  -- All slots, no default partition: a row that fitted nowhere would be a mistake of ours, and shall be heard of.
  -- No autovacuum: rows are never updated, and a slot is emptied by TRUNCATE, so there is nothing to clean up. With it
  -- 1.5 M rows that waited were written once more (1 GB of write-ahead log in 30 s), and the p99 of the business went
  -- from 4 ms to 39 (November 2026). Against wraparound PostgreSQL vacuums all the same.
  FOR slot IN 0 .. ring.slots - 1 LOOP
    IF to_regclass('evident_outbox.events_' || slot) IS NULL THEN
      BEGIN
        EXECUTE format('CREATE TABLE evident_outbox.%I PARTITION OF evident_outbox.events FOR VALUES IN (%s)
                          WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false)',
                       'events_' || slot, slot);
      EXCEPTION WHEN invalid_object_definition OR check_violation THEN
        -- Another partition has its value, or a default partition its rows: the check after this names both.
        RAISE WARNING 'slot % can''t be made: %', slot, SQLERRM;
      END;
    END IF;
  END LOOP;
  IF to_regclass('evident_outbox.events_order') IS NULL THEN
    CREATE INDEX events_order ON evident_outbox.events (xid, id);
  END IF;
END $$;

-- Empties a slot, if all that stands in it is done with. Answers what became of it:
--   emptied   · empty already
--   current   it is being written to, or is the next to be
--   busy      somebody reads it, or an insert into it is open: tried again later, nobody waits
--   behind    a row stands beyond (p_xid, p_id): not relayed, or not sealed
--   cursor    it holds the row (p_row_xid, p_row_id) by which the relay recognises this database
--   restored  it holds rows of a database that this one was restored from, whose xids are in this one's future,
--             and they are not the p_restored that the relay has read
-- Lock, then look: looked at before the lock, a row committed in between would be lost. Under READ COMMITTED each
-- statement has a snapshot of its own; under any other the look would be older than the lock.
CREATE OR REPLACE FUNCTION evident_outbox.empty_slot(
  p_slot smallint, p_xid xid8, p_id bigint, p_row_xid xid8, p_row_id bigint, p_restored bigint
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ring     evident_outbox.ring;
  now_slot int;
  behind   boolean;
  restored bigint;
  kept     boolean;
  held     boolean;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a slot is emptied under READ COMMITTED only' USING ERRCODE = 'EV012';
  END IF;
  SELECT * INTO STRICT ring FROM evident_outbox.ring;
  IF p_slot NOT BETWEEN 0 AND ring.slots - 1 THEN
    RAISE EXCEPTION 'there is no slot %', p_slot USING ERRCODE = 'EV012';
  END IF;
  now_slot := floor(extract(epoch FROM clock_timestamp()) / ring.slot_seconds)::bigint % ring.slots;
  IF p_slot = now_slot OR p_slot = (now_slot + 1) % ring.slots THEN
    RETURN 'current';
  END IF;

  -- step: lock
  BEGIN
    EXECUTE format('LOCK TABLE ONLY evident_outbox.%I IN ACCESS EXCLUSIVE MODE NOWAIT', 'events_' || p_slot);
  EXCEPTION WHEN lock_not_available THEN
    RETURN 'busy';
  END;

  -- step: look
  -- No insert into the slot is open now: a row whose xid is not below the snapshot's end was not written here.
  -- The first row beyond the cursor by the index: an EXISTS would read the whole slot, under this lock.
  EXECUTE format('SELECT coalesce((SELECT xid FROM evident_outbox.%I WHERE (xid, id) > ($1, $2) ORDER BY xid, id LIMIT 1)
                                  < pg_snapshot_xmax(pg_current_snapshot()), false),
                         EXISTS (SELECT FROM evident_outbox.%1$I WHERE (xid, id) = ($3, $4)),
                         EXISTS (SELECT FROM evident_outbox.%1$I),
                         (SELECT count(*) FROM evident_outbox.%1$I WHERE (xid, id) > ($1, $2) AND xid >= pg_snapshot_xmax(pg_current_snapshot()))',
                 'events_' || p_slot)
    INTO behind, kept, held, restored USING p_xid, p_id, p_row_xid, p_row_id;
  IF behind THEN RETURN 'behind'; END IF;
  IF restored <> p_restored THEN RETURN 'restored'; END IF;
  IF kept THEN RETURN 'cursor'; END IF;
  IF NOT held THEN RETURN 'empty'; END IF;

  -- step: truncate
  EXECUTE format('TRUNCATE ONLY evident_outbox.%I', 'events_' || p_slot);
  RETURN 'emptied';
END $$;

-- How much the outbox holds, without reading it: bytes on disk of all slots, and the last row id given out.
CREATE OR REPLACE FUNCTION evident_outbox.pressure(OUT bytes bigint, OUT last_id bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT (SELECT coalesce(sum(pg_total_relation_size(i.inhrelid)), 0)::bigint FROM pg_inherits i
           WHERE i.inhparent = 'evident_outbox.events'::regclass),
         (SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM evident_outbox.row_id s)
$$;

-- Rights, from nothing: what was granted beside these is taken away again, and the owner gets back what it took
-- from itself. What belongs to somebody else is not ours.
DO $$
DECLARE
  space  oid := 'evident_outbox'::regnamespace;
  entry  record;
BEGIN
  FOR entry IN
    WITH object AS (
      SELECT 'ON SCHEMA' AS place, quote_ident(nspname) AS name, nspowner AS owner,
             coalesce(nspacl, acldefault('n', nspowner)) AS acl
        FROM pg_namespace WHERE oid = space
      UNION ALL
      SELECT CASE relkind WHEN 'S' THEN 'ON SEQUENCE' ELSE 'ON TABLE' END, oid::regclass::text, relowner,
             coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
        FROM pg_class WHERE relnamespace = space AND relkind IN ('r', 'p', 'S')
      UNION ALL
      SELECT 'ON ROUTINE', oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner))
        FROM pg_proc WHERE pronamespace = space
      UNION ALL
      SELECT format('(%I) ON TABLE', a.attname), a.attrelid::regclass::text, c.relowner, a.attacl
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
       WHERE c.relnamespace = space AND a.attacl IS NOT NULL
    )
    SELECT o.place, o.name, coalesce(quote_ident(r.rolname), 'PUBLIC') AS grantee
      FROM object o CROSS JOIN LATERAL aclexplode(o.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
     WHERE o.owner = (SELECT nspowner FROM pg_namespace WHERE oid = space) AND a.grantee <> o.owner
     GROUP BY 1, 2, 3
  LOOP
    EXECUTE format('REVOKE ALL %s %s FROM %s CASCADE', entry.place, entry.name, entry.grantee);
  END LOOP;

  FOR entry IN
    SELECT 'SCHEMA' AS kind, quote_ident(nspname) AS name FROM pg_namespace WHERE oid = space
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.oid = space AND c.relkind IN ('r', 'p', 'S') AND c.relowner = n.nspowner
    UNION ALL
    SELECT 'ROUTINE', p.oid::regprocedure::text
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.oid = space AND p.proowner = n.nspowner
  LOOP
    EXECUTE format('GRANT ALL ON %s %s TO CURRENT_USER', entry.kind, entry.name);
  END LOOP;
END $$;
GRANT USAGE ON SCHEMA evident_outbox TO evident_outbox_writer, evident_outbox_relay;
GRANT INSERT (event_id, tenant, type, key, schema, meta, body) ON evident_outbox.events TO evident_outbox_writer;
GRANT USAGE ON SEQUENCE evident_outbox.row_id TO evident_outbox_writer;
GRANT EXECUTE ON FUNCTION evident_outbox.pressure() TO evident_outbox_writer, evident_outbox_relay;
GRANT SELECT ON evident_outbox.events, evident_outbox.ring, evident_outbox.row_id, evident_outbox.heartbeat,
                evident_outbox.shape TO evident_outbox_relay;
GRANT EXECUTE ON FUNCTION evident_outbox.beat(uuid) TO evident_outbox_relay;
GRANT EXECUTE ON FUNCTION evident_outbox.empty_slot(smallint, xid8, bigint, xid8, bigint, bigint) TO evident_outbox_relay;

-- For the relay from the write-ahead log. As root: slots come and go from its sight as one table. Inserts only:
-- emptying a slot is no news. Made by whoever runs this: the owner of the schema may lack the right.
DO $$
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', current_setting('evident_outbox.role'));
  IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'evident_outbox') THEN
    CREATE PUBLICATION evident_outbox FOR TABLE evident_outbox.events
      WITH (publish = 'insert', publish_via_partition_root = true);
  END IF;
END $$;
