import type { Logger } from "pino";
import type { ObjectKey } from "#proto/meta.ts";
import type { Check } from "#proto/workload.ts";
import { createWake } from "#agent/sync/wake.ts";
import { readFolder, watchFolder, type FolderContent } from "./folder.ts";
import type { WorkloadSource } from "./keeper.ts";

export interface WorkloadFilesDeps {
  readonly folder: string;
  readonly nodeName: string;
  /** What the files say has changed; these may have other exec checks. */
  readonly onChange: (keys: readonly ObjectKey[]) => void;
  readonly log: Pick<Logger, "warn">;
}

export interface WorkloadFiles extends WorkloadSource {
  localChecks(key: ObjectKey): readonly Check[];
  run(signal: AbortSignal): Promise<void>;
  problems(): readonly string[];
}

/** The Workloads of the files of a folder (`workloads.d`). */
export function createWorkloadFiles({ folder, nodeName, onChange, log }: WorkloadFilesDeps): WorkloadFiles {
  let content: FolderContent | undefined;

  async function read(): Promise<void> {
    const before = content;
    content = await readFolder(folder, nodeName);
    for (const [file, why] of content.faults)
      if (before?.faults.get(file) !== why) log.warn({ file, error: why }, "a file of workloads cannot be used");
    onChange([...new Set([...(before?.workloads.keys() ?? []), ...content.workloads.keys()])]);
  }

  return {
    wanted: () => Array.from(content?.workloads ?? [], ([key, { workload }]) => [key, workload] as const),
    end(source) {
      if (source.includes("/")) return undefined; // no name of a file
      const isUnknown = !content || content.faults.has(source) || content.faults.has(folder);
      return isUnknown ? "keep" : "drain";
    },
    localChecks: (key) => content?.workloads.get(key)?.localChecks ?? [],
    async run(signal) {
      await read();
      const changed = createWake();
      const follow = async (): Promise<void> => {
        while (!signal.aborted) {
          await changed.wait(signal);
          if (isOver(signal)) return;
          await read();
        }
      };
      await Promise.all([watchFolder(folder, () => changed.ring(), signal), follow()]);
    },
    problems: () => Array.from(content?.faults ?? [], ([file, why]) => (why.startsWith(file) ? why : `${file}: ${why}`)),
  };
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
