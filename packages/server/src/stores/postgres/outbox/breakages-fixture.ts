/** What an operator, a restore or a migration may do to an outbox, one thing at a time, for `check.pg.test.ts`. */

export interface Breakage {
  readonly name: string;
  readonly sql: string;
  /** The deviation that names it. */
  readonly object: string;
  readonly what: RegExp;
  /** How many deviations there are in all; 1 unless it says otherwise. */
  readonly deviations?: number;
  /** The shape itself is broken: until init has run nothing else can be compared. */
  readonly ofShape?: boolean;
}

const EVENTS = 'evident_outbox.events';
const EMPTY_SLOT = 'evident_outbox.empty_slot(smallint, xid8, bigint, xid8, bigint, bigint)';
const PUBLICATION = 'publication evident_outbox';
const OTHER = 'evident_test_other';

const on = (object: string, what: RegExp, cases: Record<string, string>): Breakage[] =>
  Object.entries(cases).map(([name, sql]) => ({ name, sql, object, what }));

const MISSING: Breakage[] = [
  ...on('evident_outbox.events_1', /^is missing$/, { 'a slot dropped': `DROP TABLE ${EVENTS}_1` }),
  {
    name: 'a slot renamed',
    sql: `ALTER TABLE ${EVENTS}_1 RENAME TO renamed`,
    object: 'evident_outbox.events_1',
    what: /^is missing$/,
    deviations: 2,
  },
  ...on('evident_outbox.heartbeat', /^is missing$/, {
    'heartbeat dropped': 'DROP TABLE evident_outbox.heartbeat',
  }),
  ...on('evident_outbox.heartbeat', /^rows: 0 /, {
    'the row of tokens deleted': 'DELETE FROM evident_outbox.heartbeat',
  }),
  ...on('evident_outbox.ring', /^is missing$/, { 'ring dropped': 'DROP TABLE evident_outbox.ring' }),
  ...on('evident_outbox.ring', /^slots: 5 instead of 4$/, {
    'another number of slots': 'UPDATE evident_outbox.ring SET slots = 5',
  }),
  {
    name: 'no number of slots',
    sql: 'DELETE FROM evident_outbox.ring',
    object: 'evident_outbox.ring',
    what: /^slots: none instead of 4$/,
    deviations: 2,
  },
  ...on(EMPTY_SLOT, /^is missing$/, {
    'a function renamed': 'ALTER FUNCTION evident_outbox.empty_slot RENAME TO renamed',
  }),
  ...on('evident_outbox.pressure()', /^is missing$/, {
    'a function dropped': 'DROP FUNCTION evident_outbox.pressure()',
  }),
];

const COLUMNS: Breakage[] = [
  ...on(EVENTS, /^nullability tenant: NULL instead of NOT NULL$/, {
    'NOT NULL dropped': `ALTER TABLE ${EVENTS} ALTER tenant DROP NOT NULL`,
  }),
  ...on(EVENTS, /^nullability meta: NOT NULL instead of NULL$/, {
    'NOT NULL added': `ALTER TABLE ${EVENTS} ALTER meta SET NOT NULL`,
  }),
  ...on(`${EVENTS}_1`, /^nullability of its own meta: NOT NULL/, {
    'NOT NULL added to a slot': `ALTER TABLE ${EVENTS}_1 ALTER meta SET NOT NULL`,
  }),
  ...['slot', 'xid', 'id', 'written_at'].flatMap((column) =>
    on(EVENTS, new RegExp(`^default ${column}: none instead of .+$`), {
      [`DEFAULT of ${column} dropped`]: `ALTER TABLE ${EVENTS} ALTER ${column} DROP DEFAULT`,
    }),
  ),
  ...Object.entries({ slot: '1', xid: "'7'", id: '1', written_at: 'now()' }).flatMap(([column, value]) =>
    on(EVENTS, new RegExp(`^default ${column}: .+ instead of .*\\(.+$`), {
      [`DEFAULT of ${column} changed`]: `ALTER TABLE ${EVENTS} ALTER ${column} SET DEFAULT ${value}`,
    }),
  ),
  ...on(EVENTS, /^default key: 'x'::text instead of none$/, {
    'a DEFAULT added': `ALTER TABLE ${EVENTS} ALTER key SET DEFAULT 'x'`,
  }),
  ...on(`${EVENTS}_1`, /^default of its own xid: '7'::xid8 /, {
    'DEFAULT of a slot changed': `ALTER TABLE ${EVENTS}_1 ALTER xid SET DEFAULT '7'`,
  }),
];

