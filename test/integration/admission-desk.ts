import { isAppError } from "#proto/error.ts";
import type { AnyObject, KindName, ObjectOf } from "#proto/kinds.ts";
import { parseObject } from "#proto/parse.ts";
import type { Service } from "#proto/service.ts";
import type { Admission, Operation } from "#server/admission/admission.ts";
import { createAdmission, type AdmissionDeps } from "#server/admission/admit.ts";
import { changesOutside } from "#server/admission/service.ts";
import { createTurns } from "#server/api/in-turn.ts";
import type { Store } from "#server/store/store.ts";
import type { Identity } from "#server/trust/identity.ts";
import { tempStore } from "#test/temp-store.ts";

export const admin: Identity = { kind: "admin", name: "admin" };
export const facts = {
  serviceCidrs: ["10.96.0.0/24"],
  dnsIps: ["10.96.0.10"],
  nodePortRange: { from: 30_000, to: 30_099 },
};
export const dual: typeof facts = { ...facts, serviceCidrs: ["10.96.0.0/24", "fd00:96::/112"], dnsIps: ["10.96.0.10", "fd00:96::a"] };

/** Admission over a real store, written to as the API does it. */
export interface Desk {
  readonly store: Store;
  readonly admission: Admission;
  /** As the API does it: admit, write, and again if a claim was taken. */
  put<Kind extends KindName>(object: ObjectOf<Kind>, operation?: Operation): Promise<ObjectOf<Kind>>;
  create(name: string, spec?: object): Promise<Service>;
  /** Changes some fields of the spec; null takes one away. */
  update(name: string, spec: object): Promise<Service>;
  warnings: readonly string[];
}

export async function aDesk(
  cluster: AdmissionDeps["cluster"] = facts,
  more: Pick<AdmissionDeps, "loadBalancerCidrs" | "reserved"> = {},
): Promise<Desk> {
  const store = tempStore();
  const inTurn = createTurns();
  const admission = await createAdmission({ store, cluster, ...more });
  const read = (object: AnyObject) =>
    store.get({ kind: object.kind, namespace: object.metadata.namespace ?? "", name: object.metadata.name });
  const desk: Desk = {
    store,
    admission,
    warnings: [],
    put: async (object, operation) => {
      const attempt = async () => {
        const previous = await read(object);
        const isReplaced = previous?.kind === "Service" && object.kind === "Service" && operation !== "status";
        const next = isReplaced ? { ...object, status: previous.status } : object;
        const work = async () => {
          const request = { kind: object.kind, operation: operation ?? (previous ? "update" : "create"), identity: admin, previous, next };
          const { object: admitted, claims, warnings } = await admission.admit(request);
          desk.warnings = warnings;
          const expect = previous ? Number(previous.metadata.resourceVersion) : "create";
          const [stored] = (await store.transact([{ op: "put", object: admitted, expect, claims }])).objects;
          return stored as typeof object;
        };
        const isOutside = next.kind === "Service" && changesOutside(previous?.kind === "Service" ? previous : undefined, next);
        return isOutside ? inTurn("outside", work) : work();
      };
      for (;;)
        try {
          return await attempt();
        } catch (error) {
          // Somebody else was faster.
          if (!isAppError(error, "Conflict") && !isAppError(error, "AlreadyExists") && !isAppError(error, "NotFound")) throw error;
        }
    },
    create: (name, spec) => desk.put<"Service">(aService(name, spec)),
    update: async (name, spec) => {
      const previous = await store.get({ kind: "Service", namespace: "default", name });
      if (previous?.kind !== "Service") throw new Error(`no service ${name}`);
      const merged = Object.fromEntries(Object.entries({ ...previous.spec, ...spec }).filter(([, value]) => value !== null));
      return desk.put<"Service">(parseObject("Service", { ...previous, spec: merged }));
    },
  };
  return desk;
}

export function aService(name: string, spec: object = {}): Service {
  return parseObject("Service", {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: { selector: { app: name }, ports: [{ port: 80 }], ...spec },
  });
}

export async function refusal(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt;
    return "accepted";
  } catch (error) {
    if (!isAppError(error)) throw error;
    return `${error.code} ${error.causes.map(({ field, message }) => `${field}: ${message}`).join("; ")}`;
  }
}

export function aNode(name: string, address?: string): ObjectOf<"Node"> {
  const addresses = address === undefined ? [] : [{ type: "InternalIP", address }];
  return parseObject("Node", { apiVersion: "v1", kind: "Node", metadata: { name }, status: { addresses } });
}
