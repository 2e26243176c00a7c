/** The handlers of a front that knows of all brokers: one for each operation of the contract that concerns more than one process. */
import { Avoidance, backoffSteps } from '../../src/cluster/avoidance';
import type { Handlers } from '../operation';
import { clusterFront } from './clusterFront';
import { consumptionFront } from './consumptionFront';
import type { Front } from './front';
import { GroupPlaces } from './groupPlaces';
import { messageFront } from './messageFront';
import { producerGroupFront } from './producerGroupFront';
import { purgeFront } from './purgeFront';
import { Rounds } from './rounds';
import { sendFront } from './sendFront';
import { Sending } from './sending';
import { topicFront } from './topicFront';
import { transactionFront } from './transactionFront';

export interface WideOptions {
  /** See --send-backoff. */
  readonly sendBackoff: readonly string[];
}

export function wideHandlers(front: Front, { sendBackoff }: WideOptions): Handlers {
  const avoidance = new Avoidance({ clock: front.clock, steps: backoffSteps(sendBackoff) });
  const sending = new Sending({ front, avoidance });
  const rounds = new Rounds(front);
  const groups = new GroupPlaces(rounds);
  return {
    ...topicFront(rounds, groups),
    ...purgeFront(rounds, groups),
    ...clusterFront(rounds),
    ...sendFront({ front, sending }),
    ...transactionFront({ rounds, sending }),
    ...producerGroupFront(rounds),
    ...messageFront({ front, groups }),
    ...consumptionFront(rounds, groups),
  };
}
