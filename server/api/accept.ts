import { AppError } from "#proto/error.ts";

/** What Kubernetes' clients may ask to be answered with. We answer in JSON, which all of them take beside whatever else they name. */

const TAKES_JSON = /(^|[,\s])(application\/json|application\/\*|\*\/\*)/i;

/** Throws NotAcceptable for who takes no JSON. */
export function checkAccept(accept: string | undefined): void {
  if (accept === undefined || accept.trim() === "" || TAKES_JSON.test(accept)) return;
  throw new AppError("NotAcceptable", "only the following media types are accepted: application/json", {
    hint: "send Accept: application/json, or none",
  });
}
