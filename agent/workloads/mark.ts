import { createHash } from "node:crypto";
import { SOURCE_ANNOTATION, type Workload } from "#proto/workload.ts";

/**
 * The mark of a Workload that the agent keeps from something on its host: `SOURCE#HASH` of what the source says, so that a change of the source is seen, and
 * what others changed since (a drain) is left alone.
 */
export function marked(workload: Workload, source: string): Workload {
  const { labels, annotations } = workload.metadata;
  const hash = createHash("sha256")
    .update(JSON.stringify([labels, annotations, workload.spec]))
    .digest("hex")
    .slice(0, 16);
  return { ...workload, metadata: { ...workload.metadata, annotations: { ...annotations, [SOURCE_ANNOTATION]: `${source}#${hash}` } } };
}

/** What a Workload of the server came from (a file's name, `docker://CONTAINER`); undefined when it was registered in another way. */
export function sourceOf(workload: Workload): { readonly source: string; readonly hash: string } | undefined {
  const match = /^(.*)#([0-9a-f]{16})$/.exec(workload.metadata.annotations?.[SOURCE_ANNOTATION] ?? "");
  return match?.[1] === undefined || match[2] === undefined ? undefined : { source: match[1], hash: match[2] };
}
