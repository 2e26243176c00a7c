/**
 * A message without a body is a mistake of its sender, unless it says that it is meant: a record of the Kafka face may
 * have no value, or one of no bytes (api/kafka/attributes.ts).
 */

/** The property that says so: `null` = there is no value, `empty` = it has no bytes. */
export const EMPTY_BODY = 'gantry-kafka-value';

/** Whether these properties say that the body is to be empty. */
export function isMeantEmpty(properties: Readonly<Record<string, string>> | undefined): boolean {
  const said = properties?.[EMPTY_BODY];
  return said === 'null' || said === 'empty';
}
