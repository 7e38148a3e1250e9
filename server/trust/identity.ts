import type { KindName } from "#proto/kinds.ts";

/** Who sent a request, after its bearer was checked. */
export type Identity =
  | { readonly kind: "admin"; readonly name: string }
  | { readonly kind: "node"; readonly name: string }
  /** A join token: may join, and nothing else. */
  | { readonly kind: "joiner"; readonly tokenId: string };

/** The server itself, for what it writes by the way of all others. */
export const SERVER_ITSELF: Identity = { kind: "admin", name: "system:server" };

export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection";

/** What a route asks of its caller. A route without one cannot be declared. */
export type Permission =
  /** No credential: probes and the CA certificate. */
  | { readonly access: "public" }
  /** Any admin or node. */
  | { readonly access: "authenticated" }
  | { readonly access: "admin" }
  | { readonly access: "joiner" }
  /** The node that the path names, or an admin. */
  | { readonly access: "node"; readonly parameter: string }
  /** Decided by kind and verb here, and by the object itself in admission. */
  | { readonly access: "resource"; readonly kind: KindName; readonly verb: Verb; readonly subresource?: "status" | undefined };
