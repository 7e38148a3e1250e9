import { isAppError } from "#proto/error.ts";
import type { ServiceManifest } from "#server/controllers/exposed-services.ts";
import { SERVER_ITSELF } from "#server/trust/identity.ts";
import { createObject, type WriteDeps } from "./write.ts";

/** Makes a service that a Workload asks for, by the way of any other. Where somebody was faster, theirs stands. */
export async function exposeService(deps: WriteDeps, manifest: ServiceManifest): Promise<void> {
  const { name, namespace } = manifest.metadata;
  const options = { dryRun: false, fieldValidation: "Ignore" } as const;
  try {
    await createObject(deps, { kind: "Service", namespace, name, identity: SERVER_ITSELF, options }, manifest);
  } catch (error) {
    if (!isAppError(error, "AlreadyExists")) throw error;
  }
}
