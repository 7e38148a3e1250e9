import { isAppError } from "#proto/error.ts";
import type { ObjectKey } from "#proto/meta.ts";
import { SERVER_ITSELF } from "#server/trust/identity.ts";
import { patchObject, type WriteDeps } from "./write.ts";

/** Has a service admitted again as it stands: what the server fills in may have come to be there since. One that is gone is no fault. */
export async function rewriteService(deps: WriteDeps, service: ObjectKey): Promise<void> {
  const [namespace = "", name = ""] = service.split("/");
  const options = { dryRun: false, fieldValidation: "Ignore" } as const;
  try {
    await patchObject(deps, { kind: "Service", namespace, name, identity: SERVER_ITSELF, options }, (current) => current);
  } catch (error) {
    if (!isAppError(error, "NotFound")) throw error;
  }
}
