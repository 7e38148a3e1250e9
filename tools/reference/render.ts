import type { HelpPage } from "../package/roff.ts";

// The pages of docs/reference, from what the code says of itself. Pure.

export interface ApiRoute {
  readonly method: string;
  readonly path: string;
  readonly summary: string;
  readonly access: string;
}

export interface MetricFacts {
  readonly name: string;
  readonly kind: string;
  readonly help: string;
  readonly labels: readonly string[];
}

export interface KeyFacts {
  readonly key: string;
  readonly kind: "label" | "annotation";
  readonly says: string;
}

const NOTE = "<!-- Made by `npm run docs` from the code; test/reference.test.ts says when it is not current. -->";

export function renderCli(manuals: readonly (readonly HelpPage[])[]): string {
  const pages = manuals.flat().map(({ name, text }) => `## ${name}\n\n\`\`\`text\n${text.trimEnd()}\n\`\`\`\n`);
  return `${NOTE}\n\n# Command line\n\nThe same texts are the manual pages of the package (\`man fairlead-agent\`) and what \`--help\` prints.\n\n${pages.join("\n")}`;
}

export function renderApi(routes: readonly ApiRoute[]): string {
  const rows = routes.map(({ method, path, summary, access }) => [`\`${method}\``, `\`${path}\``, access, summary]);
  return `${NOTE}

# API

HTTPS with the server's own authority; \`Authorization: Bearer …\` (server/README.md). Objects have Kubernetes' shape and verbs. The whole contract with all schemas is
at \`/openapi.json\` of each server, \`kubectl explain\` reads \`/openapi/v3\`.

${table(["method", "path", "who may", "what"], rows)}`;
}

export function renderMetrics(parts: Readonly<Record<string, readonly MetricFacts[]>>): string {
  const sections = Object.entries(parts).map(([title, metrics]) => {
    const rows = metrics.map(({ name, kind, help, labels }) => [
      `\`${name}\``,
      kind,
      labels.map((label) => `\`${label}\``).join(", "),
      help,
    ]);
    return `## ${title}\n\n${table(["metric", "kind", "labels", "what"], rows)}`;
  });
  return `${NOTE}\n\n# Metrics\n\nIn Prometheus' text format. Those of Node itself (\`process_*\`, \`nodejs_*\`) are not listed.\n\n${sections.join("\n")}`;
}

export function renderKeys(keys: readonly KeyFacts[]): string {
  const section = (kind: KeyFacts["kind"]): string =>
    table(
      ["key", "what"],
      keys.filter((one) => one.kind === kind).map(({ key, says }) => [`\`${key}\``, says]),
    );
  return `${NOTE}\n\n# Labels and annotations\n\nThose with a meaning to Fairlead; all others are kept and select what your selectors say.\n\n## Labels\n\n${section("label")}\n## Annotations\n\n${section("annotation")}`;
}

/** `const NAME_LABEL = "domain/name"` with the comment before it, in the text of a source file. */
export function keysIn(source: string): readonly KeyFacts[] {
  const declared = /((?:\/\*\*(?:(?!\*\/)[^])*\*\/\n)?)(?:export )?const ([A-Z_]+) = "((?:[a-z]+\.)+[a-z]+\/[a-z][a-z.-]*)";/g;
  return Array.from(source.matchAll(declared), ([, comment = "", name = "", key = ""]) => ({
    key,
    kind: name.endsWith("_LABEL") ? ("label" as const) : ("annotation" as const),
    says: plain(comment),
  })).filter(({ key }) => !key.includes("/v1"));
}

function plain(comment: string): string {
  return comment
    .replaceAll(/\/\*\*|\*\//g, " ")
    .replaceAll(/^ \* ?/gm, " ")
    .replaceAll(/\s+/g, " ")
    .trim();
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
  return line(head) + line(head.map(() => "---")) + rows.map(line).join("");
}
