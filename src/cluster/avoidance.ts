/**
 * Brokers that senders leave alone for a while, because they were slow or failed (RocketMQ 5's MQFaultStrategy and
 * LatencyFaultToleranceImpl). Nothing is refused for it: who is avoided comes last, and is used when nobody else is left.
 */
import type { Clock } from '../base/clock';

/** An answer that took `latencyMs` or longer: the broker is avoided for `avoidMs`. */
export interface BackoffStep {
  readonly latencyMs: number;
  readonly avoidMs: number;
}

/** RocketMQ counts a failure as an answer that took this long. */
export const FAILURE_MS = 10_000;

/** Steps written as `latency:avoid`, both in milliseconds, such as `550:2000`. */
export const backoffSteps = (texts: readonly string[]): BackoffStep[] =>
  texts.map((text) => {
    const [latencyMs, avoidMs] = text.split(':').map(Number);
    return { latencyMs: latencyMs!, avoidMs: avoidMs! };
  });

interface Known {
  /** Monotonic time from which on it is not avoided any more. */
  readonly availableAt: number;
  /** False: the last connection to it was refused. */
  readonly reachable: boolean;
}

export class Avoidance {
  readonly #clock: Clock;
  /** The longest latency first. */
  readonly #steps: readonly BackoffStep[];
  readonly #brokers = new Map<string, Known>();

  constructor(parts: { clock: Clock; steps: readonly BackoffStep[] }) {
    this.#clock = parts.clock;
    this.#steps = [...parts.steps].sort((a, b) => b.latencyMs - a.latencyMs);
  }

  /** It took the send or refused the message itself. */
  answered(broker: string, latencyMs: number): void {
    this.#note(broker, latencyMs, true);
  }

  /** It did not answer, or takes nothing now. */
  failed(broker: string): void {
    this.#note(broker, FAILURE_MS, true);
  }

  /** It could not be connected to. */
  unreachable(broker: string): void {
    this.#note(broker, FAILURE_MS, false);
  }

  /** The same brokers: first those that are not avoided, then those that can be reached, then the others. */
  ordered(brokers: readonly string[]): string[] {
    if (this.#brokers.size === 0) return [...brokers];
    const now = this.#clock.monotonic();
    const ranked = brokers.map((broker) => ({ broker, rank: this.#rank(broker, now) }));
    return ranked.sort((a, b) => a.rank - b.rank).map(({ broker }) => broker);
  }

  #rank(broker: string, now: number): number {
    const known = this.#brokers.get(broker);
    if (!known || known.availableAt <= now) return 0;
    return known.reachable ? 1 : 2;
  }

  #note(broker: string, latencyMs: number, reachable: boolean): void {
    const avoidMs = this.#steps.find((step) => latencyMs >= step.latencyMs)?.avoidMs ?? 0;
    // What nothing is known of is as good as what can be used: the map holds only who is avoided.
    if (avoidMs === 0) this.#brokers.delete(broker);
    else this.#brokers.set(broker, { availableAt: this.#clock.monotonic() + avoidMs, reachable });
  }
}
