/** Every bound of the system, with its unit and its reason. What is not bounded here is bounded by one of these. */
export const LIMITS = {
  /** Bytes of one message body: RocketMQ's maxMessageSize, counted on the body alone. */
  messageBodyBytes: 4 * 1024 * 1024,
  /** Bytes of all names and values of a message's properties, keys and tag: RocketMQ proxy's limit. */
  messagePropertiesBytes: 16 * 1024,
  /** Properties of one message: RocketMQ proxy's limit. */
  messageProperties: 128,
  /** Messages in one send. */
  batchMessages: 1000,
  /** Bytes of all bodies of one send. */
  batchBytes: 4 * 1024 * 1024,
  /** Bytes of a JSON request that sends, or gives messages back whole: base64 and escapes make a 4 MiB body longer. */
  sendRequestBytes: 8 * 1024 * 1024,
  /** Milliseconds that one request may stream records to Kafka REST v3: it ends by itself before a slow request would be cut off. */
  recordStreamMs: 25_000,
  /** Bytes of a request that names many deliveries: 1,000 handles or places, each with a reason of 1,000 characters. */
  bulkRequestBytes: 4 * 1024 * 1024,
  /** Bytes of any other request body: the largest resource is far below it. */
  adminRequestBytes: 64 * 1024,
  /** Levels of JSON: deeper documents only serve attacks. */
  jsonDepth: 32,
  /** Bytes of request line and headers together. */
  headerBytes: 16 * 1024,
  /** Characters of a request's path and query. */
  uriCharacters: 8 * 1024,
  /** Parameters in a query. */
  queryParameters: 256,
  /** Characters of a cursor of one broker (api.md, rule 6). */
  cursorCharacters: 4096,
  /** Characters of a cursor that holds those of several brokers: with the longest path it still fits into a URI. */
  compositeCursorCharacters: 7168,
  /** Open connections of one listener: each costs a file descriptor and about 20 KiB. */
  connections: 20_000,
  /** Requests on one connection before it is closed, so that load balancers can even out. */
  requestsPerConnection: 100_000,
  /** Polls parked in one process: each holds a connection and a few objects. */
  parkedPolls: 10_000,
  /** Polls parked on one group: a group cannot have more useful consumers than this. */
  parkedPollsPerGroup: 1024,
  /** Longest wait of a poll, milliseconds. */
  waitMs: 30_000,
  /** Messages in one poll's answer. */
  pollMessages: 1000,
  /** Index entries one poll looks at before it answers with what it found, so that a sparse filter cannot hold a poll for seconds. */
  pollEntries: 10_000,
  /** Longest wait of a scheduled message, milliseconds: 40 days (RocketMQ's TimerMessageStore promises 3). */
  delayMs: 40 * 24 * 3_600_000,
  /** Messages of one topic that wait for their time: each costs its own bytes and about 150 more on disk, none in memory. */
  scheduledMessages: 10_000_000,
  /** Prepared messages that nobody has decided about: each costs a few hundred bytes of memory. */
  halfMessages: 200_000,
  /** Time a decision about a transaction is remembered, so that saying it again is known: 24 hours, in milliseconds. */
  decisionMs: 24 * 3_600_000,
  /** Notes of fronts that a broker keeps: each is up to 32 KiB of memory, most are a few hundred bytes. */
  notes: 20_000,
  /** Producer groups with settings of their own. */
  producerGroups: 20_000,
  /** Characters of a SQL filter: half of what a URI carries, so that what works in a body works in a query, too. RocketMQ sets no bound. */
  filterCharacters: 4096,
  /** Parentheses, NOTs and signs in each other in a SQL filter: each is a few frames of the stack, and nobody reads more. */
  filterDepth: 64,
  /** Comparisons in a SQL filter: each costs about 0.1 µs for every message a poll looks at; a list of IN counts as one. */
  filterTerms: 256,
  /** Characters of a property that a SQL filter reads as a number: doubles need 24; Node takes 0.2 ms for one of 16,000 digits. */
  filterNumberCharacters: 64,
  /** Messages that are read at once to be shown to a SQL filter: few enough to be held, enough to hide the reading. */
  filterMessages: 256,
  /** Bytes of them, or one message: a sparse filter reads bodies of 4 MiB, too. */
  filterBytes: 1024 * 1024,
  /** Milliseconds that one call spends on reading messages for a SQL filter and deciding about them, before it answers with what it found. */
  filterMs: 200,
  /** Milliseconds of deciding, then other calls have their turn: a contrived expression takes 20 ms for one message. */
  filterTurnMs: 5,
  /** Commands in one turn of the writer. */
  turnCommands: 1024,
  /** Bytes in one turn of the writer: the disk writes one part of a burst while the event loop prepares the next. */
  turnBytes: 512 * 1024,
  /** Bytes of commands that wait unconfirmed; over it new ones are refused before they are written. */
  pendingBytes: 64 * 1024 * 1024,
  /** Bytes of the journal that stay however full the disk is: RocketMQ never drops the file that it is writing, of 1 GiB. */
  journalKeptBytes: 1024 * 1024 * 1024,
  /** Journal indexes that are left out behind a restored backup, beyond the last one that was seen: more than are used between two heartbeats, or in a day without a NameServer. */
  restoreGap: 10_000_000_000,
  /** Data folders that a NameServer remembers, living or not: each costs about a hundred bytes. */
  foldersSeen: 10_000,
  /** Milliseconds that a starting broker waits for what NameServers have seen of its folder. */
  folderSeenMs: 3000,
  /** Milliseconds in which a trim has to give its space back: deleting and compacting 100 GiB takes minutes. */
  giveBackMs: 10 * 60_000,
  /** Bytes of recent messages kept in memory for consumers that keep up. */
  tailBytes: 128 * 1024 * 1024,
  /** Reads from disk under way at once in the whole process: more starve the writer (measured: ARCHITECTURE.md, Measured facts). */
  diskReads: 3,
  /** Reads from disk that may wait for their turn. */
  diskReadsWaiting: 20_000,
  /** Topics of a broker: all are held in memory. */
  topics: 20_000,
  /** Queues of one topic on one broker. */
  queuesPerTopic: 1024,
  /** Queues of a broker: each costs a few hundred bytes of memory. */
  queues: 200_000,
  /** Consumer groups of a broker. */
  groups: 20_000,
  /** Members of one group. */
  consumersPerGroup: 1024,
  /** Messages of one queue that an ordered group passes over while earlier ones of their messageGroup are not done. */
  leaseLookAhead: 10_000,
  /** Declared tags of a topic. */
  declaredTags: 1000,
  /** Tags counted per topic: the most used ones (api.md, Operations). */
  countedTags: 1000,
  /** Deleted topics that are remembered, and as many groups: each costs a few hundred bytes of memory for 30 days. */
  tombstones: 100_000,
  /** Removed brokers that are remembered: one row, told to every broker that starts; the oldest goes first. */
  removedBrokers: 1000,
  /** Time an Idempotency-Key is remembered, milliseconds (api.md, rule 10). */
  idempotencyMs: 10 * 60_000,
  /** Calls with an Idempotency-Key under way at once: each is held in memory until it is answered. */
  keyedCalls: 10_000,
  /** Addresses of brokers of which a front keeps what came of the last call; in some networks each start has a new one. */
  rememberedBrokers: 10_000,
  /** Bytes of a registration at a NameServer: about 60,000 topics (RocketMQ's frame cap is 16 MiB, too). */
  registrationBytes: 16 * 1024 * 1024,
} as const;
