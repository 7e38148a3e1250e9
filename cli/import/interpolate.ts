const VARIABLE = /\$(?:\$|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-?+])([^}]*))?\})/g;

/** `$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:+other}`, `$$`, as Compose has them; undefined when a variable has no value. */
export function interpolated(text: string, env: Readonly<Record<string, string | undefined>>): string | undefined {
  const missing: string[] = [];
  const found = text.replaceAll(VARIABLE, (whole, plain?: string, braced?: string, how = "", other = "") => {
    if (whole === "$$") return "$";
    const value = env[plain ?? braced ?? ""];
    const isSet = value !== undefined && (!String(how).startsWith(":") || value !== "");
    if (String(how).endsWith("+")) return isSet ? String(other) : "";
    if (isSet) return value;
    if (String(how).endsWith("-")) return String(other);
    missing.push(whole);
    return "";
  });
  return missing.length === 0 ? found : undefined;
}