const CHECKS: Breakage[] = [
  ...['tenant', 'type', 'key', 'schema', 'meta', 'body'].flatMap((column) =>
    on(EVENTS, new RegExp(`^constraint ${column}: none instead of CHECK `), {
      [`CHECK of ${column} dropped`]: `ALTER TABLE ${EVENTS} DROP CONSTRAINT ${column}`,
    }),
  ),
  ...on(EVENTS, /^constraint schema: CHECK \(\(schema > 0\)\) instead of CHECK /, {
    'a CHECK with another condition': `ALTER TABLE ${EVENTS} DROP CONSTRAINT schema, ADD CONSTRAINT schema CHECK (schema > 0)`,
  }),
  ...on(EVENTS, /^constraint schema: CHECK \(\(schema >= 0\)\) NOT VALID instead of CHECK /, {
    'a CHECK that is not validated': `ALTER TABLE ${EVENTS} DROP CONSTRAINT schema; ALTER TABLE ${EVENTS} ADD CONSTRAINT schema CHECK (schema >= 0) NOT VALID`,
  }),
  ...on(EVENTS, /^constraint more: CHECK .* instead of none$/, {
    'a CHECK added': `ALTER TABLE ${EVENTS} ADD CONSTRAINT more CHECK (schema < 9)`,
  }),
  ...on(`${EVENTS}_1`, /^constraint more: CHECK /, {
    'a CHECK added to a slot': `ALTER TABLE ${EVENTS}_1 ADD CONSTRAINT more CHECK (schema < 9)`,
  }),
  ...['ring_one_check', 'ring_slots_check', 'ring_slot_seconds_check'].flatMap((name) =>
    on('evident_outbox.ring', new RegExp(`^constraint ${name}: none instead of CHECK `), {
      [`${name} dropped`]: `ALTER TABLE evident_outbox.ring DROP CONSTRAINT ${name}`,
    }),
  ),
  ...on('evident_outbox.ring', /^constraint ring_pkey: none instead of PRIMARY KEY/, {
    'the key of ring dropped': 'ALTER TABLE evident_outbox.ring DROP CONSTRAINT ring_pkey',
  }),
];

const SLOTS: Breakage[] = [
  ...on(`${EVENTS}_1`, /^place: none instead of PARTITION OF /, {
    'a slot detached': `ALTER TABLE ${EVENTS} DETACH PARTITION ${EVENTS}_1`,
  }),
  ...on(`${EVENTS}_3`, /^place: none instead of PARTITION OF /, {
    'a slot with rows detached': `ALTER TABLE ${EVENTS} DETACH PARTITION ${EVENTS}_3`,
  }),
  ...on(`${EVENTS}_1`, /^place: PARTITION OF evident_outbox.events FOR VALUES IN \('9'\) instead of /, {
    'a slot bound to another value': `ALTER TABLE ${EVENTS} DETACH PARTITION ${EVENTS}_1; ALTER TABLE ${EVENTS} ATTACH PARTITION ${EVENTS}_1 FOR VALUES IN (9)`,
  }),
  {
    name: 'two slots exchanged',
    sql: `ALTER TABLE ${EVENTS} DETACH PARTITION ${EVENTS}_1; ALTER TABLE ${EVENTS} DETACH PARTITION ${EVENTS}_2;
          ALTER TABLE ${EVENTS} ATTACH PARTITION ${EVENTS}_1 FOR VALUES IN (2); ALTER TABLE ${EVENTS} ATTACH PARTITION ${EVENTS}_2 FOR VALUES IN (1)`,
    object: `${EVENTS}_1`,
    what: /^place: PARTITION OF evident_outbox.events FOR VALUES IN \('2'\)/,
    deviations: 2,
  },
  ...on('evident_outbox.events_77', /^place: PARTITION OF .* FOR VALUES IN \('77'\) instead of none$/, {
    'a slot too many': `CREATE TABLE ${EVENTS}_77 PARTITION OF ${EVENTS} FOR VALUES IN (77)`,
  }),
  ...on('public."any where"', /^place: PARTITION OF evident_outbox.events DEFAULT instead of none$/, {
    'a default partition': `CREATE TABLE public."any where" PARTITION OF ${EVENTS} DEFAULT`,
  }),
  ...on('public.heir', /^place: INHERITS evident_outbox.heartbeat instead of none$/, {
    'a child elsewhere': 'CREATE TABLE public.heir () INHERITS (evident_outbox.heartbeat)',
  }),
];

