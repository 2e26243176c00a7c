/** Consumer instances: made, subscribed, moved, committed, ended. Reading records is recordsOut.ts. */
import { committedOffsets } from './assigned';
import { baseOf } from './baseUri';
import type { KafkaAnswer, KafkaCall, KafkaHandlers } from './exchange';
import { illegalState, instanceMissing, KafkaFault } from './faults';
import { nativeGroup } from './groupNames';
import type { Hops } from './hops';
import type { Instance } from './instance';
import type { Instances } from './instances';
import { answerType, bodyTypeOf } from './mediaTypes';
import type { Native } from './native';
import { placeOf, queueOf, queuesOf } from './places';
import { nameOfQueue, type Place, type Reading, type SeekTarget } from './reading';
import { nameIn, readSettings } from './settings';
import {
  assignmentIn,
  commitIn,
  objectIn,
  placesIn,
  placesNeeded,
  positionsIn,
  wantedIn,
  type PlaceOffset,
  type SeekTo,
} from './wireRequests';

export interface ConsumerParts {
  readonly native: Native;
  readonly instances: Instances;
  readonly hops: Hops;
}

type ConsumerOperations =
  | 'createConsumer'
  | 'deleteConsumer'
  | 'subscribe'
  | 'getSubscription'
  | 'unsubscribe'
  | 'assign'
  | 'getAssignments'
  | 'seek'
  | 'seekToBeginning'
  | 'seekToEnd'
  | 'commitOffsets'
  | 'getOffsets';

export function consumerHandlers(parts: ConsumerParts): KafkaHandlers<ConsumerOperations> {
  const { native, instances } = parts;
  const within = (work: (call: KafkaCall, instance: Instance) => Promise<KafkaAnswer>) => withInstance(parts, work);
  const seekTo = (target: SeekTarget) =>
    within(async (call, instance) => {
      const places = placesNeeded(await fieldsOf(call));
      return seek(
        native,
        call,
        instance,
        places.map((place) => ({ ...place, to: target })),
      );
    });
  return {
    async createConsumer(call) {
      const type = answerType(call.headers.accept);
      const group = nativeGroup(call.params['group']!);
      const fields = await fieldsOf(call);
      const settings = readSettings(fields, call.dialect);
      const instance = await instances.create(group, nameIn(fields), settings, call.signal);
      const uri = `${baseOf(call.req, call.dialect)}/instances/${encodeURIComponent(instance.name)}`;
      return { status: 200, body: { instance_id: instance.name, base_uri: uri }, type };
    },

    deleteConsumer: within(async (call, instance) => {
      await instance.stop(true, call.signal);
      await instances.end(instance, call.signal);
      return NOTHING;
    }),

    subscribe: within(async (call, instance) => {
      await instance.subscribe(wantedIn(await fieldsOf(call), call.dialect), call.signal);
      await instances.note(instance, call.signal);
      return NOTHING;
    }),

    getSubscription: within(async (call, { subscribed, reading }) => {
      const wanted = subscribed?.wanted;
      const topics = wanted && 'topics' in wanted ? wanted.topics : (subscribed?.topics ?? []);
      const partitions = call.dialect.subscribedPartitions ? byTopic(await placesOf(native, call, reading)) : undefined;
      return {
        status: 200,
        body: { topics, ...(partitions && { partitions }) },
        type: answerType(call.headers.accept),
      };
    }),

    unsubscribe: within(async (call, instance) => {
      await instance.stop(true, call.signal);
      await instances.note(instance, call.signal);
      return NOTHING;
    }),

    assign: within(async (call, instance) => {
      await instance.assign(assignmentIn(await fieldsOf(call)), call.signal);
      await instances.note(instance, call.signal);
      return NOTHING;
    }),

    getAssignments: within(async (call, { reading }) => {
      const partitions = await placesOf(native, call, reading);
      return { status: 200, body: { partitions }, type: answerType(call.headers.accept) };
    }),

    seek: within(async (call, instance) => seek(native, call, instance, await seekTargets(native, call))),
    seekToBeginning: seekTo('EARLIEST'),
    seekToEnd: seekTo('LATEST'),

    commitOffsets: within(async (call, instance) => {
      const offsets = commitIn(await fieldsOf(call));
      if (offsets === undefined) await instance.reading?.commitDelivered(call.signal);
      else if (offsets.length > 0) await commit(native, call, instance, offsets);
      if (call.dialect.commitAnswer === 204) return NOTHING;
      return { status: 200, body: [], type: answerType(call.headers.accept) };
    }),

    getOffsets: within(async (call, instance) => {
      const places = placesIn(await fieldsOf(call));
      const offsets = await committed(native, call, instance, places);
      return { status: 200, body: { offsets }, type: answerType(call.headers.accept) };
    }),
  };
}

const NOTHING: KafkaAnswer = { status: 204 };

/** The body, whatever JSON type it claims to be. */
async function fieldsOf(call: KafkaCall): Promise<Readonly<Record<string, unknown>>> {
  const bytes = await call.body();
  if (bytes.length > 0) bodyTypeOf(call.headers['content-type']);
  return objectIn(bytes);
}

