/** A call that ends in time even if the called side does not. */
import type { Clock } from '../base/clock';

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
  if (parent.aborted) onParent();
  parent.addEventListener('abort', onParent, { once: true });
  const timer = clock.after(ms, () => own.abort(new Error(`no answer within ${ms} ms`)));
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
