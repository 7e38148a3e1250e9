/**
 * @peculiar/x509 keeps its algorithms in a container that wants the three functions of the abandoned metadata proposal at load time. We
 * supply exactly those, instead of a package that patches twelve of them in. To be imported before it.
 */
const metadata = new WeakMap<object, Map<unknown, unknown>>();

function getOwnMetadata(key: unknown, target: object): unknown {
  return metadata.get(target)?.get(key);
}

function defineMetadata(key: unknown, value: unknown, target: object): void {
  const of = metadata.get(target) ?? new Map<unknown, unknown>();
  metadata.set(target, of.set(key, value));
}

if (!("getMetadata" in Reflect)) Object.assign(Reflect, { getMetadata: getOwnMetadata, getOwnMetadata, defineMetadata });