/** Serves a call where its instance is: here, at another front, or here from now on. */
export function withInstance(
  { instances, hops }: ConsumerParts,
  work: (call: KafkaCall, instance: Instance) => Promise<KafkaAnswer>,
): (call: KafkaCall) => Promise<KafkaAnswer> {
  return async (call) => {
    const [group, name] = [nativeGroup(call.params['group']!), call.params['instance']!];
    const found = await instances.find(group, name, call.signal);
    let instance = found;
    if (typeof instance === 'string') {
      // Whoever passed it on went by an older note: it is answered from here in any case, so that nothing goes in circles.
      const answer = call.isHop ? undefined : await hops.pass(instance, call);
      if (answer) return answer;
      instance = await instances.takeOver(group, name, call.signal);
    }
    const here = instance;
    return here.serve(() => {
      if (!instances.has(here)) throw instanceMissing();
      return work(call, here);
    });
  };
}

/** The partitions that an instance reads, or will read when they come; in order. */
async function placesOf(native: Native, call: KafkaCall, reading: Reading | undefined): Promise<Place[]> {
  const queues = (await reading?.queues(call.signal)) ?? [];
  const places = await Promise.all(queues.map((at) => placeOf(native, at)));
  return sorted([...places.flatMap((place) => place ?? []), ...(reading?.missing ?? [])]);
}

/** As the Strimzi bridge tells them: an object for each topic, the last name first. */
function byTopic(places: readonly Place[]): Record<string, number[]>[] {
  const topics = new Map<string, number[]>();
  for (const { topic, partition } of places) topics.set(topic, [...(topics.get(topic) ?? []), partition]);
  return [...topics].reverse().map(([topic, partitions]) => ({ [topic]: partitions }));
}

const sorted = (places: readonly Place[]): Place[] =>
  [...places].sort((a, b) => (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition));

/** A time as searchOffset takes it: what may be mistaken for seconds is written out. */
const textOf = (time: number): string => (time < NEVER_SECONDS ? new Date(time).toISOString() : String(time));
const NEVER_SECONDS = 1e12;

async function seekTargets(native: Native, call: KafkaCall): Promise<SeekTo[]> {
  const { offsets, timestamps } = positionsIn(await fieldsOf(call));
  const atTimes = timestamps.map(async ({ at, ...place }): Promise<SeekTo> => {
    const [queue] = await queuesOf(native, call.dialect, [place]);
    const asked = { path: { ...queue! }, query: { at: textOf(at) } };
    const answer = (await native.call('searchOffset', asked, call.signal)).orThrow();
    return { ...place, to: answer.json<{ offset: number }>().offset };
  });
  return [...offsets.map(({ offset, ...place }) => ({ ...place, to: offset })), ...(await Promise.all(atTimes))];
}

async function seek(native: Native, call: KafkaCall, instance: Instance, to: readonly SeekTo[]): Promise<KafkaAnswer> {
  const unassigned = () =>
    call.dialect.unassignedSeek === 409
      ? illegalState('No current assignment for partition')
      : new KafkaFault(404, 404, 'No current assignment for partition');
  const { reading } = instance;
  if (!reading) throw unassigned();
  const queues = await Promise.all(to.map((place) => queueOf(native, place)));
  const isMissing = ({ topic, partition }: Place) =>
    reading.missing.some((one) => one.topic === topic && one.partition === partition);
  // A partition that comes later begins with its first record anyway.
  if (to.some((place, i) => !queues[i] && !isMissing(place))) throw unassigned();
  const places = to.flatMap(({ to: target }, i) => (queues[i] ? { ...queues[i], to: target } : []));
  await reading.seek(places, unassigned, call.signal);
  return NOTHING;
}

/** How far behind the end an offset may lie that a client names: what follows the last record is often named wrongly. */
const BEYOND = 1;

async function commit(
  native: Native,
  call: KafkaCall,
  instance: Instance,
  offsets: readonly PlaceOffset[],
): Promise<void> {
  const queues = await queuesOf(native, call.dialect, offsets);
  const step = call.dialect.commitOffset === 'last' ? 1 : 0;
  const next = queues.map((queue, i) => ({ ...queue, nextOffset: offsets[i]!.offset + step }));
  await instance.commit(next, BEYOND + step, call.signal);
}

async function committed(native: Native, call: KafkaCall, instance: Instance, places: readonly Place[] | undefined) {
  const { group, reading } = instance;
  const queues = places ? await queuesOf(native, call.dialect, places) : ((await reading?.queues(call.signal)) ?? []);
  const known = await committedOffsets(native, group, call.signal);
  const offsets = new Map(known.map((at) => [nameOfQueue(at), at.nextOffset]));
  const found = queues.map(async (queue) => {
    const [offset, place] = [offsets.get(nameOfQueue(queue)), await placeOf(native, queue)];
    if (offset === undefined || !place) return [];
    return [{ ...place, offset: instance.toldOffset({ ...queue, nextOffset: offset }), metadata: '' }];
  });
  return (await Promise.all(found)).flat();
}
