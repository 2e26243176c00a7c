/** A call that ends in time even if the called side does not. */
import { setMaxListeners } from 'node:events';
import type { Clock } from '../base/clock';
import { DeadlineOver } from '../base/errors';

/**
 * The call's result, or a rejection once `ms` milliseconds are over or `parent` aborts. The call's own signal aborts
 * then; whatever it still does later is ignored.
 */
export async function withDeadline<T>(
  clock: Clock,
  ms: number,
  parent: AbortSignal,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController();
  const onParent = () => own.abort(parent.reason);
  // Any number of calls may hang on one signal; each takes its listener away.
  setMaxListeners(0, parent);
  if (parent.aborted) onParent();
  parent.addEventListener('abort', onParent, { once: true });
  const timer = clock.after(ms, () => own.abort(new DeadlineOver(ms)));
  try {
    own.signal.throwIfAborted();
    return await Promise.race([call(own.signal), aborted(own.signal)]);
  } finally {
    timer.cancel();
    parent.removeEventListener('abort', onParent);
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
