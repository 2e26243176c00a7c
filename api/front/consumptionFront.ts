/** All that consumers ask, served by a front that knows of all brokers. */
import { consumerFront } from './consumerFront';
import { deadLetterFront } from './deadLetterFront';
import { groupFront } from './groupFront';
import type { GroupPlaces } from './groupPlaces';
import { leaseFront } from './leaseFront';
import { offsetFront } from './offsetFront';
import { retryFront } from './retryFront';
import type { Rounds } from './rounds';

export function consumptionFront(rounds: Rounds, places: GroupPlaces) {
  return {
    ...groupFront(rounds, places),
    ...consumerFront(rounds, places),
    ...offsetFront(rounds, places),
    ...leaseFront(rounds, places),
    ...retryFront(rounds, places),
    ...deadLetterFront(rounds, places),
  };
}
