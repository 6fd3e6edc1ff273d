import { test } from 'node:test';
import { openTestDatabase } from '../test/database.ts';
import { runSchedule } from './race-schedule.ts';
import { installSteps, Stepper } from './stepped-append.ts';

test('m', async () => {
  const db = await openTestDatabase();
  for (const [name, m] of [
    [
      'counters',
      (t: string) =>
        t
          .replace(
            'ORDER BY p.tree FOR UPDATE',
            'ORDER BY array_position(p_slot, array_position(p_trees, p.tree)) FOR UPDATE',
          )
          .replace(/array_agg\(c\.(\w+)\)/g, 'array_agg(c.$1 ORDER BY c.tree)'),
    ],
  ] as const) {
    const hits: string[] = [];
    const t = Date.now();
    for (let s = 1; s <= 40; s++) {
      const st = await Stepper.open(db, await installSteps(db.owner, m), 4);
      await runSchedule(db, st, s).catch(
        (e) =>
          console.log(s, e.message.slice(0, 3000)) ??
          hits.push(`${s}:${/SQLSTATE \w+/.exec(e.message)?.[0] ?? e.message}`),
      );
      await st.close();
      console.log(s, Date.now() - t);
    }
    console.log(name, Date.now() - t, hits.join(' '));
  }
});
