/** System names contain `%`, which a path cannot carry well: `~RETRY~group` stands for `%RETRY%group` (rule 18). */
export function nameOf(pathName: string): string {
  const system = /^~(RETRY|DLQ)~(.+)$/.exec(pathName);
  return system ? `%${system[1]}%${system[2]}` : pathName;
}

/** The other way round: a name as it stands in a path. */
export function pathNameOf(name: string): string {
  const system = /^%(RETRY|DLQ)%(.+)$/.exec(name);
  return system ? `~${system[1]}~${system[2]}` : name;
}
