/** One tenant: who works there, and on what. Made from the seed alone. */

import { RESOURCE_COUNTS, type ResourceKind, WORDS } from './actions.ts';
import { type SeededRandom, Weighted } from './random.ts';

export const ACTORS_DEFAULT = 200;
/** Exponent of Zipf's law for actors: of 200 the busiest does an eighth of all. */
const ACTOR_ZIPF = 0.9;
const RESOURCE_ZIPF = 1.05;
/** Of 1,000 actors. */
const SERVICES = 110;
const SYSTEMS = 20;

export interface CompanyActor {
  readonly id: string;
  readonly type: 'user' | 'service' | 'system';
  readonly role: string;
  readonly department: string;
  readonly address: string;
  readonly userAgent: string | null;
}

export interface CompanyResource {
  readonly type: ResourceKind;
  readonly id: string;
  readonly name: string | null;
}

export interface Company {
  readonly tenant: string;
  readonly actors: readonly CompanyActor[];
  drawActor(random: SeededRandom): CompanyActor;
  drawResource(kind: ResourceKind, random: SeededRandom): CompanyResource;
}

const DEPARTMENTS = ['finance', 'sales', 'support', 'engineering', 'legal', 'people', 'operations'];
const ROLES = ['member', 'member', 'member', 'editor', 'editor', 'approver', 'auditor', 'admin'];
const USER_AGENTS = [
  'Mozilla/5.0 (X11; Linux x86_64) Firefox/142.0',
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/141.0',
  'Mozilla/5.0 (Macintosh; Apple Silicon) Safari/26.1',
  'AcmeMobile/7.2 (Android 16)',
];
const NAMED: readonly ResourceKind[] = ['document', 'folder', 'report'];

export function makeCompany(tenant: string, actorCount: number, random: SeededRandom): Company {
  const actors = Array.from({ length: actorCount }, () => makeActor(random));
  const byActor = Weighted.zipf(actors.length, ACTOR_ZIPF);
  const kinds = Object.entries(RESOURCE_COUNTS) as [ResourceKind, number][];
  const resources = new Map(
    kinds.map(([kind, count]) => [kind, Array.from({ length: count }, () => makeResource(kind, random))]),
  );
  const byResource = new Map(kinds.map(([kind, count]) => [kind, Weighted.zipf(count, RESOURCE_ZIPF)]));
  return {
    tenant,
    actors,
    drawActor: (chance) => actors[byActor.draw(chance)],
    drawResource: (kind, chance) => {
      const index = (byResource.get(kind) as Weighted).draw(chance);
      return (resources.get(kind) as CompanyResource[])[index];
    },
  };
}

function makeActor(random: SeededRandom): CompanyActor {
  const lot = random.below(1_000);
  const type = lot < SYSTEMS ? 'system' : lot < SYSTEMS + SERVICES ? 'service' : 'user';
  const prefix = { user: 'usr', service: 'svc', system: 'sys' }[type];
  return {
    id: `${prefix}_${random.hex(10)}`,
    type,
    role: type === 'user' ? random.pick(ROLES) : 'machine',
    department: type === 'user' ? random.pick(DEPARTMENTS) : 'operations',
    // Private and documentation addresses (RFC 1918, RFC 5737): nobody's.
    address: random.chance(750)
      ? `10.${random.below(32)}.${random.below(256)}.${random.between(1, 254)}`
      : `203.0.113.${random.between(1, 254)}`,
    userAgent: type === 'user' ? random.pick(USER_AGENTS) : null,
  };
}

function makeResource(kind: ResourceKind, random: SeededRandom): CompanyResource {
  const name = NAMED.includes(kind) ? `${random.pick(WORDS)} ${random.pick(WORDS)}` : null;
  return { type: kind, id: `${kind}_${random.hex(10)}`, name };
}
