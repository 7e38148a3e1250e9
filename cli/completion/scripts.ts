import { KIND_WORDS, type CommandModel, type OptionModel, type Operands } from "./model.ts";

export type Shell = "bash" | "zsh" | "fish";

/** The completion script of a shell: static, but for names, which it asks the server for through the hidden `fairlead __names`. Pure. */
export function completionScript(shell: Shell, models: readonly CommandModel[]): string {
  return { bash: bashScript, zsh: zshScript, fish: fishScript }[shell](models);
}

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/**
 * A function for bash and zsh alike: given the words before the one being typed, it prints what may follow, a line each; `:files` stands for files.
 * Nothing that comes from the server is ever evaluated by the shell.
 */
function candidatesFunction(models: readonly CommandModel[]): string {
  const paths = models.filter(({ path }) => path !== "").map(({ path }) => quoted(` ${path}`));
  const valued = models.flatMap(({ path, options }) => options.flatMap((option) => valueCase(path, option)));
  return `__fairlead_names() { "$__fairlead_program" __names "$1" \${__fairlead_namespace:+--namespace="$__fairlead_namespace"} 2>/dev/null; }
__fairlead_candidates() {
  local __fairlead_program="$1" __fairlead_namespace= path= word= before= kind=
  shift
  for word in "$@"; do
    case "$before" in -n|--namespace) __fairlead_namespace="$word" ;; esac
    case "$path $word" in
      ${paths.join("|")}) path="$path $word" ;;
      ' get '*|' describe '*|' delete '*) [ -n "$kind" ] || case "$word" in -*) ;; *) case "$before" in -*) ;; *) kind="\${word%%/*}" ;; esac ;; esac ;;
    esac
    before="$word"
  done
  case "$path:$before" in
${[...new Set(valued)].join("\n")}
  esac
  case "$path" in
${models.map(({ path, commands, options, operands }) => `    ${quoted(path === "" ? "" : ` ${path}`)}) ${[...(commands.length > 0 ? [printWords(commands.map(({ name }) => name))] : []), printOperands(operands), printWords(options.flatMap(({ short, long }) => [long ?? short ?? ""]))].filter((line) => line !== "").join("; ")} ;;`).join("\n")}
  esac
}
`;
}

function printWords(words: readonly string[]): string {
  return `printf '%s\\n' ${words.map((word) => (/^[\w-]+$/.test(word) ? word : quoted(word))).join(" ")}`;
}

function printOperands(operands: Operands): string {
  switch (operands.form) {
    case "words":
      return printWords(operands.words);
    case "names":
      return `__fairlead_names ${operands.kind}`;
    case "kindThenNames":
      return `if [ -n "$kind" ]; then __fairlead_names "$kind"; else ${printWords(KIND_WORDS)}; fi`;
    case "files":
      return "echo :files";
    case "none":
      return "";
  }
}

function valueCase(path: string, { short, long, value }: OptionModel): string[] {
  if (!value) return [];
  const patterns = [short, long].flatMap((flag) => (flag === undefined ? [] : [quoted(`${path === "" ? "" : ` ${path}`}:${flag}`)]));
  return [`    ${patterns.join("|")}) ${printOperands(value) || ":"}; return ;;`];
}

function bashScript(models: readonly CommandModel[]): string {
  return `# bash completion of fairlead; load it with: source <(fairlead completion bash)
${candidatesFunction(models)}
_fairlead() {
  local current="\${COMP_WORDS[COMP_CWORD]}" candidate
  COMPREPLY=()
  while IFS= read -r candidate; do
    if [[ $candidate == :files ]]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -f -- "$current")
    elif [[ $candidate == "$current"* && ( $candidate != -* || $current == -* ) ]]; then
      COMPREPLY+=("$candidate")
    fi
  done < <(__fairlead_candidates "\${COMP_WORDS[0]}" "\${COMP_WORDS[@]:1:COMP_CWORD-1}")
}
complete -F _fairlead fairlead
`;
}

function zshScript(models: readonly CommandModel[]): string {
  return `#compdef fairlead
# zsh completion of fairlead; put it as _fairlead into a folder of $fpath, or load it with: source <(fairlead completion zsh)
${candidatesFunction(models)}
_fairlead() {
  local -a found
  found=("\${(@f)$(__fairlead_candidates "\${words[1]}" "\${(@)words[2,CURRENT-1]}")}")
  if (( \${found[(Ie):files]} )); then _files; return; fi
  if [[ "\${words[CURRENT]}" != -* ]]; then found=("\${(@)found:#-*}"); fi
  compadd -- "\${found[@]}"
}
if [ "$funcstack[1]" = _fairlead ]; then _fairlead "$@"; else compdef _fairlead fairlead; fi
`;
}

function fishScript(models: readonly CommandModel[]): string {
  const names = (kind: string): string => `-f -a '(fairlead __names ${kind} 2>/dev/null)'`;
  const argument = (operands: Operands): string => {
    if (operands.form === "words") return `-f -a ${quoted(operands.words.join(" "))}`;
    if (operands.form === "names") return names(operands.kind);
    if (operands.form === "files") return "-F";
    return operands.form === "kindThenNames" ? `-f -a ${quoted(KIND_WORDS.join(" "))}` : "-f";
  };
  const lines = models.flatMap(({ path, commands, options, operands }) => {
    const words = path.split(" ").filter((word) => word !== "");
    // `token delete` is not `delete`.
    const parents = words.length > 1 ? [] : models.filter((one) => one.path !== "" && one.commands.some(({ name }) => name === path));
    const seen = [
      ...words.map((word) => `__fish_seen_subcommand_from ${word}`),
      ...parents.map((parent) => `not __fish_seen_subcommand_from ${parent.path}`),
    ].join("; and ");
    const inside = path === "" ? "__fish_use_subcommand" : seen;
    const notDeeper =
      commands.length > 0 && path !== ""
        ? `${inside}; and not __fish_seen_subcommand_from ${commands.map(({ name }) => name).join(" ")}`
        : inside;
    return [
      ...commands.map(({ name, summary }) => `complete -c fairlead -n ${quoted(notDeeper)} -f -a ${name} -d ${quoted(summary)}`),
      ...(operands.form === "none" ? [] : [`complete -c fairlead -n ${quoted(inside)} ${argument(operands)}`]),
      ...(operands.form === "kindThenNames" ? [`complete -c fairlead -n ${quoted(inside)} -f -a '(__fairlead_names_of_kind)'`] : []),
      ...options.map(({ short, long, summary, value }) =>
        [
          `complete -c fairlead -n ${quoted(inside)}`,
          ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
          ...(long === undefined ? [] : [`-l ${long.slice(2)}`]),
          ...(value ? [`-r ${argument(value)}`] : []),
          `-d ${quoted(summary)}`,
        ].join(" "),
      ),
    ];
  });
  return `# fish completion of fairlead; put it into ~/.config/fish/completions/fairlead.fish
function __fairlead_names_of_kind
  set -l words (commandline -opc)
  test (count $words) -ge 3; and fairlead __names $words[3] 2>/dev/null
end
complete -c fairlead -f
${lines.join("\n")}
`;
}