const OWNERS: Breakage[] = Object.entries({
  [EVENTS]: `ALTER TABLE ${EVENTS}`,
  [`${EVENTS}_1`]: `ALTER TABLE ${EVENTS}_1`,
  'evident_outbox.heartbeat': 'ALTER TABLE evident_outbox.heartbeat',
  'evident_outbox.row_id': 'ALTER SEQUENCE evident_outbox.row_id',
  [EMPTY_SLOT]: 'ALTER FUNCTION evident_outbox.empty_slot',
}).map(([object, alter]) => ({
  name: `another owner of ${object}`,
  sql: `${alter} OWNER TO ${OTHER}`,
  object,
  what: /^owner: evident_test_other instead of the owner of the schema$/,
}));

const writer = (right: string): RegExp =>
  new RegExp(`^rights of evident_outbox_writer: ${right} instead of `);
const RIGHTS: Breakage[] = [
  ...on(EVENTS, writer('INSERT'), {
    'INSERT on the table': `GRANT INSERT ON ${EVENTS} TO evident_outbox_writer`,
  }),
  ...on(EVENTS, writer('SELECT'), {
    'SELECT on the table': `GRANT SELECT ON ${EVENTS} TO evident_outbox_writer`,
  }),
  ...on(EVENTS, /^rights on the column xid of evident_outbox_writer: INSERT instead of none$/, {
    'INSERT on the column xid': `GRANT INSERT (xid) ON ${EVENTS} TO evident_outbox_writer`,
  }),
  ...on(EVENTS, /^rights on the column body of evident_outbox_writer: none instead of INSERT$/, {
    'INSERT on a column revoked': `REVOKE INSERT (body) ON ${EVENTS} FROM evident_outbox_writer`,
  }),
  ...on(`${EVENTS}_1`, writer('INSERT'), {
    'INSERT on a slot': `GRANT INSERT ON ${EVENTS}_1 TO evident_outbox_writer`,
  }),
  ...on(`${EVENTS}_1`, /^rights of the owner: .* instead of .*TRUNCATE/, {
    "the owner's TRUNCATE revoked": `REVOKE TRUNCATE ON ${EVENTS}_1 FROM CURRENT_USER`,
  }),
  ...on(EVENTS, /^rights of PUBLIC: SELECT instead of none$/, {
    'SELECT for PUBLIC': `GRANT SELECT ON ${EVENTS} TO PUBLIC`,
  }),
  ...on(EVENTS, /^rights of evident_test_other: DELETE instead of none$/, {
    'DELETE for another': `GRANT DELETE ON ${EVENTS} TO ${OTHER}`,
  }),
  {
    name: 'a right handed on',
    sql: `GRANT UPDATE ON ${EVENTS} TO ${OTHER} WITH GRANT OPTION; GRANT USAGE ON SCHEMA evident_outbox TO ${OTHER};
          SET ROLE ${OTHER}; GRANT UPDATE ON ${EVENTS} TO PUBLIC; RESET ROLE`,
    object: EVENTS,
    what: /^rights of evident_test_other: UPDATE WITH GRANT OPTION instead of none$/,
    deviations: 3,
  },
  ...on('evident_outbox.row_id', writer('UPDATE, USAGE'), {
    'UPDATE on the sequence': 'GRANT UPDATE ON SEQUENCE evident_outbox.row_id TO evident_outbox_writer',
  }),
  ...on('evident_outbox.row_id', writer('none'), {
    'USAGE on the sequence revoked':
      'REVOKE USAGE ON SEQUENCE evident_outbox.row_id FROM evident_outbox_writer',
  }),
  ...on('schema evident_outbox', /^rights of PUBLIC: CREATE instead of none$/, {
    'CREATE on the schema': 'GRANT CREATE ON SCHEMA evident_outbox TO PUBLIC',
  }),
  ...on('schema evident_outbox', writer('none'), {
    'USAGE on the schema revoked': 'REVOKE USAGE ON SCHEMA evident_outbox FROM evident_outbox_writer',
  }),
  ...on(EMPTY_SLOT, writer('EXECUTE'), {
    'empty_slot for the writer':
      'GRANT EXECUTE ON FUNCTION evident_outbox.empty_slot TO evident_outbox_writer',
  }),
  ...on('evident_outbox.beat(uuid)', /^rights of PUBLIC: EXECUTE instead of none$/, {
    'beat for PUBLIC': 'GRANT EXECUTE ON FUNCTION evident_outbox.beat TO PUBLIC',
  }),
];

