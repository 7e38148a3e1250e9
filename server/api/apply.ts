import { AppError } from "#proto/error.ts";
import { notFound } from "#server/store/errors.ts";
import { draftOf } from "./draft.ts";
import type { ApplyOptions } from "./options.ts";
import { applyTo } from "./ownership/track.ts";
import { checkPreconditions, writeInTurn } from "./races.ts";
import { createHere, keyOf, unknownFieldWarnings, update, type WriteDeps, type WriteRequest, type Written } from "./write.ts";

/** Server-side apply: `input` is what its manager wants of the object, which is made where there is none. */
export async function applyObject(
  deps: WriteDeps,
  request: WriteRequest & { readonly options: ApplyOptions },
  input: unknown,
  mayCreate: () => void,
): Promise<Written> {
  const config = draftOf(request, input);
  if (config.metadata["managedFields"] !== undefined) throw new AppError("BadRequest", "metadata.managedFields must be nil");
  const key = keyOf(request);
  return writeInTurn(deps, key, async () => {
    const current = await deps.store.get(key);
    if (current) checkPreconditions(key, current, config);
    else if (request.subresource !== undefined || (config.metadata["uid"] ?? "") !== "") throw notFound(key);
    const { object, tracks } = applyTo(request, current, config, deps.now());
    const warnings = unknownFieldWarnings(request.kind, config.body, request.options, []);
    const quiet = { ...request, options: { ...request.options, fieldValidation: "Ignore" as const } };
    if (!current) mayCreate();
    const written = current
      ? await update(deps, quiet, current, draftOf(request, object), [], tracks)
      : await createHere(deps, quiet, object, tracks);
    return { ...written, warnings: [...warnings, ...written.warnings] };
  });
}
