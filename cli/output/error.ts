import { describeError, isAppError, type AppError, type Cause } from "#proto/error.ts";
import { clean } from "./clean.ts";

/** What went wrong, on stderr: `error: …`, one indented line for each faulty field, and what to do about it. */
export function renderError(error: unknown, where?: { readonly label: string; lineOf(field: string): number | undefined }): string {
  const prefix = where === undefined ? "error: " : `error: ${clean(where.label)}: `;
  if (!isAppError(error)) return `${prefix}${clean(describeError(error))}\n`;
  const lines = [`${prefix}${clean(headOf(error))}`];
  for (const cause of error.causes) {
    const line = where?.lineOf(cause.field);
    lines.push(`  ${clean(cause.field)}: ${clean(cause.message)}${line === undefined ? "" : ` (line ${line})`}`);
  }
  if (error.hint !== undefined) lines.push(`hint: ${clean(error.hint)}`);
  return `${lines.join("\n")}\n`;
}

/** Kubernetes repeats all causes in the message; here they have lines of their own. */
function headOf({ message, causes }: AppError): string {
  const cut = message.indexOf(" is invalid: ");
  return causes.length > 0 && cut >= 0 && causes.every((one) => repeats(message, one))
    ? message.slice(0, cut + " is invalid".length)
    : message;
}

function repeats(message: string, { field, message: text }: Cause): boolean {
  return message.includes(`${field}: ${text}`);
}
