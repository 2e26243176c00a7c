/** Stores records as messages: both versions of this API produce through it. */
import { createHash } from 'node:crypto';
import { GantryError } from '../../src/base/errors';
import { LIMITS } from '../../src/base/limits';
import { bodyBytes, type OutgoingMessage } from '../../src/broker/message';
import { attributeFault } from '../messageAttributes';
import { propertiesOf, ROOM, searchKeyOf } from './attributes';
import { KafkaFault } from './faults';
import type { Native, Sent } from './native';
import { partitionsOf, type Partitions, type TopicFacts } from './partitions';
import type { OutgoingRecord } from './produceBody';

/** Outcome of storing one record. */
export type Outcome = Sent | { readonly error: KafkaFault };

/** Sends what can be sent, in as few requests as the native bounds allow. */
export async function storeRecords(
  native: Native,
  topic: TopicFacts,
  records: readonly OutgoingRecord[],
  signal: AbortSignal,
): Promise<Outcome[]> {
  const partitions = partitionsOf(topic);
  const planned = records.map((record) => messageOf(topic, partitions, record));
  const outcomes = new Array<Outcome>(records.length);
  for (const indexes of chunksOf(planned, outcomes)) {
    const messages = indexes.map((i) => planned[i] as OutgoingMessage);
    const sent = await sendAll(native, topic.name, messages, signal);
    for (let i = 0; i < indexes.length; i++) outcomes[indexes[i]!] = sent[i]!;
  }
  return outcomes;
}

/** Which of them go together; those that cannot be sent get their outcome here. */
function chunksOf(planned: readonly (OutgoingMessage | KafkaFault)[], outcomes: Outcome[]): number[][] {
  const chunks: number[][] = [];
  let chunk: number[] = [];
  let bytes = 0;
  for (let i = 0; i < planned.length; i++) {
    const message = planned[i]!;
    if (message instanceof KafkaFault) {
      outcomes[i] = { error: message };
      continue;
    }
    // A character is at most three bytes: counting them exactly takes longer than it is worth.
    const most = typeof message.body === 'string' ? message.body.length * 3 : message.body.length;
    if (chunk.length === LIMITS.batchMessages || (chunk.length > 0 && bytes + most > LIMITS.batchBytes)) {
      chunks.push(chunk);
      chunk = [];
      bytes = 0;
    }
    chunk.push(i);
    bytes += most;
  }
  if (chunk.length > 0) chunks.push(chunk);
  return chunks;
}

/** Sends one request. A failure of the whole request becomes the outcome of each of its records. */
async function sendAll(
  native: Native,
  topic: string,
  messages: readonly OutgoingMessage[],
  signal: AbortSignal,
): Promise<readonly Sent[]> {
  try {
    return await native.send(topic, messages, signal);
  } catch (error) {
    if (!(error instanceof GantryError)) throw error;
    return messages.map(() => ({ error }));
  }
}

function messageOf(topic: TopicFacts, partitions: Partitions, record: OutgoingRecord): OutgoingMessage | KafkaFault {
  const { key, value, isJson, partition, headers, timestamp } = record;
  const body = value ?? '';
  if (body.length * 3 > LIMITS.messageBodyBytes && bodyBytes(body) > LIMITS.messageBodyBytes)
    return new KafkaFault(413, 50002, `The value has at most ${LIMITS.messageBodyBytes} bytes.`);
  const chosen = partition === undefined ? undefined : partitions.queueOf(partition);
  if (partition !== undefined && !chosen) return new KafkaFault(404, 40402, `There is no partition ${partition}.`);
  const plain = key === null && headers.length === 0 && timestamp === undefined && body.length > 0;
  const properties = plain
    ? undefined
    : propertiesOf({
        key,
        headers,
        timestamp,
        noValue: value === null,
        emptyValue: value !== null && body.length === 0,
      });
  const messageGroup = topic.type === 'FIFO' && key ? groupOf(key) : undefined;
  const searchKey = key ? searchKeyOf(key) : undefined;
  const keys = searchKey === undefined ? undefined : [searchKey];
  if (properties && attributeFault(undefined, keys, properties, messageGroup))
    return new KafkaFault(422, 50002, `The record cannot be stored: ${ROOM}.`);
  return {
    body,
    text: typeof body === 'string',
    contentType: isJson && value !== null ? 'application/json' : undefined,
    keys,
    properties,
    messageGroup,
    queue: chosen ?? (key ? partitions.forKey(key) : undefined),
  };
}

/** In a FIFO topic what has one key stays in order. A key that is no messageGroup's text is named by its base64 or hash. */
function groupOf(key: Buffer): string {
  const name = searchKeyOf(key) ?? key.toString('base64');
  return name.length <= MAX_GROUP ? name : createHash('sha256').update(key).digest('base64');
}

/** Characters of a messageGroup, as openapi.yaml has it: brokers elsewhere are sent it by that contract. */
const MAX_GROUP = 63;
