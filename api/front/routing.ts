/**
 * Which handler answers a call at a front. A call that another part of the cluster made is answered by the broker here
 * and goes no further; so is one for a topic, a group or a broker that is here and nowhere else, at the cost of one
 * look. Everything else goes to the handlers that know of all brokers.
 */
import { GantryError } from '../../src/base/errors';
import type { Fleet } from '../../src/cluster/fleet';
import { nameOf } from '../names';
import type { Answer, Call, Handlers, OperationId } from '../operation';
import type { Here } from './localPeer';
import { PeerAnswer } from './peer';

/** The broker in this process, and what is nowhere else. */
export interface Resident extends Here {
  /** Whether all queues of the topic are here. */
  hasAllOf(topic: string): boolean;
  /** Whether all queues that the group reads are here. */
  hasAllOfGroup(group: string): boolean;
}

type AnyHandler = (call: Call<OperationId>) => Promise<Answer> | Answer;

/** One handler for each operation of `wide`; `resident` is left out by a front without a broker. */
export function routed(wide: Handlers, fleet: Fleet, resident: Resident | undefined): Handlers {
  const entries = Object.entries(wide).map(([id, handler]) => {
    const everywhere = (call: Call<OperationId>) => upToDate(fleet, () => (handler as AnyHandler)(call));
    const here = resident?.handlers[id] as AnyHandler | undefined;
    if (!resident || !here) return [id, (call: Call<OperationId>) => (call.isHop ? keepsNothing() : everywhere(call))];
    return [id, (call: Call<OperationId>) => (call.isHop || isAllHere(call, resident) ? here(call) : everywhere(call))];
  });
  return Object.fromEntries(entries) as Handlers;
}

/** Refusals that may only mean that this front looked in the wrong place, since what it knew was old. */
const STALE = new Set(['TOPIC_NOT_FOUND', 'GROUP_NOT_FOUND', 'NOT_HOME', 'QUEUE_ELSEWHERE']);

/** Once more with what the NameServers say now, when the first try went by what they said before. Nothing was done then. */
async function upToDate(fleet: Fleet, attempt: () => Promise<Answer> | Answer): Promise<Answer> {
  const { edition } = fleet;
  try {
    const answer = await attempt();
    if (!isStale(answer) || !fleet.doubt(edition)) return answer;
  } catch (error) {
    if (!(error instanceof GantryError) || !STALE.has(error.code) || !fleet.doubt(edition)) throw error;
  }
  return attempt();
}

function isStale({ status, text }: Answer): boolean {
  if ((status !== 404 && status !== 503) || text === undefined) return false;
  const { code } = new PeerAnswer(status, {}, text);
  return code !== undefined && STALE.has(code);
}

interface Path {
  readonly topic?: string;
  readonly group?: string;
  readonly broker?: string;
}

function isAllHere(call: Call<OperationId>, resident: Resident): boolean {
  const { topic, group, broker } = call.path as Path;
  if (broker !== undefined && broker !== resident.name) return false;
  if (topic !== undefined) return resident.hasAllOf(nameOf(topic));
  if (group !== undefined) return resident.hasAllOfGroup(nameOf(group));
  return broker !== undefined;
}

function keepsNothing(): never {
  throw new GantryError('SERVICE_NOT_AVAILABLE', 'this process is a gateway and keeps no messages: ask a broker');
}
