import type { IncomingHttpHeaders } from "node:http";
import { AppError } from "#proto/error.ts";
import type { Identity } from "#server/trust/identity.ts";
import { userNameOf } from "./authorize.ts";

/**
 * Kubernetes' `Impersonate-…` headers (`kubectl --as`): nobody may act as somebody else here. To pass over them would let the caller do as itself what it
 * wanted to try as another.
 */

const PREFIX = "impersonate-";
const EXTRA = "extra-";
const SERVICE_ACCOUNT = /^system:serviceaccount:([^:]+):([^:]+)$/;

/** Throws Forbidden, in Kubernetes' words, for the first such header. */
export function refuseImpersonation(identity: Identity, headers: IncomingHttpHeaders): void {
  for (const [name, value = ""] of Object.entries(headers)) {
    const [first = ""] = Array.isArray(value) ? value : [value];
    if (name.startsWith(PREFIX) && first !== "") throw forbidden(identity, name.slice(PREFIX.length), first);
  }
}

function forbidden(identity: Identity, what: string, name: string): AppError {
  const { resource, group = "", object, namespace } = target(what, name);
  const [plural = ""] = resource.split("/");
  const subject = `${plural}${group === "" ? "" : `.${group}`}`;
  const where = namespace === undefined ? "at the cluster scope" : `in the namespace "${namespace}"`;
  return new AppError(
    "Forbidden",
    `${subject} "${object}" is forbidden: User "${userNameOf(identity)}" cannot impersonate resource "${resource}" in API group "${group}" ${where}`,
    {
      hint: "nobody acts as somebody else here: leave out --as, --as-group and --as-uid, or use that user's own kubeconfig",
      subject: { name: object, group, kind: plural },
    },
  );
}

interface Target {
  readonly resource: string;
  readonly group?: string;
  readonly object: string;
  readonly namespace?: string | undefined;
}

function target(what: string, name: string): Target {
  const [, namespace, account] = SERVICE_ACCOUNT.exec(name) ?? [];
  if (what === "user" && account !== undefined) return { resource: "serviceaccounts", object: account, namespace };
  if (what === "uid") return { resource: "uids", group: "authentication.k8s.io", object: name };
  if (what.startsWith(EXTRA)) return { resource: `userextras/${what.slice(EXTRA.length)}`, group: "authentication.k8s.io", object: name };
  return { resource: `${what}s`, object: name };
}
