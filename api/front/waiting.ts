/** Several brokers that are waited for at once: who comes first is heard first, and at some time it is over. */
import type { Clock } from '../../src/base/clock';

export class Waiting<Arrival extends { readonly broker: string }> {
  readonly #asked = new Map<string, Promise<Arrival>>();
  readonly #alarm: Promise<undefined>;
  readonly #cancel: () => void;
  #over = false;

  /** `ms`: after this time `next` says once that it is over. */
  constructor(clock: Clock, ms: number) {
    let ring!: () => void;
    this.#alarm = new Promise((resolve) => (ring = () => resolve(undefined)));
    const timer = clock.after(ms, () => {
      this.#over = true;
      ring();
    });
    this.#cancel = () => timer.cancel();
  }

  /** The time is over. */
  get over(): boolean {
    return this.#over;
  }

  get brokers(): string[] {
    return [...this.#asked.keys()];
  }

  add(broker: string, asking: Promise<Arrival>): void {
    asking.catch(() => undefined); // cancelled, when nobody looks at it any more
    this.#asked.set(broker, asking);
  }

  /** Who comes next; undefined at the moment when the time is over. Rejects with what was no broker's failure. */
  async next(): Promise<Arrival | undefined> {
    const arrival = await Promise.race([...this.#asked.values(), ...(this.#over ? [] : [this.#alarm])]);
    if (arrival) this.#asked.delete(arrival.broker);
    return arrival;
  }

  /** Nobody is waited for any more. */
  end(): void {
    this.#cancel();
  }
}
