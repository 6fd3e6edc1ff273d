/** The page: takes a bundle and what the verifier holds, runs the check, and shows the report as it is. */

import type { BundleSource } from '@evident/core/evidence/bundle-source.ts';
import type { CheckFinding, CheckReport } from '@evident/core/evidence/check-report.ts';
import { blobListSource, zipBlobSource } from '../blob-source.ts';
import { type VerifierTerms, verifyBundle } from '../verify-bundle.ts';
import { filesOfEntry, filesOfInput } from './chosen-files.ts';

/** Findings that are listed; the rest is counted. */
const LISTED_MAX = 100;
/** No key, head or certificate file is larger. */
const GIVEN_BYTES_MAX = 4 * 1024 * 1024;

let source: BundleSource | null = null;
let isChecking = false;

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no ${id}`);
  return found as T;
}

function tellChosen(text: string): void {
  element('chosen').textContent = text;
}

/** Takes what was chosen or dropped; until it is known what that is, there is no bundle to check. */
async function take(
  name: string,
  open: () => Promise<{ source: BundleSource; text: string }>,
): Promise<void> {
  source = null;
  tellChosen(`Reading ${name} …`);
  try {
    const opened = await open();
    source = opened.source;
    tellChosen(opened.text);
  } catch (error) {
    tellChosen(`${name} can't be read: ${(error as Error).message}`);
  }
}

function takeZip(file: File): Promise<void> {
  return take(file.name, async () => ({ source: await zipBlobSource(file), text: `${file.name} (zip)` }));
}

function takeFolder(
  name: string,
  files: () => Promise<readonly { path: string; blob: Blob }[]>,
): Promise<void> {
  return take(name, async () => {
    const found = await files();
    return { source: blobListSource(found), text: `${name} (folder, ${found.length} files)` };
  });
}

function listenForBundles(): void {
  const [zip, folder, drop] = [
    element<HTMLInputElement>('zip'),
    element<HTMLInputElement>('folder'),
    element('drop'),
  ];
  zip.addEventListener('change', () => {
    const file = zip.files?.[0];
    if (file !== undefined) void takeZip(file);
  });
  folder.addEventListener('change', () => {
    const files = folder.files;
    if (files === null || files.length === 0) return;
    void takeFolder(files[0]!.webkitRelativePath.split('/')[0] ?? 'the folder', async () =>
      filesOfInput(files),
    );
  });
  for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop'] as const) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle('over', kind === 'dragenter' || kind === 'dragover');
    });
  }
  drop.addEventListener('drop', (event) => {
    const item = event.dataTransfer?.items[0];
    // Asked for now: after the event the browser gives nothing out any more.
    const entry = item?.webkitGetAsEntry() ?? null;
    const file = item?.getAsFile() ?? null;
    if (entry?.isDirectory === true)
      void takeFolder(entry.name, () => filesOfEntry(entry as FileSystemDirectoryEntry));
    else if (file !== null) void takeZip(file);
  });
}

async function givenFile(id: string): Promise<Uint8Array | undefined> {
  const file = element<HTMLInputElement>(id).files?.[0];
  if (file === undefined) return undefined;
  if (file.size > GIVEN_BYTES_MAX) throw new Error(`${file.name} is larger than ${GIVEN_BYTES_MAX} bytes`);
  return new Uint8Array(await file.arrayBuffer());
}

async function readTerms(): Promise<VerifierTerms> {
  const lines = element<HTMLTextAreaElement>('witnesses')
    .value.split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const quorum = element<HTMLInputElement>('quorum').value;
  return {
    vkey: element<HTMLTextAreaElement>('vkey').value.trim(),
    roots: await givenFile('roots'),
    knownHead: await givenFile('head'),
    witnesses: lines,
    quorum: quorum === '' ? undefined : Number(quorum),
    onProgress: (records, total) => {
      element('progress').textContent = `${records} of ${total} records`;
    },
  };
}

function list(id: string, lines: readonly string[]): void {
  const section = element(id);
  section.hidden = lines.length === 0;
  section.querySelector('ul')?.replaceChildren(
    ...lines.map((line) => {
      const item = document.createElement('li');
      // As text: a bundle is a stranger's, and may hold markup.
      item.textContent = line;
      return item;
    }),
  );
}

function sentence({ verdict, path, check, detail, record }: CheckFinding): string {
  const place = record === undefined ? '' : ` ${record.log}/${record.partition}/${record.position}`;
  return `${verdict}: ${path} [${check}]${place} ${detail}`;
}

function show(
  report: Pick<CheckReport, 'verdict' | 'findings' | 'shown' | 'notShown'>,
  counted: string,
): void {
  const verdict = element('verdict');
  verdict.textContent = report.verdict;
  verdict.className = report.verdict.replace(' ', '-');
  element('progress').textContent = counted;
  list('findings', report.findings.slice(0, LISTED_MAX).map(sentence));
  list('shown', report.shown);
  list('not-shown', report.notShown);
}

async function run(): Promise<void> {
  if (isChecking) return;
  if (source === null) {
    tellChosen('Choose a bundle first.');
    return;
  }
  isChecking = true;
  show({ verdict: 'not checked', findings: [], shown: [], notShown: [] }, '');
  element('verdict').textContent = 'checking …';
  element('report').hidden = false;
  try {
    const report = await verifyBundle(source, await readTerms());
    const more = report.tampered + report.notChecked - Math.min(report.findings.length, LISTED_MAX);
    show(
      report,
      `${report.records} record${report.records === 1n ? '' : 's'} read${more > 0 ? `; ${more} finding${more === 1 ? '' : 's'} more than are listed` : ''}`,
    );
  } catch (error) {
    show({ verdict: 'not checked', findings: [], shown: [], notShown: [] }, (error as Error).message);
  } finally {
    isChecking = false;
  }
}

listenForBundles();
element('form').addEventListener('submit', (event) => {
  event.preventDefault();
  void run();
});
