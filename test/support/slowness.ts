/** Measures, before the first test, by how much everything may take longer here than on a fast machine that is idle. */
import { availableParallelism, loadavg } from 'node:os';

/** Time of the loop below on a machine that is fast enough and has nothing else to do, milliseconds. */
const EXPECTED_MS = 15;
const ROUNDS = 2e7;
const MOST = 8;

/** jest's globalSetup. Workers inherit the environment. */
export default function measure(): void {
  process.env['GANTRY_TEST_PATIENCE'] ||= String(slowness());
}

/** At least 1: by the pace of a loop, and by what waits for the cores. */
function slowness(): number {
  const began = performance.now();
  let sum = 0;
  for (let i = 0; i < ROUNDS; i++) sum += i & 7;
  const pace = sum > 0 ? (performance.now() - began) / EXPECTED_MS : 1;
  const load = 1 + loadavg()[0]! / availableParallelism();
  return Math.min(MOST, Math.round(10 * Math.max(1, pace, load)) / 10);
}
