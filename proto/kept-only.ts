import { z } from "zod";

/** Fields of Kubernetes' that are kept and shown, and on which nobody acts. One text serves the field's description and the warning to who writes it. */

const warnings = z.registry<{ readonly warning: string }>();

interface KeptText {
  /** What the field is, a sentence. */
  readonly is?: string;
  /** What follows from that nobody acts on it, or what to do instead. */
  readonly so?: string;
}

export function keptOnly<Schema extends z.ZodType>(schema: Schema, { is, so }: KeptText = {}): Schema {
  const warning = `is kept, not acted on${so === undefined ? "" : `: ${so}`}`;
  const sentence = `K${warning.slice("is k".length)}.`;
  const described = schema.describe(is === undefined ? sentence : `${is} ${sentence}`);
  warnings.add(described, { warning });
  return described;
}

/** What to tell who writes a field of this schema: `is kept, not acted on: …`. */
export function keptWarningOf(schema: z.core.$ZodType): string | undefined {
  return warnings.get(schema)?.warning;
}
