/** Outcomes of the calls to other brokers: counted for the metrics, and logged whenever the outcome changes. */
import { GantryError } from '../../src/base/errors';
import { LIMITS } from '../../src/base/limits';
import type { Log } from '../../src/base/log';
import { counter, type Registry } from '../../src/base/metrics';

/** Why a call brought no answer of the broker: no connection, no answer in time, or the cluster secret was refused. */
export const FAILURES = ['unreachable', 'silent', 'secret_refused'] as const;
export type Failure = (typeof FAILURES)[number];

export class CallRecord {
  readonly #log: Log;
  /** By host:port, what came of the last call. */
  readonly #last = new Map<string, Failure | 'answered'>();
  readonly #failed = new Map<Failure, number>();

  constructor(log: Log) {
    this.#log = log;
  }

  answered(broker: string): void {
    const before = this.#note(broker, 'answered');
    if (before !== 'answered' && before !== undefined) this.#log.info({ broker }, 'broker answers again');
  }

  failed(broker: string, failure: Failure): void {
    this.#failed.set(failure, (this.#failed.get(failure) ?? 0) + 1);
    if (this.#note(broker, failure) === failure) return;
    if (failure === 'secret_refused')
      this.#log.error({ broker }, 'broker refuses the cluster secret of this process: give all parts the same one');
    else this.#log.warn({ broker, failure }, 'broker does not answer');
  }

  /** Outcome of the last call to a broker; undefined if there was none. */
  last(broker: string): Failure | 'answered' | undefined {
    return this.#last.get(broker);
  }

  /** Failed calls since the start. */
  count(failure: Failure): number {
    return this.#failed.get(failure) ?? 0;
  }

  #note(broker: string, outcome: Failure | 'answered'): Failure | 'answered' | undefined {
    const before = this.#last.get(broker);
    if (before === outcome) return before;
    this.#last.set(broker, outcome);
    if (this.#last.size > LIMITS.rememberedBrokers) this.#last.delete(this.#last.keys().next().value!);
    return before;
  }
}

export function meterCalls(registry: Registry, record: CallRecord): void {
  counter(registry, {
    name: 'gantry_failed_forwards_total',
    help: 'Calls to other brokers that brought no answer, by reason',
    labels: ['reason'],
    read: () => FAILURES.map((reason) => ({ labels: { reason }, value: record.count(reason) })),
  });
}

/** The caller is not to blame: two parts of the cluster do not know each other. */
export const secretRefused = (broker: string): GantryError =>
  new GantryError(
    'SERVICE_NOT_AVAILABLE',
    `the broker at ${broker} refuses the cluster secret of the process that you called, so nothing was done: ` +
      'its operator has to start all parts of the cluster with the same --cluster-secret',
    { retryAfterMs: 1000 },
  );
