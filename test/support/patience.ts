/**
 * How long tests wait for what happens in its own time. Nothing waits for a fixed time where it can wait for a signal;
 * the bounds here only end a test that would hang. They are generous, and longer on a machine that is slow or has other
 * work: `GANTRY_TEST_PATIENCE` is the factor, which slowness.ts measures unless it is given.
 */
const FACTOR = Number(process.env['GANTRY_TEST_PATIENCE'] ?? 1);
const HANGS_MS = 60_000;

/** Milliseconds on a machine that has nothing else to do, for this one. */
export const patience = (ms: number): number => Math.ceil(ms * FACTOR);

/** Asks again until the answer is truthy, and gives it; for what happens in another process and cannot call back. */
export async function eventually<T>(ask: () => Promise<T> | T, what: string = ask.toString()): Promise<T> {
  const deadline = performance.now() + patience(HANGS_MS);
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (performance.now() > deadline) throw new Error(`still not so: ${what}`);
    await new Promise((next) => setTimeout(next, 10));
  }
}
