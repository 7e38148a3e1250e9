/** One rule of iptables as words: what must match, and what then happens. */

export interface Option {
  readonly name: string;
  readonly value: string;
  readonly negated: boolean;
}

export interface Rule {
  readonly options: readonly Option[];
  readonly target: string | undefined;
  /** -g: what comes to the end of the target returns to the caller of this chain. */
  readonly isGoto: boolean;
}

const WITHOUT_VALUE = new Set(["--rcheck", "--update", "--set", "--reap", "--rsource"]);

export function parseRule(text: string): Rule {
  const words = [...text.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, word]) => quoted ?? word ?? "");
  const options: Option[] = [];
  for (let i = 0; i < words.length; i++) {
    const negated = words[i] === "!";
    if (negated) i++;
    const name = words[i] ?? "";
    if (!name.startsWith("-")) throw new Error(`the tracer does not understand ${name} in: ${text}`);
    options.push({ name, value: WITHOUT_VALUE.has(name) ? "" : (words[++i] ?? ""), negated });
  }
  const to = options.find(({ name }) => name === "-j" || name === "-g");
  return { options, target: to?.value, isGoto: to?.name === "-g" };
}
