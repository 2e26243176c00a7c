/** Sending and reading messages on the wire. */
import { GantryError } from '../../src/base/errors';
import { hexOf } from '../../src/base/messageId';
import type { Broker } from '../../src/broker/broker';
import type { QueuePage } from '../../src/broker/lookup';
import { decodeMessage } from '../../src/broker/message';
import { offsetMessageId } from '../../src/broker/offsetMessageId';
import type { Delivery } from '../../src/broker/reader';
import type { SearchPlace, Wanted } from '../../src/broker/search';
import type { SendAnswer } from '../../src/broker/sender';
import { bulkAnswer, failed } from '../bulk';
import { readMessages } from '../messageBodies';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { HandlerTable, QueryOf } from '../operation';
import { afterPartsOf, listCursor } from '../paging';
import { placeOf } from '../places';
import { queryFilter, readTag } from '../queryFilter';
import { readTime } from '../timeField';

export type MessageOperations =
  'sendMessages' | 'getMessage' | 'queryMessages' | 'getMessageTrace' | 'readQueue' | 'searchOffset';

export function messageHandlers({ broker }: { readonly broker: Broker }): HandlerTable<MessageOperations> {
  return {
    async sendMessages(call) {
      const topic = nameOf(call.path.topic);
      const answer = await broker.rooms.sender.send(topic, readMessages(call), call.headers['Idempotency-Key']);
      const headers: Record<string, string> = answer.replayed ? { 'Idempotency-Replayed': 'true' } : {};
      if (answer.results.every((result) => result.error === undefined)) {
        return { status: 200, json: allStored(topic, broker.name, answer), headers };
      }
      const results = answer.results.map((result) =>
        result.error
          ? failed(result.error, call.requestId)
          : { status: 'SEND_OK', topic, broker: broker.name, ...result },
      );
      return bulkAnswer(call, results);
    },

    async getMessage({ path }) {
      const topic = nameOf(path.topic);
      const delivery = await broker.rooms.lookup.message(topic, path.messageId);
      return { status: 200, json: new MessageWriter(broker).one(delivery) };
    },

    async queryMessages({ path, query }) {
      const { from, to, limit } = query;
      const wanted = wantedOf(query);
      const answer = await broker.rooms.search.messages(nameOf(path.topic), wanted, {
        ...{ from, to, limit },
        newestFirst: query.order === 'NEWEST_FIRST',
        behind: searchPlaceOf(query.cursor),
      });
      const { behind } = answer;
      const at = behind && listCursor(`${behind.topic} ${behind.no} ${behind.time} ${behind.position}`);
      const cursor = at === undefined ? '' : `,"cursor":"${at}"`;
      return { status: 200, json: `{"messages":${new MessageWriter(broker).many(answer.messages)}${cursor}}` };
    },

    async getMessageTrace({ path, query }) {
      const parts = afterPartsOf(query.cursor, /^(\S+) (\S*)$/);
      const behind = parts && { group: parts[0]!, consumerId: parts[1]! };
      const trace = await broker.rooms.traces.of(nameOf(path.topic), path.messageId, query.limit, behind);
      const cursor = trace.behind && listCursor(`${trace.behind.group} ${trace.behind.consumerId}`);
      return {
        status: 200,
        body: { ...placeOfMessage(broker, trace.message), groups: trace.entries, ...(cursor && { cursor }) },
      };
    },

    async readQueue(call) {
      const { path, query } = call;
      const topic = nameOf(path.topic);
      const page = await broker.rooms.lookup.readQueue(topic, path.broker, path.queueId, {
        offset: query.offset,
        max: query.max,
        maxBytes: query.maxBytes,
        waitMs: query.waitMs,
        filter: queryFilter(query),
        signal: () => call.signal,
      });
      return { status: 200, json: () => pageJson(broker, page) };
    },

    async searchOffset({ path, query }) {
      const topic = nameOf(path.topic);
      const { lookup } = broker.rooms;
      const offset = await lookup.searchOffset(topic, path.broker, path.queueId, readPlace(query.at));
      const timestamp = await lookup.storeTimeAt(topic, path.broker, path.queueId, offset);
      return {
        status: 200,
        body: {
          topic,
          broker: path.broker,
          queueId: path.queueId,
          offset,
          ...(timestamp !== undefined && { timestamp }),
        },
      };
    },
  };
}

function placeOfMessage(broker: Broker, { queue, queueOffset, record }: Delivery) {
  const { messageId, position, tag, bornTimestamp, storeTimestamp } = decodeMessage(record);
  return {
    ...placeOf(broker, queue),
    queueOffset,
    messageId: hexOf(messageId),
    offsetMessageId: offsetMessageId(broker.rooms.core.idTag, position),
    ...(tag === undefined ? {} : { tag }),
    bornTimestamp,
    storeTimestamp,
  };
}

function wantedOf({ key, tag, from, to }: QueryOf<'queryMessages'>): Wanted {
  if (from !== undefined && to !== undefined && from > to)
    throw invalid('to', 'must not be before from', 'the time that the search ends at lies before the one it begins at');
  if (key === undefined) return tag === undefined ? {} : { tag: readTag(tag) };
  if (tag === undefined) return { key };
  throw invalid(
    'tag',
    'stands beside key: give one of them',
    'say either key (messages that have this key) or tag (messages that have this tag), or neither for all messages',
  );
}

/** EARLIEST, LATEST, or a time as its milliseconds. */
function readPlace(at: string): string {
  if (at === 'EARLIEST' || at === 'LATEST') return at;
  const read = readTime(/^[0-9]+$/.test(at) ? Number(at) : at);
  if ('time' in read) return String(read.time);
  throw invalid('at', read.detail, `Query parameter at: ${read.detail}.`);
}

const invalid = (parameter: string, detail: string, message: string): GantryError =>
  new GantryError('VALIDATION_FAILED', message, { errors: [{ parameter, in: 'query', detail }] });

function searchPlaceOf(cursor: string | undefined): SearchPlace | undefined {
  const parts = afterPartsOf(cursor, /^(\S+) ([0-9]{1,16}) ([0-9]{1,16}) ([0-9]{1,16})$/);
  return parts && { topic: parts[0]!, no: Number(parts[1]), time: Number(parts[2]), position: Number(parts[3]) };
}

function pageJson(broker: Broker, { messages, nextOffset, minOffset, maxOffset }: QueuePage): string {
  const json = new MessageWriter(broker).many(messages);
  return `{"messages":${json},"nextOffset":${nextOffset},"minOffset":${minOffset},"maxOffset":${maxOffset}}`;
}

/** The answer of nearly every send, without building objects for it. Nothing in it needs escaping but the names. */
function allStored(topic: string, brokerName: string, { results }: SendAnswer): string {
  const place = `,"topic":${JSON.stringify(topic)},"broker":${JSON.stringify(brokerName)}`;
  let json = '{"results":[';
  for (let i = 0; i < results.length; i++) {
    const result = results[i]!;
    if (result.error) continue;
    json += `${i === 0 ? '' : ','}{"status":"SEND_OK","messageId":"${result.messageId}"`;
    json +=
      result.deliverTimestamp === undefined
        ? `,"offsetMessageId":"${result.offsetMessageId}"${place},"queueId":${result.queueId},"queueOffset":${result.queueOffset}`
        : `${place},"deliverTimestamp":${result.deliverTimestamp}`;
    json += `,"storeTimestamp":${result.storeTimestamp}}`;
  }
  return `${json}]}`;
}