const FUNCTIONS: Breakage[] = [
  ...on('evident_outbox.beat(uuid)', /^body: of SHA-256 /, {
    'another body': `CREATE OR REPLACE FUNCTION evident_outbox.beat(p_token uuid) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT'`,
  }),
  ...on(EMPTY_SLOT, /^security: SECURITY INVOKER instead of SECURITY DEFINER$/, {
    'not SECURITY DEFINER': 'ALTER FUNCTION evident_outbox.empty_slot SECURITY INVOKER',
  }),
  ...on(EMPTY_SLOT, /^configuration: none instead of search_path=pg_catalog, pg_temp$/, {
    'search_path not fixed': 'ALTER FUNCTION evident_outbox.empty_slot RESET search_path',
  }),
  ...on('evident_outbox.pressure()', /^behaviour: VOLATILE /, {
    'another behaviour': 'ALTER FUNCTION evident_outbox.pressure() VOLATILE',
  }),
  {
    name: 'another result',
    sql: `DROP FUNCTION evident_outbox.beat(uuid); CREATE FUNCTION evident_outbox.beat(p_token uuid) RETURNS text LANGUAGE sql AS 'SELECT NULL'`,
    object: 'evident_outbox.beat(uuid)',
    what: /^signature: .* RETURNS text instead of .* RETURNS void$/,
    deviations: 6,
  },
  ...on('evident_outbox.beat(text)', /^kind: function instead of none$/, {
    'one more of the same name': `CREATE FUNCTION evident_outbox.beat(p_token text) RETURNS void LANGUAGE sql AS 'SELECT'`,
  }),
];

const remake = (definition: string): string =>
  `DROP PUBLICATION evident_outbox; CREATE PUBLICATION evident_outbox ${definition}`;
const ours = "publish = 'insert', publish_via_partition_root = true";
const PUBLICATIONS: Breakage[] = [
  ...on(PUBLICATION, /^is missing$/, { 'no publication': 'DROP PUBLICATION evident_outbox' }),
  ...on(PUBLICATION, /^tables: evident_outbox.heartbeat instead of evident_outbox.events$/, {
    'another table published': 'ALTER PUBLICATION evident_outbox SET TABLE evident_outbox.heartbeat',
  }),
  ...on(PUBLICATION, /^tables: evident_outbox.events \(columns .*\) instead of /, {
    'some columns published': `ALTER PUBLICATION evident_outbox SET TABLE ${EVENTS} (slot, id)`,
  }),
  ...on(PUBLICATION, /^tables: evident_outbox.events WHERE /, {
    'some rows published': `ALTER PUBLICATION evident_outbox SET TABLE ${EVENTS} WHERE (schema = 1)`,
  }),
  ...on(PUBLICATION, /^tables: ALL TABLES instead of /, {
    'all tables published': remake(`FOR ALL TABLES WITH (${ours})`),
  }),
  ...on(PUBLICATION, /^tables: SCHEMA public instead of /, {
    'a schema published': remake(`FOR TABLES IN SCHEMA public WITH (${ours})`),
  }),
  ...on(PUBLICATION, /^operations: insert, delete, truncate instead of insert$/, {
    'more than inserts published':
      "ALTER PUBLICATION evident_outbox SET (publish = 'insert, delete, truncate')",
  }),
  ...on(PUBLICATION, /^publish_via_partition_root: false instead of true$/, {
    'slots published by themselves':
      'ALTER PUBLICATION evident_outbox SET (publish_via_partition_root = false)',
  }),
];

const INDEXES: Breakage[] = [
  ...on(EVENTS, /^index events_order: none instead of CREATE INDEX /, {
    'no index': 'DROP INDEX evident_outbox.events_order',
  }),
  ...on(EVENTS, /^index events_order: .* INVALID instead of CREATE INDEX /, {
    'an invalid index': `DROP INDEX evident_outbox.events_order; CREATE INDEX events_order ON ONLY ${EVENTS} (xid, id)`,
  }),
  ...on(EVENTS, /^index events_order: .*\(id\) instead of CREATE INDEX /, {
    'another index of its name': `DROP INDEX evident_outbox.events_order; CREATE INDEX events_order ON ${EVENTS} (id)`,
  }),
  ...on(EVENTS, /^index once: CREATE UNIQUE INDEX .* instead of none$/, {
    'a unique index': `CREATE UNIQUE INDEX once ON ${EVENTS} (slot, id)`,
  }),
  ...on(`${EVENTS}_1`, /^index once: CREATE UNIQUE INDEX /, {
    'a unique index on a slot': `CREATE UNIQUE INDEX once ON ${EVENTS}_1 (tenant)`,
  }),
];

