/** Looking for messages of a topic of several brokers: whoever has it is asked, or all are, one by one or at once. */
import { noQueue } from '../../src/broker/partition';
import type { MessageOperations } from '../handlers/messages';
import type { ScheduleOperations } from '../handlers/schedule';
import { nameOf } from '../names';
import type { Answer, Call, HandlerTable } from '../operation';
import { firstFound } from './firstFound';
import { askedOf } from './front';
import { holdersOf, type Holders } from './holders';
import { oneByOne } from './oneByOne';
import { testEverywhere } from './filterFront';

/** Sending is sendFront.ts. */
type LookOperations = Exclude<MessageOperations, 'sendMessages'> | ScheduleOperations | 'testFilter';

/** Milliseconds that looking through messages may take beyond what any other question may. */
const SEARCH_MS = 2000;

export function messageFront(parts: Holders): HandlerTable<LookOperations> {
  const { front } = parts;
  return {
    getMessage: (call) => byId(parts, call),
    getMessageTrace: (call) => byId(parts, call),

    async recallScheduled(call) {
      const ask = (broker: string) => front.change(call, broker, 'recallScheduled', askedOf(call));
      return (await firstFound(await holdersOf(parts, call), call.signal, ask, { changes: true })).asAnswer();
    },

    async queryMessages(call) {
      const { cursor: _, ...wanted } = call.query;
      const body = await oneByOne(await holdersOf(parts, call), call.query, 'messages', (broker, page) => {
        const request = { path: call.path, query: { ...wanted, ...page } };
        return front.look(call, broker, 'queryMessages', request, SEARCH_MS);
      });
      return { status: 200, body };
    },

    async listScheduled(call) {
      const body = await oneByOne(await holdersOf(parts, call), call.query, 'scheduled', (broker, query) =>
        front.look(call, broker, 'listScheduled', { path: call.path, query }),
      );
      return { status: 200, body };
    },

    readQueue: (call) => ofQueue(parts, call),
    searchOffset: (call) => ofQueue(parts, call),
    testFilter: async (call) => testEverywhere(front, call, await holdersOf(parts, call)),
  };
}

/**
 * An offsetMessageId says whose it is, and that broker is asked first: the others would look through their indexes for
 * it. They are asked all the same when it has none: a sender may have chosen such a messageId.
 */
async function byId(parts: Holders, given: Call<'getMessage'> | Call<'getMessageTrace'>): Promise<Answer> {
  const call = given as Call<'getMessage'>; // whatever is asked, it is passed on as it came
  const { front } = parts;
  const holders = await holdersOf(parts, call);
  const ask = (broker: string, signal: AbortSignal) =>
    front.patience.glance(broker, { signal }, (own) => front.ask(call, broker, own));
  const mark = call.path.messageId.slice(0, 16).toUpperCase();
  const marked = (await front.fleet.brokers()).find(({ name, idMark }) => idMark === mark && holders.includes(name));
  const others = holders.filter((broker) => broker !== marked?.name);
  const first = marked && (await firstFound([marked.name], call.signal, ask));
  if (first && (first.status !== 404 || others.length === 0)) return first.asAnswer();
  return (await firstFound(others, call.signal, ask)).asAnswer();
}

/** What is asked of one queue is for its broker, whether it lives or not. */
async function ofQueue(parts: Holders, call: Call<'readQueue'> | Call<'searchOffset'>): Promise<Answer> {
  const { topic, broker, queueId } = call.path;
  const holders = await holdersOf(parts, call);
  if (!holders.includes(broker)) throw noQueue(nameOf(topic), { broker, queueId });
  return parts.front.forward(call as Call<'readQueue'>, broker);
}
