/**
 * The shipped functions of the log with pauses in them: each pause is a *gate*, an advisory lock (session, gate)
 * at which a session waits until the controller lets it through.
 */

import type pg from 'pg';

/** Advisory locks of session n are (GATE_CLASS + n, gate). */
export const GATE_CLASS = 7_000;

/** A place where a session pauses. `step` is the text of the comment, or the beginning of the statement. */
export interface Gate {
  readonly number: number;
  readonly of: string;
  readonly step: string;
}

/**
 * A gate has two keys, and a session comes to one and the other by turns: one that pauses at the same gate twice
 * running must not go through the key that was just let go.
 */
const PAUSE = `
  CREATE SCHEMA IF NOT EXISTS race;
  CREATE TABLE IF NOT EXISTS race.shipped (name text PRIMARY KEY, text text NOT NULL);
  CREATE OR REPLACE FUNCTION race.pause(p_gate int) RETURNS void LANGUAGE plpgsql AS $$
  DECLARE
    session text := coalesce(current_setting('race.session', true), '');
    turn    text := CASE current_setting('race.turn', true) WHEN '1' THEN '0' ELSE '1' END;
  BEGIN
    IF session <> '' THEN
      PERFORM set_config('race.turn', turn, false);
      PERFORM pg_advisory_lock_shared(${GATE_CLASS} + session::int, p_gate * 2 + turn::int);
      PERFORM pg_advisory_unlock_shared(${GATE_CLASS} + session::int, p_gate * 2 + turn::int);
    END IF;
  END $$`;

/** evident.append pauses at its comments "step: …"; the helpers before each statement of their outermost block. */
const STEPS_OF: Record<string, RegExp> = {
  append: /^ *-- step: (.*)$/gm,
  settle_repeats: /^ {2}((?:INSERT INTO|UPDATE|SELECT) \S+)/gm,
  add_child: /^ {2}(EXECUTE format\('\w+ \w+)/gm,
  put_hour: /^ {2}((?:INSERT INTO|SELECT) \S+)/gm,
};

/** Text of a function as the migrations left it, also when it has been replaced since. */
async function shippedText(owner: pg.Pool, name: string): Promise<string> {
  await owner.query(
    'INSERT INTO race.shipped VALUES ($1, pg_get_functiondef($2::regproc)) ON CONFLICT DO NOTHING',
    [name, `evident.${name}`],
  );
  const { rows } = await owner.query<{ text: string }>('SELECT text FROM race.shipped WHERE name = $1', [
    name,
  ]);
  return rows[0].text;
}

/** Installs evident.append with pauses. @param mutate changes its text first: a guard that is removed */
export async function installSteps(owner: pg.Pool, mutate = (append: string) => append): Promise<Gate[]> {
  const gates: Gate[] = [];
  await owner.query(PAUSE);
  for (const [name, pattern] of Object.entries(STEPS_OF)) {
    const shipped = await shippedText(owner, name);
    const before = gates.length;
    const paused = (name === 'append' ? mutate(shipped) : shipped).replace(pattern, (line, step: string) => {
      const pause = `PERFORM ${addGate(gates, name, step)};`;
      return name === 'append' ? `${line}\n  ${pause}` : `  ${pause}\n${line}`;
    });
    if (gates.length - before < 2) throw new Error(`evident.${name} has no steps any more: look at STEPS_OF`);
    await owner.query(name === 'append' ? pauseAtCounters(gates, paused) : paused);
  }
  await pauseAtIdentities(owner, gates);
  return gates;
}

function addGate(gates: Gate[], of: string, step: string): string {
  const number = gates.length;
  gates.push({ number, of, step });
  return `race.pause(${number})`;
}

/** Before each counter that is locked: a volatile column is computed behind the sort and below the row's lock. */
function pauseAtCounters(gates: Gate[], append: string): string {
  const from = ' FROM evident.partitions p WHERE p.tree = ANY (p_trees)';
  if (append.split(from).length !== 2)
    throw new Error('evident.append locks the counters in another way: look at pauseAtCounters');
  return append.replace(from, `, ${addGate(gates, 'append', 'a counter')}${from}`);
}

/** Before each identity that is taken. */
async function pauseAtIdentities(owner: pg.Pool, gates: Gate[]): Promise<void> {
  await owner.query(`
    CREATE OR REPLACE FUNCTION race.before_identity() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM ${addGate(gates, 'append', 'an identity')};
      RETURN NEW;
    END $$;
    CREATE OR REPLACE TRIGGER race BEFORE INSERT ON evident.identities FOR EACH ROW EXECUTE FUNCTION race.before_identity()`);
}
