import { AppError } from "#proto/error.ts";
import { kinds, type KindName } from "#proto/kinds.ts";
import type { Identity, Permission, Verb } from "#server/trust/identity.ts";

/** Who may do what, as far as the path tells it; what an object may say is admission's. Deny by default. */

export interface Target {
  readonly params: Readonly<Record<string, string>>;
  readonly method: string;
  readonly url: string;
}

/** Throws Forbidden, in Kubernetes' words. */
export function authorize(identity: Identity, permission: Permission, target: Target): void {
  if (!isAllowed(identity, permission, target)) throw forbidden(identity, permission, target);
}

export function isAllowed(identity: Identity, permission: Permission, { params }: Pick<Target, "params">): boolean {
  switch (permission.access) {
    case "public":
      return true;
    case "authenticated":
      return identity.kind !== "joiner";
    case "admin":
      return identity.kind === "admin";
    case "joiner":
      return identity.kind === "joiner";
    case "node":
      return identity.kind === "admin" || (identity.kind === "node" && params[permission.parameter] === identity.name);
    case "resource":
      if (identity.kind === "admin") return true;
      return identity.kind === "node" && isNodesBusiness(permission, params["name"], identity.name);
  }
}

const READING: ReadonlySet<Verb> = new Set(["get", "list", "watch"]);

/** A host reads everything, keeps its own Node and its own Workloads, and tells what happened. Whose a Workload or an Event is, admission knows. */
function isNodesBusiness(
  { kind, verb }: { readonly kind: KindName; readonly verb: Verb },
  name: string | undefined,
  node: string,
): boolean {
  if (READING.has(verb)) return true;
  if (verb === "deletecollection") return false;
  if (kind === "Workload") return true;
  if (kind === "Node") return (verb === "update" || verb === "patch") && name === node;
  return kind === "Event" && (verb === "create" || verb === "patch");
}

/** The user's name as Kubernetes would say it. */
export function userNameOf(identity: Identity): string {
  if (identity.kind === "joiner") return `system:bootstrap:${identity.tokenId}`;
  return identity.kind === "node" ? `system:node:${identity.name}` : identity.name;
}

function forbidden(identity: Identity, permission: Permission, { params, method, url }: Target): AppError {
  const user = userNameOf(identity);
  const hint = HINTS[identity.kind];
  if (permission.access !== "resource") {
    const path = url.split("?", 1)[0] ?? "";
    return new AppError("Forbidden", `forbidden: User "${user}" cannot ${method.toLowerCase()} path "${path}"`, { hint });
  }
  const { group, plural } = kinds[permission.kind];
  const resource = permission.subresource === undefined ? plural : `${plural}/${permission.subresource}`;
  const name = params["name"];
  const what = group === "" ? plural : `${plural}.${group}`;
  const where = params["namespace"] === undefined ? "at the cluster scope" : `in the namespace "${params["namespace"]}"`;
  return new AppError(
    "Forbidden",
    `${name === undefined ? what : `${what} "${name}"`} is forbidden: User "${user}" cannot ${permission.verb} resource "${resource}" in API group "${group}" ${where}`,
    { hint, subject: { name, group, kind: plural } },
  );
}

const HINTS: Readonly<Record<Identity["kind"], string | undefined>> = {
  admin: undefined,
  node: "a host's credential may write its own Node and its own Workloads only; use an admin's kubeconfig",
  joiner: "a join token is good for joining a host and nothing else",
};
