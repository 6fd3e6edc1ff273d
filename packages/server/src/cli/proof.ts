import { EvidentError } from '@evident/core/errors.ts';
import type { Command } from 'commander';
import type { ConfigInput } from '../config.ts';
import { type ProofJson, proofJson } from '../evidence/proof-json.ts';
import { proveRecord } from '../evidence/prove-record.ts';
import type { SoughtEvent } from '../query/ports.ts';
import { runBundle } from './bundle.ts';
import { type CommandDeps, EXIT, type FoundServer } from './command-deps.ts';
import { type Run, withServer, withStorage } from './options.ts';
import type { Output } from './output.ts';
import { address, catchUpOrSay, operatorReader, type QueryOptions } from './query-source.ts';
import { requestServer } from './request.ts';
import { parseSought } from './show.ts';
import { findTarget } from './target.ts';

export interface ProofOptions extends QueryOptions {
  /** A new folder or zip for a bundle of this record; without it the proof goes to standard output. */
  readonly out?: string;
  /** Whose record: an id may stand in several tenants. */
  readonly tenant?: string;
  readonly head?: string;
}

export function addProofCommand(deps: CommandDeps, program: Command, run: Run): void {
  const description = 'the proof of a record, by id or place (LOG/PARTITION/POSITION), as C2SP tlog-proof';
  withServer(withStorage(program.command('proof <id|place>').description(description)))
    .option('--out <dir>', 'a new folder, or a new file.zip: an evidence bundle of this record (by id)')
    .option('--tenant <tenant>', 'whose record, where an id stands in several')
    .option(
      '--head <size|with-anchor>',
      'with --out: the head of heads/0 that it ends in (default: the newest)',
    )
    .option('--why <text>', 'why you look; it is recorded with what you ask')
    .action(
      run((input, output, { url, keyFile, out, tenant, head, why }, [what]) =>
        runProof(deps, input, what, { url, keyFile, out, tenant, head, why }, output),
      ),
    );
}

async function runProof(
  deps: CommandDeps,
  input: ConfigInput,
  what: string,
  options: ProofOptions,
  output: Output,
): Promise<number> {
  const sought = parseSought(what);
  const { out, tenant, head } = options;
  if (out !== undefined) {
    if (!('id' in sought))
      throw new EvidentError(
        'usage-invalid',
        '--out: a bundle of one record is asked for by the id of the record',
      );
    const filter: Record<string, string> = tenant === undefined ? {} : { tenant };
    return runBundle(deps, input, { ...options, ...sought, out, filter, head }, output);
  }
  if (head !== undefined) throw new EvidentError('usage-invalid', '--head: it goes with --out');
  const server = await findTarget(deps, input, options);
  const proof =
    server === null
      ? await proveHere(deps, input, sought, options)
      : await proveThere(server, sought, options);
  output.result(proof);
  if (!output.json) print(proof);
  return EXIT.success;
}

async function proveHere(
  deps: CommandDeps,
  input: ConfigInput,
  sought: SoughtEvent,
  { tenant, why }: ProofOptions,
): Promise<ProofJson> {
  const data = await deps.open(input, { alone: false });
  try {
    await catchUpOrSay(data);
    const what = { ...sought, ...(tenant === undefined ? {} : { tenant }) };
    return await proofJson(data.evidence, await proveRecord(data.evidence, operatorReader(why), what));
  } finally {
    await data.close();
  }
}

async function proveThere(
  server: FoundServer,
  sought: SoughtEvent,
  { tenant, why }: ProofOptions,
): Promise<ProofJson> {
  const path =
    'id' in sought
      ? `/v1/events/${encodeURIComponent(sought.id)}/proof`
      : `/v1/logs/${sought.log}/partitions/${sought.partition}/records/${sought.position}/proof`;
  return (await (await requestServer(server, address(path, { tenant, why }))).json()) as ProofJson;
}

/** The proof alone on standard output, so that it can be kept as a file; what it shows beside it. */
function print({
  log,
  partition,
  position,
  origin,
  size,
  leaf_hash,
  vkey,
  proof,
  anchored,
}: ProofJson): void {
  process.stdout.write(proof);
  const say = (line: string) => process.stderr.write(`${line}\n`);
  say(`${log}/${partition}/${position} stands in the tree ${origin} of size ${size}, which this key signed:`);
  say(`  ${vkey}`);
  say(`  leaf hash ${leaf_hash}; evident show prints the leaf`);
  if (anchored === null)
    say(
      log === 'heads'
        ? '  It is a record of the log heads itself.'
        : '  Not anchored yet: no signed head of heads/0 covers that tree head. Ask again after ten seconds.',
    );
  else
    say(
      `  That tree head is listed in ${anchored.origin}, size ${anchored.size}; --out DIR writes all of it.`,
    );
}
