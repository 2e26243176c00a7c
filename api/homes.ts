/** Answers of a broker or a front to a change that another broker decides about. */
import { GantryError } from '../src/base/errors';
import { STATUS } from './problem';

/** Says of a broker that it gives no answer now (503, 504), not what it thinks of the question. */
export const isAway = ({ code }: GantryError): boolean =>
  STATUS[code] === STATUS.SERVICE_NOT_AVAILABLE || STATUS[code] === STATUS.OUTCOME_UNKNOWN;

/** A change waits for the broker that decides. */
export const homeAway = (what: string, home: string): GantryError =>
  new GantryError(
    'SERVICE_NOT_AVAILABLE',
    `${what} is changed at its home, broker ${home}, which is away: nothing was done. Repeat this when it is back; ` +
      `if it never comes back, another broker becomes the home with DELETE /v1/brokers/${home}?force=true`,
    { retryAfterMs: 1000 },
  );
