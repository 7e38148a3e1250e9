import type { Logger } from "pino";
import type { Records } from "../store/records.ts";
import type { Store } from "../store/store.ts";
import { openAdminCredential, type AdminCredential } from "./admin-credential.ts";
import { openAuthority, type TlsFiles } from "./authority.ts";
import { openJoinTokens, type JoinTokens } from "./join-tokens.ts";
import { openNodeCredentials, type NodeCredentials } from "./node-credentials.ts";
import type { Identity } from "./identity.ts";

/** Who is who: the server's own authority and certificate, and the bearers that it gave out. Only hashes of bearers are kept. */
export interface Trust {
  /**
   * Whose bearer this is; undefined when it is nobody's. Throws Unauthorized with a reason where the bearer is a join token that was valid
   * once: whoever holds the secret may know that it expired or is used up.
   */
  authenticate(bearer: string): Identity | undefined;
  /** Aborts when the credential that the identity was known by is revoked or replaced: ends polls that are under way. */
  revocationOf(identity: Identity): AbortSignal | undefined;
  /** Key and certificate (followed by the CA's) in PEM, as they are now. */
  readonly tls: TlsFiles;
  /** Makes the certificate anew if the host's addresses changed or it ends soon; the new one, or undefined if it can stay. */
  refreshTls(): Promise<TlsFiles | undefined>;
  readonly caPem: string;
  /** SHA-256 of the CA certificate (DER), 64 hex digits. */
  readonly caFingerprint: string;
  readonly joinTokens: JoinTokens;
  readonly nodes: NodeCredentials;
  readonly admin: AdminCredential;
  /** Stops listening to the store, and the timers. */
  close(): void;
}

export interface TrustOptions {
  readonly store: Pick<Store, "records" | "onCommit" | "get">;
  readonly dataDir: string;
  /** Further names and addresses that the server is reached by. */
  readonly advertise?: readonly string[] | undefined;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  /** ms since 1970. */
  readonly now?: (() => number) | undefined;
}

export async function openTrust({ store, dataDir, advertise = [], log, now = Date.now }: TrustOptions): Promise<Trust> {
  const authority = await openAuthority({ dataDir, advertise, log, now });
  const records: Records = store.records;
  const joinTokens = await openJoinTokens({ records, caFingerprint: authority.caFingerprint, log, now });
  const nodes = await openNodeCredentials({ records, now });
  // Of a Node that was deleted just before a crash.
  for (const name of nodes.names()) if (!(await store.get({ kind: "Node", namespace: "", name }))) await nodes.revoke(name);
  const admin = await openAdminCredential({ records, now });
  const stopFollowing = store.onCommit((changes) => {
    for (const { type, key } of changes)
      if (type === "DELETED" && key.kind === "Node")
        nodes.revoke(key.name).catch((error: unknown) => log.error({ err: error, node: key.name }, "could not erase a revoked credential"));
  });
  return {
    authenticate: (bearer) => admin.authenticate(bearer) ?? nodes.authenticate(bearer) ?? joinTokens.authenticate(bearer),
    revocationOf: (identity) => (identity.kind === "node" ? nodes.revocationOf(identity.name) : undefined),
    get tls() {
      return authority.tls;
    },
    refreshTls: () => authority.refresh(),
    caPem: authority.caPem,
    caFingerprint: authority.caFingerprint,
    joinTokens,
    nodes,
    admin,
    close: () => {
      stopFollowing();
      joinTokens.close();
    },
  };
}
