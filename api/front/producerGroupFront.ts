/**
 * Producer groups over all brokers. Every broker knows the settings of all of them; changes of one go to the first broker in
 * the order of its name, so that they follow each other, and that broker tells the others.
 */
import { GantryError } from '../../src/base/errors';
import { producerGroupInUse } from '../../src/broker/producerGroup';
import { rendezvous } from '../../src/cluster/rendezvous';
import type { ProducerGroupOperations } from '../handlers/producerGroups';
import type { Call, HandlerTable } from '../operation';
import { listCursor } from '../paging';
import { STATUS } from '../problem';
import { mergedByName } from './mergedByName';
import { answersOf, namely, type Rounds } from './rounds';

interface View {
  readonly producerGroup: string;
  readonly version: number;
}

/** A broker that just came back may not know the settings yet. */
const PASSED_BY: readonly number[] = [STATUS.SERVICE_NOT_AVAILABLE, STATUS.PRODUCER_GROUP_NOT_FOUND];

export function producerGroupFront(rounds: Rounds): HandlerTable<ProducerGroupOperations> {
  const { front } = rounds;
  return {
    async listProducerGroups(call) {
      const asked = { path: call.path, query: call.query };
      const round = await rounds.everybody(call, await front.liveBrokers(), 'listProducerGroups', asked);
      const pages = [...answersOf(round).values()].map((answer) => answer.json<Page>());
      const { items, more } = mergedByName(
        pages.map(({ producerGroups, cursor }) => [producerGroups.map(named), cursor] as const),
        call.query.limit,
      );
      const cursor = more ? { cursor: listCursor(items.at(-1)!.name) } : {};
      const producerGroups = items.map(({ view }) => view);
      return { status: 200, body: { producerGroups, ...cursor, ...namely(round.away.keys()) } };
    },

    putProducerGroup: async (call) => rounds.inTurn(call, await ordered(call.path.producerGroup)),
    getProducerGroup: async (call) => rounds.inTurn(call, await ordered(call.path.producerGroup), PASSED_BY),
    updateProducerGroup: async (call) => rounds.inTurn(call, await ordered(call.path.producerGroup), PASSED_BY),

    async deleteProducerGroup(call) {
      const brokers = await ordered(call.path.producerGroup);
      if (!call.query.force) await checkUnused(call, brokers);
      return rounds.inTurn(call, brokers, PASSED_BY);
    },
  };

  async function ordered(producerGroup: string): Promise<readonly string[]> {
    return rendezvous(producerGroup, await front.liveBrokers());
  }

  /** Its transactions may be at any broker. Throws IN_USE, and SERVICE_NOT_AVAILABLE when one cannot be asked. */
  async function checkUnused(call: Call<'deleteProducerGroup'>, brokers: readonly string[]): Promise<void> {
    const { producerGroup } = call.path;
    const asked = { path: {}, query: { producerGroup, limit: 100 } };
    const { answers, away } = await rounds.everybody(call, brokers, 'listTransactions', asked);
    const open = [...answers.values()].flatMap(
      (answer) => answer.json<{ transactions: { transactionId: string }[] }>().transactions,
    );
    const transactionIds = open.map(({ transactionId }) => transactionId).slice(0, 100);
    if (transactionIds.length > 0) throw producerGroupInUse(producerGroup, transactionIds);
    if (away.size === 0) return;
    throw new GantryError(
      'SERVICE_NOT_AVAILABLE',
      `${[...away.keys()].join(', ')} cannot be asked for open transactions of ${producerGroup}; nothing was done: call again later, or say force=true`,
      { retryAfterMs: 1000, members: namely(away.keys()) },
    );
  }
}

interface Page {
  readonly producerGroups: readonly View[];
  readonly cursor?: string;
}

const named = (view: View) => ({ name: view.producerGroup, version: view.version, view });
