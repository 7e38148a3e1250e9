import { AppError } from "#proto/error.ts";
import { kindByName, kindNames, kinds, type KindFacts, type KindName } from "#proto/kinds.ts";

/** Objects of one kind that the words of a command line mean. */
export interface Target {
  readonly kind: KindName;
  /** undefined = all of the kind. */
  readonly names: readonly string[] | undefined;
}

/** `svc web db` · `svc,nodes` · `all` · `svc/web wl/web-1`. Throws Usage. */
export function parseTargets(words: readonly string[]): Target[] {
  const [first, ...names] = words;
  if (first === undefined) throw new AppError("Usage", "which kind of object?", { hint: `known are ${knownKinds()}, and all` });
  if (words.some((word) => word.includes("/"))) return words.map(parsePair);
  const found = first.split(",").flatMap(kindsNamed);
  if (names.length > 0 && first === "all")
    throw new AppError("Usage", "`all` takes no names", { hint: `say of which kind ${names.join(", ")} is` });
  const unique = [...new Set(found)];
  for (const name of names) checkName(name);
  return unique.map((kind) => ({ kind, names: names.length > 0 ? names : undefined }));
}

/** The namespace to look in; undefined for all. A name is one object's only within a namespace. */
export function namespaceOf(
  targets: readonly Target[],
  { allNamespaces, namespace }: { allNamespaces: boolean; namespace: string },
): string | undefined {
  const named = targets.find(({ kind, names }) => names !== undefined && kinds[kind].namespaced);
  if (allNamespaces && named)
    throw new AppError("Usage", "-A and names do not go together", { hint: "say with -n in which namespace they are" });
  return allNamespaces ? undefined : namespace;
}

/** How messages call an object: `service "web"`; `service/web` with "/". */
export function singularOf(kind: KindName): string {
  return kinds[kind].singular;
}

function parsePair(word: string): Target {
  const [kindWord = "", name = "", ...more] = word.split("/");
  if (name === "" || more.length > 0)
    throw new AppError("Usage", `"${word}" is not KIND/NAME`, {
      hint: "write all as KIND/NAME, as in service/web, or a kind and then names",
    });
  const [kind, ...others] = kindsNamed(kindWord);
  if (kind === undefined || others.length > 0) throw new AppError("Usage", `"${kindWord}" in ${word} is not one kind`);
  checkName(name);
  return { kind, names: [name] };
}

function kindsNamed(word: string): KindName[] {
  if (word === "all") return kindNames.filter((name) => (kinds[name] as KindFacts).categories.includes("all"));
  const kind = kindByName(word);
  if (kind === undefined) throw new AppError("Usage", `unknown kind "${word}"`, { hint: `known are ${knownKinds()}, and all` });
  return [kind];
}

/** What could change the path of a request is no name; all else is the server's to judge. */
function checkName(name: string): void {
  if (name === "" || name === "." || name === ".." || name.length > 253)
    throw new AppError("Usage", `"${name}" is not the name of an object`);
}

function knownKinds(): string {
  return kindNames
    .map((name) => kinds[name] as KindFacts)
    .map(({ plural, shortNames }) => (shortNames.length > 0 ? `${plural} (${shortNames.join(", ")})` : plural))
    .join(", ");
}
