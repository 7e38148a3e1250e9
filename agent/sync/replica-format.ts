import { z } from "zod";
import { lineOf } from "#agent/checked-line.ts";
import { ClusterFacts, FOLLOWED_KINDS } from "#proto/agents.ts";

/**
 * The replica on disk: lines of `checksum JSON`. The image begins with a header that says how many objects follow; the journal has one step a line.
 * A line that was not written whole does not have its checksum.
 */

/**
 * Of objects as `leanObject` leaves them. It counts up when that keeps more of them: an image of an earlier format lacks what was not kept then, and the
 * server does not say again what has not changed. 2: a Service's load balancer addresses and its scheduler. 4: that it is another
 * proxy's.
 */
export const IMAGE_FORMAT = 4;

export const ImageHeader = z.object({
  format: z.int().min(1).max(IMAGE_FORMAT),
  /** The journal of the same number continues this image. */
  generation: z.int().min(1),
  node: z.string(),
  epoch: z.string(),
  revision: z.int().min(0),
  cluster: ClusterFacts,
  savedAt: z.string(),
  objects: z.int().min(0),
});
export type ImageHeader = z.output<typeof ImageHeader>;

export const JournalLine = z.object({
  previous: z.int().min(0),
  revision: z.int().min(0),
  epoch: z.string(),
  savedAt: z.string(),
  puts: z.array(z.unknown()),
  deletes: z.array(z.object({ kind: z.enum(FOLLOWED_KINDS), key: z.string() })),
});
export type JournalLine = z.output<typeof JournalLine>;

export function encodeLine(value: ImageHeader | Readonly<Omit<JournalLine, "deletes">>): string {
  return lineOf(JSON.stringify(value));
}
