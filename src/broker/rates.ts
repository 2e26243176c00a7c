/**
 * Traffic of a broker per second, from counters that only give totals since the process started. It looks at the
 * counters now and then, with each heartbeat at the latest; a rate covers the time since one of these looks.
 */
import type { Clock } from '../base/clock';

/** Messages and bytes; as counts, or per second. */
export interface Traffic {
  readonly messagesIn: number;
  readonly messagesOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

interface Look {
  /** Monotonic, milliseconds. */
  readonly at: number;
  readonly traffic: Traffic;
}

/** A rate is over no more than this time, milliseconds, unless nobody looked meanwhile. */
const LONGEST_MS = 60_000;
/** And over no less: of a shorter time it would say nothing. */
const SHORTEST_MS = 1000;

export class Rates {
  readonly #clock: Clock;
  readonly #read: () => Traffic;
  /** Oldest first, at least `SHORTEST_MS` apart. */
  #looks: Look[];

  constructor(clock: Clock, read: () => Traffic) {
    this.#clock = clock;
    this.#read = read;
    this.#looks = [{ at: clock.monotonic(), traffic: read() }];
  }

  /** Looks at the counters. */
  note(): void {
    const at = this.#clock.monotonic();
    const last = this.#looks.at(-1)!;
    if (at - last.at < SHORTEST_MS) return;
    const recent = this.#looks.filter((look) => at - look.at <= LONGEST_MS);
    this.#looks = [...(recent.length > 0 ? recent : [last]), { at, traffic: this.#read() }];
  }

  /** Undefined in the first second. */
  perSecond(): Traffic | undefined {
    const now = this.#clock.monotonic();
    const old = this.#looks.filter(({ at }) => now - at >= SHORTEST_MS);
    const since = old.find(({ at }) => now - at <= LONGEST_MS) ?? old.at(-1);
    if (!since) return undefined;
    const traffic = this.#read();
    // The counts of a topic or group leave the totals when it is deleted: a total may fall.
    const rate = (what: keyof Traffic) => (Math.max(0, traffic[what] - since.traffic[what]) * 1000) / (now - since.at);
    return {
      messagesIn: rate('messagesIn'),
      messagesOut: rate('messagesOut'),
      bytesIn: rate('bytesIn'),
      bytesOut: rate('bytesOut'),
    };
  }
}
