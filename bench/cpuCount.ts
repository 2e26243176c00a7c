/**
 * Processor time that a server and the load generator (this process) need per request: figures that a busy machine
 * disturbs less than the pace.
 */
import type { Child } from './child';
import type { Load } from './closedLoop';

export class CpuCount {
  readonly #child: Child;
  #requests = 0;
  #serverSeconds = 0;
  #generatorSeconds = 0;

  constructor(child: Child) {
    this.#child = child;
  }

  /** Measures a run of this load. */
  async during<T>(load: Load, run: (counted: Load) => Promise<T>): Promise<T> {
    const before = process.cpuUsage();
    const serverBefore = this.#child.cpuSeconds ?? NaN;
    const request = (n: number) => {
      this.#requests++;
      return load.request(n);
    };
    const result = await run({ ...load, request });
    const { user, system } = process.cpuUsage(before);
    this.#generatorSeconds += (user + system) / 1e6;
    this.#serverSeconds += (this.#child.cpuSeconds ?? NaN) - serverBefore;
    return result;
  }

  /** Microseconds; NaN where there is no /proc. */
  get serverMicros(): number {
    return (this.#serverSeconds / this.#requests) * 1e6;
  }

  get generatorMicros(): number {
    return (this.#generatorSeconds / this.#requests) * 1e6;
  }
}
