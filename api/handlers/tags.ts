/** Declared and seen tags of a topic on the wire. */
import type { Broker } from '../../src/broker/broker';
import type { DeclaredTag } from '../../src/broker/tags';
import type { Spread, Told } from '../../src/cluster/spread';
import { etagOf, preconditionOf } from '../etag';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { goneAnswer, notTold } from '../told';
import { tellTopic } from './topics';

export type TagOperations = 'listTags' | 'putTag' | 'deleteTag';

export interface TagDeps {
  readonly broker: Broker;
  readonly spread: Spread;
}

export function tagHandlers(deps: TagDeps): HandlerTable<TagOperations> {
  const { broker } = deps;
  return {
    listTags({ path }) {
      const { topic, declared, seen } = broker.rooms.topics.tags(nameOf(path.topic));
      return {
        status: 200,
        body: {
          policy: topic.record.tagPolicy,
          declared: declared.map(tagView),
          seen: seen.map(({ tag, count, lastTime }) => ({ tag, count, lastTimestamp: lastTime })),
        },
      };
    },

    async putTag({ path, body, headers }) {
      const name = nameOf(path.topic);
      const condition = preconditionOf(headers, tagId(broker, name, path.tag));
      const { tag, created } = await broker.rooms.topics.putTag(name, path.tag, body?.description, condition);
      const id = tagId(broker, name, path.tag);
      const view = { ...tagView(tag), ...notTold(await tellTags(deps, name)) };
      return { status: created ? 201 : 200, body: view, headers: { ETag: etagOf(id ?? '', tag.version) } };
    },

    async deleteTag(call) {
      const { path, headers } = call;
      const name = nameOf(path.topic);
      await broker.rooms.topics.deleteTag(name, path.tag, preconditionOf(headers, tagId(broker, name, path.tag)));
      return goneAnswer(call.requestId, broker.name, await tellTags(deps, name));
    },
  };
}

/** Tags go with their topic. */
function tellTags(deps: TagDeps, topic: string): Promise<Told[]> {
  const record = deps.broker.state.topicsByName.get(topic)?.record;
  return record ? tellTopic(deps, record) : Promise.resolve([]);
}

/** Topic, name and time of the declaration: declared anew, it is another one, though its versions begin again. */
const tagId = (broker: Broker, topic: string, tag: string): string | undefined => {
  const state = broker.state.topicsByName.get(topic);
  const declared = state?.declared.get(tag);
  return state && declared && `${state.record.id}.${tag}.${declared.createdAt}`;
};

const tagView = ({ tag, description, createdAt, updatedAt }: DeclaredTag) => ({
  tag,
  ...(description === undefined ? {} : { description }),
  createdTimestamp: createdAt,
  updatedTimestamp: updatedAt,
});
