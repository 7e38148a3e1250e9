type Env = Readonly<Record<string, string | undefined>>;

/** `$$`, `$NAME`, or the beginning of `${NAME}`, `${NAME:-default}`, `${NAME?message}`, … */
const VARIABLE = /\$(?:(?<dollar>\$)|(?<plain>[A-Za-z_]\w*)|\{(?<braced>[A-Za-z_]\w*)(?<how>:?[-?+])?)/y;
const MAX_DEPTH = 16;

/** As Compose replaces variables, defaults within defaults too (`${A:-${B:-8080}}`); undefined when a variable has no value. */
export function interpolated(text: string, env: Env, depth = 0): string | undefined {
  if (depth > MAX_DEPTH) return undefined;
  let found = "";
  for (let at = 0; at < text.length;) {
    const { value, end } = pieceAt(text, at, { env, depth });
    if (value === undefined) return undefined;
    found += value;
    at = end;
  }
  return found;
}

interface Piece {
  readonly value: string | undefined;
  readonly end: number;
}

function pieceAt(text: string, at: number, { env, depth }: { readonly env: Env; readonly depth: number }): Piece {
  VARIABLE.lastIndex = at;
  const { dollar, plain, braced, how = "" } = VARIABLE.exec(text)?.groups ?? {};
  const begin = VARIABLE.lastIndex; // 0 where nothing was found
  if (dollar !== undefined) return { value: "$", end: begin };
  if (plain !== undefined) return { value: env[plain], end: begin };
  const close = braced === undefined ? undefined : closeOf(text, begin);
  if (braced === undefined || close === undefined || (how === "" && close !== begin)) return literalAt(text, at);
  const value = env[braced];
  const isSet = value !== undefined && (!how.startsWith(":") || value !== "");
  const other = (): string | undefined => interpolated(text.slice(begin, close), env, depth + 1);
  const end = close + 1;
  if (how.endsWith("+")) return { value: isSet ? other() : "", end };
  if (isSet) return { value, end };
  return { value: how.endsWith("-") ? other() : undefined, end };
}

/** Up to the next `$`. */
function literalAt(text: string, at: number): Piece {
  const next = text.indexOf("$", at + 1);
  const end = next === -1 ? text.length : next;
  return { value: text.slice(at, end), end };
}

/** Where the brace ends that is open at `from`. */
function closeOf(text: string, from: number): number | undefined {
  let open = 1;
  for (let at = from; at < text.length; at++) {
    if (text.startsWith("${", at)) open++;
    if (text[at] === "}" && --open === 0) return at;
  }
  return undefined;
}
