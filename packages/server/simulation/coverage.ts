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

const around = (kind: 'kill' | 'error', operations: readonly string[]): string[] =>
  operations.flatMap((operation) => [`${kind}: before ${operation}`, `${kind}: after ${operation}`]);

const OPERATIONS = [
  'appendOnce',
  'read',
  'heads',
  'heads.load',
  'heads.store',
  'heads.markListed',
  'tiles.write',
  'tiles.read',
  'signer.last',
  'signer.sign',
  'objects.put',
  'closeHours',
  'relay.claim',
  'relay.readSource',
  'relay.relay',
  'relay.moveCursor',
  'relay.progress',
  'outbox.read',
  'outbox.readAll',
  'outbox.slots',
  'outbox.emptySlot',
  'outbox.pressure',
  'outbox.slotState',
  'outbox.stream.next',
  'view.open',
  'view.checkpoints',
  'view.countAttempt',
  'view.suspects',
  'view.heads',
  'view.read',
  'view.commit',
];

/** Deaths strike where a process waits, and it seldom waits here: errors do. */
const SELDOM = [
  'heads.stop',
  'head',
  'readMany',
  'outbox.identify',
  'outbox.tokens',
  'outbox.readRow',
  'outbox.bound',
  'outbox.beat',
  'outbox.horizon',
  'outbox.dropSlot',
  'outbox.createSlot',
  'outbox.stream',
  'view.noteSuspect',
];

/** What must happen in the 1,000 seeds of CI. */
export const REQUIRED: readonly string[] = [
  ...around('kill', OPERATIONS),
  ...around('error', [...OPERATIONS, ...SELDOM]),
  'error: during tiles.write',
  'kill: during tiles.write',
  'fault: restart storm',
  'clock: an hour or more forward',
  'clock: back',
  'ingest: appended',
  'ingest: repeat',
  'ingest: id-reused',
  'ingest: item refused',
  'ingest: retry after an unknown outcome',
  'ingest: retry was a repeat',
  'ingest: refused by a stopped partition',
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
  'attack: edit',
  'attack: drop',
  'attack: swap',
  'attack: hole above the head',
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
  'slot: dropped',
  'slot: lost its log',
  'slot: moved on by somebody',
  'claim: lost, and its holder is not told',
  'mode: polling wanted',
  'mode: wal wanted',
  'epoch: another system',
  'epoch: another timeline',
  'epoch: token missing',
  'epoch: row missing',
  'alert: slot-lost',
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
  'ring: restored',
  'ring: row given up',
  'project: stored',
  'project: overtaken',
  'project: invalid record',
  'project: identity with another body',
  'project: killed by a record',
  'project: record by itself',
  'project: poison isolated',
];
