/**
 * Everything that lives, lives the same way: started once, stopped once, stop awaited and idempotent, also before or
 * during start. A chore is a ticker around one bounded `runOnce`, which is what tests call.
 */
import type { Clock, Timer } from './clock';

export interface Service {
  /** Resolves when the service does its work; rejects when it cannot. */
  start(): Promise<void>;
  /** Resolves when nothing of the service runs any more. Safe to call twice, or before `start`. */
  stop(): Promise<void>;
}

export interface ChoreOptions {
  clock: Clock;
  /** Milliseconds between the end of one run and the start of the next; asked for after each run if it depends on that. */
  everyMs: number | (() => number);
  /** One bounded piece of work. Its failure is handed to `onError` and the chore goes on. */
  runOnce: (signal: AbortSignal) => Promise<unknown>;
  onError: (error: unknown) => void;
  /** Run at once when started; otherwise the first run is `everyMs` later. */
  immediately?: boolean;
}

export class Chore implements Service {
  readonly #options: ChoreOptions;
  readonly #abort = new AbortController();
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #started = false;
  #again = false;

  constructor(options: ChoreOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    if (this.#started || this.#abort.signal.aborted) return;
    this.#started = true;
    if (this.#options.immediately) this.#run();
    else this.#schedule();
  }

  /** Runs now instead of at the next tick; if a run is under way, once more right after it. */
  hurry(): void {
    if (!this.#started || this.#abort.signal.aborted) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#timer?.cancel();
    this.#run();
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error('stopped'));
    this.#timer?.cancel();
    await this.#running;
  }

  #schedule(): void {
    if (this.#abort.signal.aborted) return;
    const { clock, everyMs } = this.#options;
    this.#timer = clock.after(typeof everyMs === 'number' ? everyMs : everyMs(), () => this.#run());
  }

  #run(): void {
    this.#running = this.#runAndReport().finally(() => {
      this.#running = undefined;
      if (this.#again && !this.#abort.signal.aborted) {
        this.#again = false;
        this.#run();
      } else this.#schedule();
    });
  }

  async #runAndReport(): Promise<void> {
    try {
      await this.#options.runOnce(this.#abort.signal);
    } catch (error) {
      if (!this.#abort.signal.aborted) this.#options.onError(error);
    }
  }
}
