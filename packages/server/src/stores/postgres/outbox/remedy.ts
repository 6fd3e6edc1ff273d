/** For each difference the statements that remove it. None touches a row of the outbox. */

import pg from 'pg';
import { type Difference, type Facts, keyOf, SCHEMA } from './facts.ts';

export interface Remedy {
  /** Before `outbox.sql` makes what is missing. */
  readonly takeAway?: string;
  /** After it. */
  readonly putRight?: string;
}

const quote = pg.escapeIdentifier;

const block = (body: string): string => `DO $evident$ BEGIN ${body} END $evident$`;

/** Differences without a remedy are put right by `outbox.sql` itself, such as rights, or can't be put right. */
export function remedyOf(one: Difference, expected: Facts): Remedy {
  const { object, fact } = one;
  const kind = expected.get(keyOf({ object, fact: 'kind', part: null }))?.value;
  if (kind === 'publication') {
    return one.actual === null
      ? {}
      : { takeAway: `DROP PUBLICATION IF EXISTS ${object.slice('publication '.length)}` };
  }
  if (fact === 'owner') return ownerRemedy(object, kind);
  if (object.endsWith(')')) {
    // Everything else of a function is replaced; another result needs another function, and one of the same name
    // with other arguments would be called by mistake.
    const isOther = fact === 'signature' || fact === 'kind' || fact === 'language';
    return isOther && one.actual !== null ? { takeAway: `DROP ROUTINE IF EXISTS ${object}` } : {};
  }
  if (kind === 'sequence') return sequenceRemedy(one);
  return tableRemedy(one, expected);
}

function ownerRemedy(object: string, kind: string | undefined): Remedy {
  const type = kind === 'sequence' ? 'SEQUENCE' : object.endsWith(')') ? 'ROUTINE' : 'TABLE';
  return {
    takeAway: block(
      `EXECUTE format('ALTER ${type} ${object.replaceAll("'", "''")} OWNER TO %I',
         (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = '${SCHEMA}'));`,
    ),
  };
}

function sequenceRemedy({ object, fact, expected }: Difference): Remedy {
  if (fact === 'persistence') return { putRight: `ALTER SEQUENCE ${object} SET ${expected}` };
  if (fact === 'settings') return { putRight: `ALTER SEQUENCE ${object} ${expected}` };
  return {};
}

function tableRemedy(one: Difference, expected: Facts): Remedy {
  const { object, fact, actual } = one;
  const part = quote(one.part ?? '');
  switch (fact) {
    case 'persistence':
      return { putRight: `ALTER TABLE ${object} SET ${one.expected}` };
    case 'storage parameters':
      return { takeAway: resetParameters(object, actual), putRight: setParameters(object, one.expected) };
    case 'row security':
      return { takeAway: `ALTER TABLE ${object} ${one.expected}` };
    case 'policy':
    case 'trigger':
    case 'rule':
      return { takeAway: `DROP ${fact} ${part} ON ${object}` };
    case 'constraint':
      return {
        takeAway: actual === null ? undefined : `ALTER TABLE ${object} DROP CONSTRAINT ${part}`,
        putRight: one.expected === null ? undefined : addConstraint(object, part, one.expected),
      };
    case 'index':
      // A part of the index of all slots goes with the whole.
      return actual === null ? {} : { takeAway: `DROP INDEX IF EXISTS ${SCHEMA}.${part}` };
    case 'place':
      return placeRemedy(one);
    case 'slots':
    case 'slot_seconds':
      return one.expected === null || actual === null
        ? {}
        : { putRight: `UPDATE ${object} SET ${fact} = ${one.expected}` };
    default:
      return columnRemedy(one, expected);
  }
}

function columnRemedy(one: Difference, expected: Facts): Remedy {
  const { object, fact } = one;
  const column = quote(one.part ?? '');
  const alter = (table: string, to: string) => ({
    putRight: `ALTER TABLE ${table} ALTER COLUMN ${column} ${to}`,
  });
  const setDefault = (table: string, value: string | null) =>
    alter(table, value === null ? 'DROP DEFAULT' : `SET DEFAULT ${value}`);
  if (fact === 'default') return setDefault(object, one.expected);
  if (fact === 'default of its own') {
    const parents = keyOf({ object: `${SCHEMA}.events`, fact: 'default', part: one.part });
    return setDefault(object, expected.get(parents)?.value ?? null);
  }
  if (fact === 'nullability' && one.expected !== null && one.actual !== null)
    return alter(object, one.expected === 'NULL' ? 'DROP NOT NULL' : 'SET NOT NULL');
  if (fact === 'nullability of its own') return alter(object, 'DROP NOT NULL');
  return {};
}

/** Of a slot; inserts go on meanwhile. */
function setParameters(object: string, expected: string | null): string | undefined {
  return expected === null || expected === 'none' ? undefined : `ALTER TABLE ${object} SET (${expected})`;
}

function resetParameters(object: string, actual: string | null): string | undefined {
  if (actual === null || actual === 'none') return undefined;
  const names = actual.split(', ').map((parameter) => parameter.slice(0, parameter.indexOf('=')));
  return `ALTER TABLE ${object} RESET (${names.join(', ')})`;
}

/** New rows are held to it in any case; the old ones, if they break it, until they are relayed and emptied. */
function addConstraint(object: string, name: string, definition: string): string {
  const add = `ALTER TABLE ${object} ADD CONSTRAINT ${name} ${definition}`;
  return definition.startsWith('CHECK ')
    ? block(`${add}; EXCEPTION WHEN check_violation THEN ${add} NOT VALID;`)
    : add;
}

/** A slot goes to its place. Anything else goes away from ours, if nothing is in it that the relay would lose. */
function placeRemedy({ object, expected, actual }: Difference): Remedy {
  const takeAway = actual === null ? undefined : takeFromParent(object, actual, expected === null);
  const place = expected === null ? null : /^PARTITION OF (\S+) (FOR VALUES .+)$/.exec(expected);
  if (place === null) return { takeAway };
  return { takeAway, putRight: `ALTER TABLE ${place[1]} ATTACH PARTITION ${object} ${place[2]}` };
}

function takeFromParent(object: string, actual: string, onlyEmpty: boolean): string | undefined {
  const inherited = /^INHERITS (.+?)(?: DETACH PENDING)?$/.exec(actual);
  if (inherited !== null) return `ALTER TABLE ${object} NO INHERIT ${inherited[1]}`;
  const partition = /^PARTITION OF (.+) (?:FOR VALUES .+?|DEFAULT)( DETACH PENDING)?$/.exec(actual);
  if (partition === null) return undefined;
  const detach = `ALTER TABLE ${partition[1]} DETACH PARTITION ${object}${partition[2] === undefined ? '' : ' FINALIZE'}`;
  if (!onlyEmpty) return detach;
  return block(
    `IF EXISTS (SELECT FROM ${object}) THEN
       RAISE EXCEPTION 'it holds rows: when evident outbox list shows that none of its rows waits, TRUNCATE it, and run init again';
     END IF;
     ${detach};`,
  );
}
