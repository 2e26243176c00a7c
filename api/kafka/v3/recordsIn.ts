/**
 * Producing by version 3 of this API: a request streams records, its answer the report of each, in order. A fault of
 * one record is in its report, as `error_code`; the status is 200 as soon as the request is taken.
 */
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../../../src/base/clock';
import { GantryError } from '../../../src/base/errors';
import { LIMITS } from '../../../src/base/limits';
import { fieldsOfItems, fieldsOfObject } from '../../exactJson';
import { parseMediaType } from '../../mediaType';
import { ClientGone } from '../../operation';
import type { KafkaAnswer, KafkaCall, KafkaHandlers } from '../exchange';
import { faultOf, KafkaFault } from '../faults';
import type { Native } from '../native';
import { partitionsOf } from '../partitions';
import { topicOf } from '../places';
import { readObject } from '../produceBody';
import { storeRecords } from '../recordStore';
import { JsonSequence } from './jsonSequence';
import { EXACT_FIELDS, readRecordRequest, type RecordRequest } from './recordRequest';

/** Entries of one batch, and characters of their ids: Confluent's bounds. */
const MOST_ENTRIES = 10;
const ID_CHARACTERS = 80;
const JSON_TYPE = 'application/json';

/** Outcome of one record, without its `error_code` of 200. */
type Report = Readonly<Record<string, unknown>> | KafkaFault;

export function recordsHandlers(native: Native, clock: Clock): KafkaHandlers<'produceRecords' | 'produceRecordsBatch'> {
  return {
    produceRecords(call) {
      checkBody(call.req);
      return { status: 200, type: JSON_TYPE, stream: reportsOf(native, clock, call) };
    },
    async produceRecordsBatch(call) {
      checkBody(call.req);
      return produceBatch(native, clock, call);
    },
  };
}

async function* reportsOf(native: Native, clock: Clock, call: KafkaCall): AsyncIterable<string> {
  const sequence = new JsonSequence(LIMITS.sendRequestBytes);
  let none = true;
  try {
    for await (const chunk of bytesOf(call, clock)) {
      const objects = sequence.push(chunk);
      none &&= objects.length === 0;
      const reports = await produceAll(native, clock, call, objects.map(recordIn));
      for (const report of reports) yield textOf(report);
      if (sequence.fault) break;
    }
    sequence.end();
    if (none) sequence.fault ??= new KafkaFault(400, 400, 'The request has no record: send {"value": {"type": …}}.');
    if (sequence.fault) yield textOf(sequence.fault);
  } catch (error) {
    if (error instanceof ClientGone || call.res.destroyed) throw error;
    yield textOf(faultOf(error));
  }
}

const textOf = (report: Report): string =>
  `${JSON.stringify(report instanceof KafkaFault ? failureOf(report) : { error_code: 200, ...report })}\r\n`;

const failureOf = ({ code, message }: KafkaFault) => ({ error_code: code, message });

/** The body as it comes, no longer than a stream may take. */
async function* bytesOf({ req, res }: KafkaCall, clock: Clock): AsyncIterable<Buffer> {
  if (req.headers.expect !== undefined) res.writeContinue();
  const chunks = req.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  let give: (fault: KafkaFault) => void = () => undefined;
  const over = new Promise<never>((_, reject) => (give = reject));
  over.catch(() => undefined);
  const timer = clock.after(LIMITS.recordStreamMs, () =>
    give(new KafkaFault(408, 408, 'Streaming connection open for longer than allowed: go on with another request.')),
  );
  try {
    for (;;) {
      const next = chunks.next();
      next.catch(() => undefined);
      const result: IteratorResult<Buffer, unknown> = await Promise.race([next, over]);
      if (result.done === true) return;
      yield result.value;
    }
  } finally {
    timer.cancel();
  }
}

function recordIn(bytes: Buffer): RecordRequest | KafkaFault {
  try {
    const { text, object } = readObject(bytes);
    return readRecordRequest(object, fieldsOfObject(text, EXACT_FIELDS));
  } catch (error) {
    return faultOf(error);
  }
}

/** Stores the records that can be; reports in their order. */
async function produceAll(
  native: Native,
  clock: Clock,
  { params, signal }: KafkaCall,
  requests: readonly (RecordRequest | KafkaFault)[],
): Promise<Report[]> {
  const name = params['topic']!;
  const good = requests.filter((request): request is RecordRequest => !(request instanceof KafkaFault));
  if (good.length === 0) return requests as KafkaFault[];
  const topic = await topicOf(native, name);
  const missing = new KafkaFault(404, 40403, 'This server does not host this topic-partition.');
  if (!topic) return requests.map((request) => (request instanceof KafkaFault ? request : missing));
  const partitions = partitionsOf(topic);
  const now = clock.now();
  const records = good.map(({ record }) => record);
  const outcomes = await storeRecords(native, topic, records, signal);
  let next = 0;
  return requests.map((request): Report => {
    if (request instanceof KafkaFault) return request;
    const outcome = outcomes[next++]!;
    if (outcome.error) return outcome.error instanceof GantryError ? faultOf(outcome.error) : outcome.error;
    const { key, value, record } = request;
    return {
      cluster_id: params['cluster']!,
      topic_name: name,
      partition_id: partitions.numberOf(outcome.broker, outcome.queueId),
      offset: outcome.queueOffset,
      timestamp: new Date(record.timestamp ?? now).toISOString(),
      ...(key && { key }),
      ...(value && { value }),
    };
  });
}

async function produceBatch(native: Native, clock: Clock, call: KafkaCall): Promise<KafkaAnswer> {
  const { text, object } = readObject(await call.body());
  const { entries } = object;
  if (!Array.isArray(entries) || entries.length === 0) throw badBatch('entries must be a list of at least one entry.');
  if (entries.length > MOST_ENTRIES) throw badBatch(`A batch has at most ${MOST_ENTRIES} entries.`);
  const ids = entries.map(idOf);
  if (new Set(ids).size < ids.length) throw badBatch('The ids of the entries must be distinct.');
  const exact = fieldsOfItems(text, 'entries', EXACT_FIELDS);
  const requests = entries.map(({ id: _, ...record }: Record<string, unknown>, i) => {
    try {
      return readRecordRequest(record, exact[i]!);
    } catch (error) {
      return faultOf(error);
    }
  });
  const reports = await produceAll(native, clock, call, requests);
  const successes: object[] = [];
  const failures: object[] = [];
  reports.forEach((report, i) => {
    if (report instanceof KafkaFault) failures.push({ id: ids[i], ...failureOf(report) });
    else successes.push({ id: ids[i], ...report });
  });
  return { status: 207, type: JSON_TYPE, body: { successes, failures } };
}

function idOf(entry: unknown): string {
  const { id } = (entry ?? {}) as { id?: unknown };
  if (typeof id === 'string' && id !== '' && id.length <= ID_CHARACTERS) return id;
  throw badBatch(`Each entry must have an id of 1 to ${ID_CHARACTERS} characters.`);
}

const badBatch = (detail: string): KafkaFault => new KafkaFault(422, 42208, detail);

/** Throws 415 for what is no JSON in UTF-8. */
function checkBody({ headers }: IncomingMessage): void {
  const { 'content-type': type, 'content-encoding': encoding } = headers;
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity')
    throw new KafkaFault(415, 415, `Content-Encoding ${encoding} is not read here: send the body as it is.`);
  const media = type === undefined ? undefined : parseMediaType(type);
  if (type !== undefined && media?.type !== JSON_TYPE)
    throw new KafkaFault(415, 415, `HTTP 415 Unsupported Media Type: send ${JSON_TYPE}.`);
}
