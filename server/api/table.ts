import type { Form, ShownObject } from "./view.ts";

/**
 * meta.k8s.io/v1 Table: objects as the rows that kubectl prints (Kubernetes API concepts, "Receiving resources as Tables"). Pure; `now` in ms. Cells are text,
 * ages too; columns of priority 1 are for `-o wide`.
 */

export type IncludeObject = "None" | "Metadata" | "Object";

export interface TableOptions {
  /** What each row carries of its object; namespaces, labels and --sort-by come from there. */
  readonly includeObject: IncludeObject;
  readonly now: number;
  /** The events of a watch after the first have none: the reader knows them. */
  readonly definitions: boolean;
}

export interface Table {
  readonly kind: "Table";
  readonly apiVersion: "meta.k8s.io/v1";
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly columnDefinitions: readonly object[] | null;
  readonly rows: readonly object[];
}

const ACCEPTS_TABLE = /application\/json;(?=[^,]*\bas=Table\b)(?=[^,]*\bg=meta\.k8s\.io\b)(?=[^,]*\bv=v1(beta1)?\b)/;

/** Whether a client asks for Tables by its Accept header. */
export function wantsTable(accept: string | undefined): boolean {
  return ACCEPTS_TABLE.test(accept ?? "");
}

export function tableOf<Shown extends ShownObject>(
  { kind, columns }: Form<Shown>,
  objects: readonly Shown[],
  metadata: Table["metadata"],
  options: TableOptions,
): Table {
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata,
    columnDefinitions: options.definitions
      ? columns.map(({ name, wide }) => ({
          name,
          type: "string",
          format: name === "Name" ? "name" : "",
          description: `${name} of the ${kind}`,
          priority: wide ? 1 : 0,
        }))
      : null,
    rows: objects.map((object) => ({
      cells: columns.map((column) => column.cell(object, options.now)),
      ...rowObject(object, options.includeObject),
    })),
  };
}

function rowObject(object: ShownObject, includeObject: IncludeObject): object {
  if (includeObject === "None") return {};
  if (includeObject === "Object") return { object };
  return { object: { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata } };
}