const trigger = 'FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()';
const GUARDS: Breakage[] = [
  ...on(EVENTS, /^trigger before: CREATE TRIGGER .* instead of none$/, {
    'a trigger': `CREATE TRIGGER before BEFORE UPDATE ON ${EVENTS} ${trigger}`,
  }),
  ...on(`${EVENTS}_1`, /^trigger before: CREATE TRIGGER /, {
    'a trigger on a slot': `CREATE TRIGGER before BEFORE UPDATE ON ${EVENTS}_1 ${trigger}`,
  }),
  ...on(EVENTS, /^rule nothing: CREATE RULE /, {
    'a rule': `CREATE RULE nothing AS ON INSERT TO ${EVENTS} DO INSTEAD NOTHING`,
  }),
  ...on(EVENTS, /^row security: ENABLE ROW LEVEL SECURITY, NO FORCE /, {
    'row security': `ALTER TABLE ${EVENTS} ENABLE ROW LEVEL SECURITY`,
  }),
  ...on('evident_outbox.heartbeat', /^row security: DISABLE ROW LEVEL SECURITY, FORCE /, {
    'row security for the owner': 'ALTER TABLE evident_outbox.heartbeat FORCE ROW LEVEL SECURITY',
  }),
  ...on(EVENTS, /^policy mine: /, {
    'a policy': `CREATE POLICY mine ON ${EVENTS} USING (tenant = current_user)`,
  }),
  ...on(
    `${EVENTS}_3`,
    /^storage parameters: toast.autovacuum_enabled=false instead of autovacuum_enabled=false, /,
    {
      'autovacuum for a slot': `ALTER TABLE ${EVENTS}_3 RESET (autovacuum_enabled)`,
    },
  ),
  ...on(`${EVENTS}_1`, /^storage parameters: autovacuum_enabled=false, fillfactor=50, toast/, {
    'other storage for a slot': `ALTER TABLE ${EVENTS}_1 SET (fillfactor = 50, toast.autovacuum_enabled = true)`,
  }),
  ...on(`${EVENTS}_3`, /^persistence: UNLOGGED instead of LOGGED$/, {
    'a slot unlogged': `ALTER TABLE ${EVENTS}_3 SET UNLOGGED`,
  }),
  ...on('evident_outbox.heartbeat', /^persistence: UNLOGGED/, {
    'heartbeat unlogged': 'ALTER TABLE evident_outbox.heartbeat SET UNLOGGED',
  }),
  ...on('evident_outbox.row_id', /^persistence: UNLOGGED/, {
    'the sequence unlogged': 'ALTER SEQUENCE evident_outbox.row_id SET UNLOGGED',
  }),
];

const SEQUENCES: Breakage[] = on(
  'evident_outbox.row_id',
  /^settings: AS .* instead of AS bigint .* NO CYCLE OWNED BY NONE$/,
  {
    'a sequence that begins again': 'ALTER SEQUENCE evident_outbox.row_id MAXVALUE 100 CYCLE',
    'a sequence of other steps': 'ALTER SEQUENCE evident_outbox.row_id INCREMENT BY 2 CACHE 50',
    'a sequence of smaller numbers': 'ALTER SEQUENCE evident_outbox.row_id AS int',
    'a sequence that goes with a column': `ALTER SEQUENCE evident_outbox.row_id OWNED BY ${EVENTS}.id`,
  },
);

const SHAPES: Breakage[] = [
  ...on('evident_outbox.shape', /^is missing, so nothing says what init made$/, {
    'shape dropped': 'DROP TABLE evident_outbox.shape',
  }),
  ...on('evident_outbox.shape', /^does not say what init made$/, {
    'shape emptied': 'DELETE FROM evident_outbox.shape',
  }),
  ...on('evident_outbox.shape', /^was written by another version/, {
    'shape of another version': "UPDATE evident_outbox.shape SET fingerprint = 'x'",
  }),
].map((one) => ({ ...one, ofShape: true }));

export const BREAKAGES: readonly Breakage[] = [
  ...MISSING,
  ...COLUMNS,
  ...CHECKS,
  ...SLOTS,
  ...OWNERS,
  ...RIGHTS,
  ...FUNCTIONS,
  ...PUBLICATIONS,
  ...INDEXES,
  ...GUARDS,
  ...SEQUENCES,
  ...SHAPES,
];
