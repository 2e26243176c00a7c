/**
 * Producing: records become messages. One with a key goes where Kafka's clients would send it, one without goes with the
 * others of its request to the next queue in turn. Results stand in the order of the request, failed ones among them.
 */
import { GantryError } from '../../src/base/errors';
import type { Dialect, FailureShape } from './dialects';
import type { KafkaAnswer, KafkaCall, KafkaHandlers } from './exchange';
import { faultAs, KafkaFault, partitionMissing, recordCodeOf, topicMissing } from './faults';
import { answerType, recordFormatOf } from './mediaTypes';
import type { Native } from './native';
import { partitionsOf, type Partitions } from './partitions';
import { topicOf } from './places';
import { readRecords } from './produceBody';
import { storeRecords, type Outcome } from './recordStore';

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
    const work = storeRecords(native, topic, placed, call.signal);
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
