import type { AnyObject } from "#proto/kinds.ts";

/** An object as hosts get it: whose fields are whose is nothing to them, and would double what they are sent. */
export function forHosts(object: AnyObject): AnyObject {
  if (object.metadata.managedFields === undefined) return object;
  const { managedFields: _owners, ...metadata } = object.metadata;
  return { ...object, metadata };
}
