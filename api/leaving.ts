/**
 * How a process leaves, so that no caller gets an answer it cannot use: it is unready and not registered any more, serves
 * on while load balancers and fronts look away, then refuses what was not begun. After that its ports may close.
 */
import { delay, type Clock } from '../src/base/clock';
import type { HttpServer } from './server';

/**
 * How long requests are refused before connections are closed. A caller that uses its connections learns in this time
 * that the process stops; only on a connection that was idle for longer can a request meet the close.
 */
const REFUSE_MS = 250;

export interface Leaving {
  readonly clock: Clock;
  readonly server: HttpServer | undefined;
  /** Milliseconds to serve on. */
  readonly drainMs: number;
  /** Ends the serving on early. */
  readonly hurry: AbortSignal | undefined;
  /** Takes the process out of the NameServers' lists. */
  readonly unregister?: () => Promise<void>;
  /** Answers what waits for something to come. */
  readonly wakeAll?: () => void;
}

/** Resolves when nothing new is begun any more. */
export async function leave({ clock, server, drainMs, hurry, unregister, wakeAll }: Leaving): Promise<void> {
  server?.leave();
  await unregister?.();
  await delay(clock, drainMs, hurry).catch(() => undefined);
  wakeAll?.();
  server?.refuse();
  await delay(clock, REFUSE_MS);
}
