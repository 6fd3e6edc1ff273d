/** How often each fault and each path of interest happened: a simulation that no longer reaches them proves nothing. */

export class Coverage {
  readonly counts = new Map<string, number>();

  note(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  add(other: Iterable<readonly [string, number]>): void {
    for (const [what, count] of other) this.counts.set(what, (this.counts.get(what) ?? 0) + count);
  }

  /** Those of `REQUIRED` that never happened. */
  missing(): string[] {
    return REQUIRED.filter((what) => !this.counts.has(what));
  }

  format(): string {
    return [...this.counts]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([what, count]) => `${count.toString().padStart(9)}  ${what}`)
      .join('\n');
  }
}

/**
 * What must happen in the 1,000 seeds of CI, where chance decides: none of it is so rare that a shift of the traces
 * could lose it. What is rarer, and a fault at each operation, has seeds of its own in `directed.ts`.
 */
export const REQUIRED: readonly string[] = [
  'fault: restart storm',
  'clock: an hour or more forward',
  'clock: back',
  'ingest: appended',
  'ingest: repeat',
  'ingest: id-reused',
  'ingest: item refused',
  'ingest: retry after an unknown outcome',
  'ingest: retry was a repeat',
  'ingest: same request twice at once',
  'ingest: body in base64',
  'ingest: body as object',
  'ingest: same identity twice in a request',
  'hours: closed by the closer',
  'hours: closed by an append',
  'seal: head published',
  'seal: head over full tiles published',
  'seal: another sealer was first',
  'seal: a signature was refused',
  'seal: signed head above the stored one at start',
  'seal: heads listed',
  'seal: listing repeated',
  'seal: round took only a part',
  'put back: database alone',
  'put back: with tiles',
  'put back: processes live on',
  'put back: sealed records lost',
  'put back: nothing sealed lost',
  'break: older copy',
  'break: position is missing',
  'reader: began again',
  'capture: committed',
  'capture: rolled back',
  'capture: rolled back to a savepoint',
  'capture: commits late',
  'capture: same identity again',
  'application: restart',
  'application: file copy',
  'application: dump',
  'application: promote',
  'slot: made',
  'claim: lost, and its holder is not told',
  'mode: polling wanted',
  'mode: wal wanted',
  'relay: repeats',
  'relay: taken by polling',
  'relay: taken by sweep',
  'relay: taken by handover',
  'relay: taken by wal',
  'relay: rejected by polling',
  'relay: rejected by wal',
  'ring: emptied',
  'ring: empty',
  'ring: current',
  'ring: busy',
  'ring: behind',
  'ring: cursor',
  'ring: row given up',
  'project: stored',
  'project: overtaken',
  'project: invalid record',
  'project: killed by a record',
  'project: record by itself',
];
