/**
 * Producing: records become messages. One with a key goes where Kafka's clients would send it, one without goes with the
 * others of its request to the next queue in turn. Results stand in the order of the request, failed ones among them.
 */
import { createHash } from 'node:crypto';
import { GantryError } from '../../src/base/errors';
import { LIMITS } from '../../src/base/limits';
import { bodyBytes, type OutgoingMessage } from '../../src/broker/message';
import { attributeFault } from '../messageAttributes';
import { propertiesOf, ROOM, searchKeyOf } from './attributes';
import type { Dialect, FailureShape } from './dialects';
import type { KafkaAnswer, KafkaCall, KafkaHandlers } from './exchange';
import { faultAs, KafkaFault, partitionMissing, recordCodeOf, topicMissing } from './faults';
import { answerType, recordFormatOf, type Format } from './mediaTypes';
import type { Native, Sent } from './native';
import { partitionsOf, type Partitions, type TopicFacts } from './partitions';
import { topicOf } from './places';
import { readRecords, type OutgoingRecord } from './produceBody';

/** What became of a record. */
type Outcome = Sent | { readonly error: KafkaFault };

export function produceHandlers(native: Native): KafkaHandlers<'produce' | 'produceToPartition'> {
  const produce = async (call: KafkaCall, partition?: number): Promise<KafkaAnswer> => {
    const type = answerType(call.headers.accept);
    const format = recordFormatOf(call.headers['content-type']);
    const records = readRecords(await call.body(), format, call.dialect);
    const name = call.params['topic']!;
    const topic = await topicOf(native, name);
    if (!topic) {
      if (call.dialect.missingTopic === '404' || partition !== undefined) throw topicMissing(call.dialect, name);
      return missing(call.dialect, records.length, type);
    }
    const partitions = partitionsOf(topic);
    if (partition !== undefined && !partitions.queueOf(partition)) throw partitionMissing();
    const placed = partition === undefined ? records : records.map((record) => ({ ...record, partition }));
    const work = store(native, topic, placed, format, call.signal);
    if (call.query.get('async') === 'true') {
      // Nobody waits for what becomes of it, and nobody is told.
      work.catch(() => undefined);
      return { status: 204 };
    }
    return answerOf(call.dialect, partitions, await work, type);
  };
  return {
    produce: (call) => produce(call),
    produceToPartition: (call) => produce(call, partitionNumber(call)),
  };
}

/** The partition in a path. Throws what the dialect has for one that is no number of 32 bits, 404 for a negative one. */
export function partitionNumber({ params, dialect }: KafkaCall): number {
  const text = params['partition']!;
  const number = /^-?[0-9]{1,10}$/.test(text) ? Number(text) : NaN;
  if (!(Math.abs(number) < 2 ** 31))
    throw faultAs(dialect.badPartition, `The partition ${text.slice(0, 100)} is not a whole number.`);
  if (number < 0) throw partitionMissing();
  return number;
}

function missing(dialect: Dialect, records: number, type: string): KafkaAnswer {
  const error = new GantryError('TOPIC_NOT_FOUND', 'This server does not host this topic-partition.');
  const failures = Array.from({ length: records }, () => failureOf(dialect.failureShape, error));
  return results(dialect, failures, dialect.partialFailure, type);
}

/** Sends what can be sent, in as few requests as the native bounds allow. */
async function store(
  native: Native,
  topic: TopicFacts,
  records: readonly OutgoingRecord[],
  format: Format,
  signal: AbortSignal,
): Promise<Outcome[]> {
  const partitions = partitionsOf(topic);
  const planned = records.map((record) => messageOf(topic, partitions, record, format));
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

/** What concerns the whole request concerns each of its records. */
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

function messageOf(
  topic: TopicFacts,
  partitions: Partitions,
  record: OutgoingRecord,
  format: Format,
): OutgoingMessage | KafkaFault {
  const { key, value, partition, headers, timestamp } = record;
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
    contentType: format === 'json' && value !== null ? 'application/json' : undefined,
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

function answerOf(dialect: Dialect, partitions: Partitions, outcomes: readonly Outcome[], type: string): KafkaAnswer {
  let json = '';
  let failed = false;
  let forbidden = false;
  const { failureShape } = dialect;
  const rest = failureShape === 'confluent' ? ',"error_code":null,"error":null}' : '}';
  for (const outcome of outcomes) {
    if (json !== '') json += ',';
    if (outcome.error) {
      failed = true;
      forbidden ||= recordCodeOf(outcome.error) === 40301;
      json += failureOf(failureShape, outcome.error);
    } else {
      const number = partitions.numberOf(outcome.broker, outcome.queueId);
      json += `{"partition":${number},"offset":${outcome.queueOffset}${rest}`;
    }
  }
  const status = !failed ? 200 : forbidden && failureShape === 'confluent' ? 403 : dialect.partialFailure;
  return results(dialect, [json], status, type);
}

function results({ schemaIds }: Dialect, items: readonly string[], status: number, type: string): KafkaAnswer {
  const ids = schemaIds ? ',"key_schema_id":null,"value_schema_id":null' : '';
  return { status, json: `{"offsets":[${items.join(',')}]${ids}}`, type };
}

/** Kafka's own numbers for what went wrong, as its protocol has them. */
const UNKNOWN_TOPIC = 3;
const TOO_LARGE = 10;
const UNKNOWN = -1;

function failureOf(shape: FailureShape, error: GantryError | KafkaFault): string {
  const code = recordCodeOf(error);
  const message = error.message;
  const topicAway = error instanceof GantryError && error.code === 'TOPIC_NOT_FOUND';
  switch (shape) {
    case 'confluent':
      return JSON.stringify({ partition: null, offset: null, error_code: code, error: message });
    case 'karapace':
      return JSON.stringify({ error_code: code === 50003 ? 2 : 1, error: message });
    case 'strimzi': {
      const status = topicAway ? 404 : error instanceof KafkaFault ? error.status : code === 50003 ? 503 : 500;
      return JSON.stringify({ error_code: status, message });
    }
    case 'redpanda': {
      const tooLarge = error instanceof KafkaFault && error.status === 413;
      const lost = topicAway || code === 40402;
      return JSON.stringify({
        partition: -1,
        error_code: lost ? UNKNOWN_TOPIC : tooLarge ? TOO_LARGE : UNKNOWN,
        offset: -1,
      });
    }
  }
}
