// Help texts as commander writes them → man pages. Pure.

export interface HelpPage {
  /** `fairlead agent join` */
  readonly name: string;
  readonly text: string;
}

export interface HelpSection {
  /** `Options`; empty for the description. */
  readonly title: string;
  readonly lines: readonly string[];
}

/** One term and what it says, of a list of options, arguments or commands. */
export interface HelpEntry {
  readonly term: string;
  readonly says: string;
}

const TITLE = /^(Usage|Arguments|Options|Global Options|Commands|Examples|Exit code[^:]*):\s*(.*)$/;

/** The parts of a help text in its order: usage first, then the description (without title), then lists. */
export function sectionsOf(text: string): readonly HelpSection[] {
  const sections: { title: string; lines: string[] }[] = [];
  for (const line of text.split("\n")) {
    const [, title, rest = ""] = TITLE.exec(line) ?? [];
    if (title !== undefined) {
      sections.push({ title, lines: rest === "" ? [] : [rest] });
      if (title === "Usage") sections.push({ title: "", lines: [] });
    } else if (line !== "" && !line.startsWith(" ") && sections.at(-1)?.title !== "") sections.push({ title: "", lines: [line] });
    else sections.at(-1)?.lines.push(line);
  }
  return sections.map(({ title, lines }) => ({ title, lines: trimmed(lines) })).filter(({ lines }) => lines.length > 0);
}

/** `  -o, --output <format>  form of the output` and the lines that go on with it. */
export function entriesOf(lines: readonly string[]): readonly HelpEntry[] {
  const entries: { term: string; says: string }[] = [];
  for (const line of lines) {
    const [, term, says = ""] = /^ {2}(\S.*?)(?: {2,}(\S.*))?$/.exec(line) ?? [];
    const last = entries.at(-1);
    if (term !== undefined) entries.push({ term, says });
    else if (last && line.trim() !== "") last.says = `${last.says} ${line.trim()}`.trim();
  }
  return entries;
}

/** The first page is what the manual is about, the others are its subcommands. */
export function renderManual(
  [first, ...more]: readonly [HelpPage, ...HelpPage[]],
  { section, date }: { section: number; date: string },
): string {
  const title = first.name.replaceAll(" ", "-");
  const [synopsis, ...rest] = sectionsOf(first.text);
  const description = rest.find((one) => one.title === "");
  const summary = description?.lines.join(" ").split(/[.:;]( |$)/)[0] ?? title;
  return [
    `.TH ${title.toUpperCase()} ${section} ${date} Fairlead Fairlead`,
    ".SH NAME",
    `${escaped(title)} \\- ${escaped(summary)}`,
    ".SH SYNOPSIS",
    `.B ${escaped(synopsis?.lines.join(" ") ?? first.name)}`,
    ...rest.flatMap((one) => renderSection(one, ".SH")),
    ...more.flatMap(({ name, text }) => {
      const [usage, ...parts] = sectionsOf(text);
      return [
        `.SH ${escaped(name.toUpperCase())}`,
        `.B ${escaped(usage?.lines.join(" ") ?? name)}`,
        ".PP",
        ...parts.flatMap((one) => renderSection(one, ".SS")),
      ];
    }),
    "",
  ].join("\n");
}

function renderSection({ title, lines }: HelpSection, macro: ".SH" | ".SS"): string[] {
  const head = title === "" ? (macro === ".SH" ? [".SH DESCRIPTION"] : []) : [`${macro} ${macro === ".SH" ? title.toUpperCase() : title}`];
  if (title === "") return [...head, ...lines.map((line) => (line === "" ? ".PP" : escapedLine(line)))];
  if (/^Examples/.test(title)) return [...head, ".nf", ...lines.map((line) => escapedLine(line.replace(/^ {2}/, ""))), ".fi"];
  if (/^Exit/.test(title)) return [...head, ...lines.map(escapedLine)];
  return [...head, ...entriesOf(lines).flatMap(({ term, says }) => [".TP", `.B ${escaped(term)}`, escapedLine(says)])];
}

/** Hyphens that are typed stay hyphens, and no backslash begins a command. */
function escaped(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll('"', "\\(dq");
}

/** A line that begins with a dot or an apostrophe would be a command. */
function escapedLine(line: string): string {
  const text = escaped(line);
  return /^[.']/.test(text) ? `\\&${text}` : text;
}

function trimmed(lines: readonly string[]): readonly string[] {
  const first = lines.findIndex((line) => line.trim() !== "");
  const last = lines.findLastIndex((line) => line.trim() !== "");
  return first === -1 ? [] : lines.slice(first, last + 1);
}
