/** Consumer instances: made, subscribed, moved, committed, ended. Reading records is recordsOut.ts. */
import { committedOffsets } from './assigned';
import { baseOf } from './baseUri';
import type { KafkaAnswer, KafkaCall, KafkaHandlers } from './exchange';
import { illegalState, instanceMissing, KafkaFault } from './faults';
import type { Hops } from './hops';
import { queuesOf, type Instance, type Place } from './instance';
import type { Instances } from './instances';
import { answerType, bodyTypeOf } from './mediaTypes';
import type { Native } from './native';
import { partitionsOf } from './partitions';
import { topicOf } from './produce';
import { nameOfQueue, type QueueAt, type SeekTarget } from './reading';
import { checkGroupName, nameIn, readSettings } from './settings';
import { objectIn, offsetsIn, placesIn, placesNeeded, positionsIn, wantedIn, type SeekTo } from './wireRequests';

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
      const group = call.params['group']!;
      checkGroupName(group);
      const fields = await fieldsOf(call);
      const settings = readSettings(fields, call.dialect);
      const instance = await instances.create(group, nameIn(fields), settings, call.signal);
      const base = baseOf(call.req, call.dialect);
      const uri = `${base}/consumers/${encodeURIComponent(group)}/instances/${encodeURIComponent(instance.name)}`;
      return { status: 200, body: { instance_id: instance.name, base_uri: uri }, type };
    },

    deleteConsumer: within(async (call, instance) => {
      await instance.stop(true, call.signal);
      await instances.end(instance, call.signal);
      return NOTHING;
    }),

    subscribe: within(async (call, instance) => {
      await instance.subscribe(wantedIn(await fieldsOf(call)), call.signal);
      await instances.note(instance, call.signal);
      return NOTHING;
    }),

    getSubscription: within(async (call, { subscribed }) => {
      const wanted = subscribed?.wanted;
      const topics = wanted && 'topics' in wanted ? wanted.topics : (subscribed?.topics ?? []);
      return { status: 200, body: { topics }, type: answerType(call.headers.accept) };
    }),

    unsubscribe: within(async (call, instance) => {
      await instance.stop(true, call.signal);
      await instances.note(instance, call.signal);
      return NOTHING;
    }),

    assign: within(async (call, instance) => {
      await instance.assign(placesNeeded(await fieldsOf(call)), call.signal);
      await instances.note(instance, call.signal);
      return NOTHING;
    }),

    getAssignments: within(async (call, { reading }) => {
      const queues = (await reading?.queues(call.signal)) ?? [];
      const partitions = (await Promise.all(queues.map((at) => placeOf(native, at)))).flatMap((place) => place ?? []);
      return { status: 200, body: { partitions: sorted(partitions) }, type: answerType(call.headers.accept) };
    }),

    seek: within(async (call, instance) => seek(native, call, instance, await seekTargets(native, call))),
    seekToBeginning: seekTo('EARLIEST'),
    seekToEnd: seekTo('LATEST'),

    commitOffsets: within(async (call, instance) => {
      const offsets = offsetsIn(await fieldsOf(call)) ?? [];
      const { reading } = instance;
      if (offsets.length === 0) await reading?.commitDelivered(call.signal);
      else await commit(native, call, instance, offsets);
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
    const [group, name] = [call.params['group']!, call.params['instance']!];
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

/** The number of a queue; undefined for one of the group's own topics. */
async function placeOf(native: Native, { topic, broker, queueId }: QueueAt): Promise<Place | undefined> {
  const facts = await topicOf(native, topic);
  const partition = facts ? partitionsOf(facts).numberOf(broker, queueId) : -1;
  return partition < 0 ? undefined : { topic, partition };
}

const sorted = (places: readonly Place[]): Place[] =>
  [...places].sort((a, b) => (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition));

/** A time as searchOffset takes it: what may be mistaken for seconds is written out. */
const textOf = (time: number): string => (time < NEVER_SECONDS ? new Date(time).toISOString() : String(time));
const NEVER_SECONDS = 1e12;

async function seekTargets(native: Native, call: KafkaCall): Promise<SeekTo[]> {
  const { offsets, timestamps } = positionsIn(await fieldsOf(call));
  const atTimes = timestamps.map(async ({ at, ...place }): Promise<SeekTo> => {
    const [queue] = await queuesOf(native, [place]);
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
  if (!instance.reading) throw unassigned();
  const queues = await queuesOf(native, to);
  const places = queues.map((queue, i) => ({ ...queue, to: to[i]!.to }));
  await instance.reading.seek(places, unassigned, call.signal);
  return NOTHING;
}

async function commit(
  native: Native,
  call: KafkaCall,
  { reading }: Instance,
  offsets: readonly (Place & { readonly offset: number })[],
): Promise<void> {
  if (!reading) throw illegalState('The consumer instance is neither subscribed nor assigned');
  const queues = await queuesOf(native, offsets);
  const step = call.dialect.commitOffset === 'last' ? 1 : 0;
  const next = queues.map((queue, i) => ({ ...queue, nextOffset: offsets[i]!.offset + step }));
  await reading.commit(next, call.signal);
}

async function committed(
  native: Native,
  call: KafkaCall,
  { group, reading }: Instance,
  places: readonly Place[] | undefined,
) {
  const queues = places ? await queuesOf(native, places) : ((await reading?.queues(call.signal)) ?? []);
  const known = await committedOffsets(native, group, call.signal);
  const offsets = new Map(known.map((at) => [nameOfQueue(at), at.nextOffset]));
  const found = queues.map(async (queue) => {
    const [offset, place] = [offsets.get(nameOfQueue(queue)), await placeOf(native, queue)];
    return offset === undefined || !place ? [] : [{ ...place, offset, metadata: '' }];
  });
  return (await Promise.all(found)).flat();
}
