import { isAppError } from "#proto/error.ts";
import { DEFAULT_NAMESPACE, SYSTEM_NAMESPACE } from "#proto/namespace.ts";
import { draftOf, newObject } from "./api/draft.ts";
import type { Store } from "./store/store.ts";

/** What has to be there from the first start: the namespaces that every fleet has. */
export async function makeNamespaces(store: Store, now: () => number): Promise<void> {
  for (const name of [DEFAULT_NAMESPACE, SYSTEM_NAMESPACE]) {
    if (await store.get({ kind: "Namespace", namespace: "", name })) continue;
    const draft = draftOf({ kind: "Namespace", namespace: undefined, name }, {});
    try {
      await store.transact([{ op: "put", object: newObject("Namespace", draft, now()), expect: "create" }]);
    } catch (error) {
      if (!isAppError(error, "AlreadyExists")) throw error;
    }
  }
}
