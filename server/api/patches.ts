import { AppError } from "#proto/error.ts";
import type { Merging } from "#proto/kinds.ts";
import { STRATEGIC_PATCH, unsupportedMediaType } from "./error-reply.ts";
import { isJsonObject } from "./json-body.ts";
import { jsonPatch } from "./json-patch.ts";
import { mergePatch } from "./merge-patch.ts";
import { strategicPatch } from "./strategic-patch.ts";

/** What a patch makes of an object, by its media type; `accepted` is what the refusal of others names. */
export function changeOf(
  { merging, accepted }: { readonly merging: Merging; readonly accepted: readonly string[] },
  contentType: string | undefined,
  patch: unknown,
): (current: unknown) => unknown {
  const type = mediaType(contentType);
  if (type === "application/json-patch+json") return (current) => jsonPatch(current, patch);
  if (type !== "application/merge-patch+json" && type !== STRATEGIC_PATCH) throw unsupportedMediaType(accepted);
  if (!isJsonObject(patch)) throw new AppError("BadRequest", "a merge patch must be a JSON object");
  return type === STRATEGIC_PATCH ? (current) => strategicPatch(current, patch, merging) : (current) => mergePatch(current, patch);
}

/** Without parameters. */
export function mediaType(contentType = ""): string {
  return (contentType.split(";", 1)[0] ?? "").trim().toLowerCase();
}
