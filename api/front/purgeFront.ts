/** Purging a topic over all brokers that hold it: each deletes its own messages. */
import { checkPurge, purgeResult } from '../handlers/purge';
import type { HandlerTable } from '../operation';
import { askedOf } from './front';
import { holdersOf, type OwnTopics } from './holders';
import { answersOf, namely, type Rounds } from './rounds';

interface PurgedQueue {
  readonly from: number;
  readonly to: number;
}

export function purgeFront(rounds: Rounds, groups: OwnTopics): HandlerTable<'purgeTopic'> {
  return {
    async purgeTopic(call) {
      checkPurge(call.body);
      const { dryRun = false } = call.body;
      const brokers = await holdersOf({ front: rounds.front, groups }, call);
      const asked = () => askedOf(call);
      const round = await (dryRun
        ? rounds.look(call, brokers, 'purgeTopic', asked)
        : rounds.change(call, brokers, 'purgeTopic', asked));
      const results = [...answersOf(round).values()].flatMap(
        (answer) => answer.json<{ results: PurgedQueue[] }>().results,
      );
      const unheard = [...round.away.keys(), ...round.refusals.keys()];
      return { status: 200, body: { ...purgeResult(dryRun, results), ...namely(unheard) } };
    },
  };
}
