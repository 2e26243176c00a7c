/** Sending and reading messages on the wire. */
import type { Broker } from '../../src/broker/broker';
import type { SendAnswer } from '../../src/broker/sender';
import { bulkAnswer, failed } from '../bulk';
import { readMessages } from '../messageBodies';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { queryFilter } from '../queryFilter';

type MessageOperations = 'sendMessages' | 'getMessage' | 'readQueue' | 'searchOffset';

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
      const messages = new MessageWriter(broker).many(page.messages);
      return {
        status: 200,
        json: `{"messages":${messages},"nextOffset":${page.nextOffset},"minOffset":${page.minOffset},"maxOffset":${page.maxOffset}}`,
      };
    },

    async searchOffset({ path, query }) {
      const topic = nameOf(path.topic);
      const { lookup } = broker.rooms;
      const offset = await lookup.searchOffset(topic, path.broker, path.queueId, query.at);
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
