/** One generation that holds those of several brokers: `broker-a/o4h2xc1,broker-b/1`. Each broker judges by its own. */
import { cursorContent } from '../../src/broker/cursor';

export const joinGenerations = (generations: ReadonlyMap<string, string>): string =>
  [...generations].map(([broker, generation]) => `${broker}/${generation}`).join(',');

/** The oldest generation of which all that a broker's own cursor covers was owned. */
export const generationIn = (cursor: string): string =>
  Math.max(0, ...(cursorContent(cursor) ?? []).map(({ epoch }) => epoch)).toString(36);

/** Of a broker that is not named: everything that is owned there was got later. */
const BEFORE_ALL = '0';

/**
 * What a generation is for each broker. A broker's own is that of `home`: the group was on that broker alone when it was
 * made. What is none is none for every broker.
 */
export function generationsOf(text: string | undefined, home: string): (broker: string) => string | undefined {
  if (text === undefined) return () => undefined;
  if (!text.includes('/')) return (broker) => (broker === home ? text : BEFORE_ALL);
  const parts = new Map(text.split(',').map((part) => part.split('/') as [string, string]));
  return (broker) => parts.get(broker) || BEFORE_ALL;
}
