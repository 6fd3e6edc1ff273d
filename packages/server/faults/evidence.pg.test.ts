/** Evidence over a whole installation: what is exported is checked by the checker that a stranger runs. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { bundleFiles } from '../src/evidence/bundle.ts';
import type { BundleRequest } from '../src/evidence/bundle-plan.ts';
import type { EvidenceDeps } from '../src/evidence/ports.ts';
import { writeWholeFile, zipOf } from '../src/evidence/write-folder.ts';
import { evidenceDepsOf } from '../src/evidence-deps.ts';
import { projectPending } from '../src/project-pending.ts';
import { queryDepsOf } from '../src/queries.ts';
import {
  AUDITOR,
  commandsOf,
  exportFolder,
  OpensslAuthority,
  readFolder,
  runCommands,
  SELECTION,
} from './evidence-scene.ts';
import { type Installation, makeInstallation } from './installation.ts';

describe('an evidence bundle', () => {
  const undo: (() => void | Promise<void>)[] = [];
  let one: Installation;
  let deps: EvidenceDeps;
  let exported = 0;

  before(async () => {
    one = await makeInstallation({ after: (fn) => void undo.push(fn as () => Promise<void>) }, 2);
    await one.append(600, (index) => `{"n":${index},"text":"${'x'.repeat(index % 50)}"}`);
    await one.appendLarge(200_000);
    await one.seal();
    await projectPending(one.storage);
    deps = evidenceDepsOf(one.storage, queryDepsOf(one.storage));
    mkdirSync(one.path('out'));
  });
  after(async () => {
    for (const step of undo) await step();
  });

  const newFolder = () => one.path('out', `bundle-${++exported}`);

  it('holds the records, a proof each, heads, keys, and a manifest of every file', async () => {
    const folder = await exportFolder(deps, newFolder());
    const files = readFolder(folder);
    const lines = files.get('records.ndjson')!.toString().trimEnd().split('\n');
    assert.equal(lines.length, 601);
    const manifest = JSON.parse(files.get('manifest.json')!.toString());
    assert.equal(manifest.records, '601');
    assert.equal(manifest.proofs, 'each');
    assert.deepEqual(
      manifest.files.map(({ path }: { path: string }) => path),
      [...files.keys()].filter((path) => path !== 'manifest.json').sort(),
    );
    for (const { path, size, sha256 } of manifest.files) {
      const bytes = files.get(path)!;
      assert.equal(createHash('sha256').update(bytes).digest('hex'), sha256, path);
      assert.equal(String(bytes.length), size, path);
    }
    assert.equal([...files.keys()].filter((path) => path.startsWith('bodies/')).length, 1);
    assert.equal([...files.keys()].filter((path) => /^proofs\/[^/]+\.tlog-proof$/.test(path)).length, 601);
  });

  it('is the same bytes again at the same head, as a folder and as a zip, while records are appended', async () => {
    const first = await exportFolder(deps, newFolder(), { proofs: 'tiles' });
    const { head } = JSON.parse(readFileSync(join(first, 'manifest.json'), 'utf8'));
    await one.append(300);
    await one.seal();
    await projectPending(one.storage);
    const appending = one.append(2_000);
    const second = await exportFolder(deps, newFolder(), { proofs: 'tiles', head: BigInt(head.size) });
    await appending;
    assert.deepEqual(readFolder(second), readFolder(first));
    const newer = await exportFolder(deps, newFolder(), { proofs: 'tiles' });
    assert.notDeepEqual(readFolder(newer).get('records.ndjson'), readFolder(first).get('records.ndjson'));
    const zips = ['a.zip', 'b.zip'].map((name) => one.path('out', name));
    const request: BundleRequest = { ...SELECTION, head: BigInt(head.size), proofs: 'tiles' };
    for (const zip of zips) await writeWholeFile(zipOf(bundleFiles(deps, AUDITOR, request)), zip);
    assert.ok(readFileSync(zips[0]).equals(readFileSync(zips[1])));
  });

  describe('README.txt', () => {
    const copies: string[] = [];
    let authority: OpensslAuthority;
    let stamped: EvidenceDeps;

    before(() => {
      authority = new OpensslAuthority(one.path('authority'));
      stamped = {
        ...deps,
        anchorsOf: async (_epoch, size) => {
          const head = await deps.heads.at('heads', 0, 0, size);
          const bytes = authority.stamp(head?.note as Uint8Array);
          return [{ kind: 'timestamp', by: 'Test authority', bytes }];
        },
      };
    });

    /** A copy with one byte of a file changed. */
    function flipped(folder: string, path: string, at: number): string {
      const copy = newFolder();
      copies.push(copy);
      cpSync(folder, copy, { recursive: true });
      const bytes = readFileSync(join(copy, path));
      bytes[at < 0 ? bytes.length + at : at] ^= 1;
      writeFileSync(join(copy, path), bytes);
      return copy;
    }

    for (const proofs of ['each', 'tiles'] as const) {
      it(`prints commands that accept a bundle with proofs of ${proofs}, and refuse a flipped byte without the manifest, too`, async () => {
        const folder = await exportFolder(stamped, newFolder(), { proofs });
        const commands = commandsOf(folder);
        assert.ok(commands.length > 15, commands.join('\n'));
        const environment = { ROOTS: authority.roots };
        const whole = runCommands(folder, commands, environment);
        assert.ok(whole.ok, whole.output);
        assert.match(whole.output, /Signature Verified Successfully/);
        assert.match(whole.output, /Verification: OK/);
        const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
        const paths = manifest.files.map(({ path }: { path: string }) => path) as string[];
        const one = (pattern: RegExp) => paths.find((path) => pattern.test(path)) as string;
        const [tree] = manifest.trees;
        const head = `heads/${encodeURIComponent(tree.origin)}.${tree.size}.checkpoint`;
        const id = JSON.parse(readFileSync(join(folder, 'records.ndjson'), 'utf8').split('\n', 1)[0]).id;
        const changes: [path: string, at: number][] = [
          ['records.ndjson', 40],
          [one(/^heads\/.*heads%2F0.*checkpoint$/), -20],
          [one(/^heads\/.*heads%2F0.*checkpoint$/), 3],
          [head, 60],
          [`proofs/${head.replace('checkpoint', 'leaf')}`, 90],
          [`proofs/${head.replace('checkpoint', 'tlog-proof')}`, 50],
          [one(/^timestamps\//), -200],
          [one(/^bodies\//), 1_000],
          proofs === 'each' ? [`proofs/${id}.tlog-proof`, 60] : [one(/\/tile\/0\//), 5],
        ];
        const byHand = commands.filter((command) => !command.startsWith('sha256sum --check'));
        assert.equal(byHand.length, commands.length - 1);
        for (const [path, at] of changes) {
          const copy = flipped(folder, path, at);
          assert.ok(!runCommands(copy, commands, environment).ok, `${path} at ${at}, with the manifest`);
          assert.ok(!runCommands(copy, byHand, environment).ok, `${path} at ${at}, by hand`);
        }
      });
    }
  });
});
