/** Tells of a wall clock that is not believed (trustedTime.ts), and keeps in the journal how far it is ahead. */
import type { Log } from '../base/log';
import type { TrustedTime } from '../base/trustedTime';
import type { Applied, CommandOf, Outcome } from './apply';
import type { Core } from './core';
import type { BrokerState } from './state';

/** A change of the step of less than this is not written again, milliseconds. */
const SAME_STEP_MS = 60_000;

export class ClockWatch {
  readonly #core: Core;
  readonly #time: TrustedTime;
  readonly #log: Log;
  /** The step that was told of last. */
  #told = 0;

  constructor(parts: { core: Core; time: TrustedTime; log: Log }) {
    this.#core = parts.core;
    this.#time = parts.time;
    this.#log = parts.log;
  }

  /**
   * Commands are stamped with the wall clock: a restart during the step would take it for right, unless the journal says
   * how far ahead it was.
   */
  async look(): Promise<void> {
    const aheadMs = this.#time.look();
    this.#tell(aheadMs);
    const recorded = this.#core.state.marks.clockAheadMs ?? 0;
    const now = Math.max(0, aheadMs);
    if (isSame(now, recorded)) return;
    await this.#core.submit({ kind: 'clock', aheadMs: now });
  }

  #tell(aheadMs: number): void {
    if (isSame(aheadMs, this.#told)) return;
    this.#told = aheadMs;
    const facts = { aheadMs, wallClock: this.#core.clock.now(), countedBy: this.#time.now() };
    if (aheadMs === 0) this.#log.warn(facts, 'the wall clock is believed again: ages are counted by it');
    else
      this.#log.warn(
        facts,
        'the wall clock disagrees with the time that has passed since the last stored command by more than an hour (it was set, or this broker was down): ' +
          'nothing is deleted for its age by it until it has run steadily for a day, or a start with --trust-clock yes',
      );
  }
}

const isSame = (a: number, b: number): boolean => (a === 0) === (b === 0) && Math.abs(a - b) < SAME_STEP_MS;

/** How far the wall clock is ahead of the time that is believed, from this command on. */
export function applyClock(state: BrokerState, { command }: Applied<CommandOf<'clock'>>): Outcome<'clock'> {
  state.marks.clockAheadMs = command.aheadMs;
  return { ok: undefined };
}
